from __future__ import annotations

import pytest
from anthropic.types import RedactedThinkingBlock, ThinkingBlock
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.anthropic_packing import (
    ORIGINS,
    Packed,
    call_block,
    call_signature,
    is_foreign,
    pack,
    reasoning_block,
    reasoning_part,
    signed,
    unpack,
)
from appliance.formats.chat import ReasoningPart, ToolCallPart

TEXTS = st.text(max_size=12)
DATA = st.text(min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("part", "block"),
    [
        (ReasoningPart("hm", "sig", origin="anthropic"), {"type": "thinking", "thinking": "hm", "signature": "sig"}),
        (
            ReasoningPart("hm", "sig", origin="google"),
            {"type": "thinking", "thinking": "hm", "signature": "scaigrid.google.sig"},
        ),
        (ReasoningPart("hm", "a.b"), {"type": "thinking", "thinking": "hm", "signature": "scaigrid..a.b"}),
        (ReasoningPart("hm", origin="anthropic"), {"type": "thinking", "thinking": "hm", "signature": ""}),
        (ReasoningPart("hm"), {"type": "thinking", "thinking": "hm", "signature": ""}),
        (ReasoningPart(redacted="x", origin="anthropic"), {"type": "redacted_thinking", "data": "x"}),
        (
            ReasoningPart(redacted="x", origin="responses"),
            {"type": "redacted_thinking", "data": "scaigrid.responses.x"},
        ),
        (
            ReasoningPart("hm", redacted="x", origin="responses", id="rs_1"),
            {
                "type": "thinking",
                "thinking": "hm",
                "signature": 'scaigrid.responses-item.{"id":"rs_1","redacted":"x"}',
            },
        ),
    ],
)
def test_blocks(part: ReasoningPart, block: dict[str, str]) -> None:
    assert reasoning_block(part) == block


@given(
    text=TEXTS,
    data=DATA,
    kind=st.sampled_from(["signature", "redacted", "both"]),
    origin=st.sampled_from(ORIGINS),
    item_id=st.none() | DATA,
)
def test_what_is_packed_comes_back_as_it_was(text: str, data: str, kind: str, origin: str, item_id: str | None) -> None:
    part = ReasoningPart(
        text if kind != "redacted" or origin != "anthropic" else "",
        data if kind != "redacted" else None,
        data if (kind != "signature" and origin != "anthropic") or kind == "redacted" else None,
        origin,
        item_id if origin != "anthropic" else None,
    )
    if origin == "anthropic" and data.startswith("scaigrid."):
        return
    block = reasoning_block(part)
    (ThinkingBlock if block["type"] == "thinking" else RedactedThinkingBlock).model_validate(block, strict=True)
    assert reasoning_part(block) == part
    assert call_signature(block) is None
    assert is_foreign(block) is (origin != "anthropic")


@given(data=DATA, origin=st.sampled_from(ORIGINS))
def test_a_calls_signature_comes_back_too(data: str, origin: str) -> None:
    call, signed_call = ToolCallPart("c", "f"), ToolCallPart("c", "f", signature=data, origin=origin)
    packed, late = call_signature(call_block(data, origin)), call_signature(call_block(data, origin, late_for="c"))
    assert packed == Packed(origin, "call", data)
    assert late is not None
    assert signed(call, packed) == signed(call, late) == signed_call
    assert signed(ToolCallPart("d", "f"), late) == ToolCallPart("d", "f")


@pytest.mark.parametrize(
    "text", ["scaigrid.", "scaigrid.google", "scaigrid.google.", "scaigrid.openai.x", "scaigrid.google-tool.x"]
)
def test_what_bears_our_mark_and_is_not_ours_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unpack(text)
    with pytest.raises(ValueError):
        reasoning_part({"type": "thinking", "thinking": "", "signature": pack("google", "no JSON", "item")})


@pytest.mark.parametrize("text", ["", "sig", "scaigrid", "xscaigrid.google.y"])
def test_anthropics_own_is_never_taken_for_packed(text: str) -> None:
    assert unpack(text) is None


def test_an_unsigned_block_is_foreign_and_other_blocks_are_not() -> None:
    assert is_foreign({"type": "thinking", "thinking": "hm"})
    assert is_foreign({"type": "thinking", "thinking": "hm", "signature": ""})
    assert not is_foreign({"type": "text", "text": "scaigrid.x.y"})
    assert not is_foreign("text")
