from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic.types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.anthropic_decode_messages import decode_messages
from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.anthropic_reply_writer import encode_reply, stop_members
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Citation,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from support.fixtures import needs_fixtures, recorded_json
from support.golden import check_golden

HEAD = ReplyHead("msg_0123", "front", 1_700_000_000)
RECORDED = ["cache-read", "cache-read-and-write", "citations", "text", "thinking-tool", "tools-parallel"]
OWN_MEMBERS = ("id", "type", "role", "model")


def _encoded(*parts: Part, finish_reason: FinishReason | None = "stop", **members: Any) -> dict[str, Any]:
    choice = Choice(0, list(parts), finish_reason, **members)
    body = encode_reply(ChatReply("chatcmpl-1", "gpt", 1, [choice]), HEAD)
    anthropic.types.Message.model_validate(body, strict=True)
    return body


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_answer_comes_out_as_it_went_in(name: str) -> None:
    body = recorded_json(f"anthropic/{name}.response.json")
    encoded = encode_reply(decode_reply(body), HEAD)
    anthropic.types.Message.model_validate(encoded, strict=True)
    assert encoded["content"] == body["content"]
    assert (encoded["stop_reason"], encoded["stop_sequence"]) == (body["stop_reason"], body["stop_sequence"])
    assert {name: body["usage"].get(name, 0) for name in encoded["usage"]} == encoded["usage"]
    assert [encoded[name] for name in OWN_MEMBERS] == ["msg_0123", "message", "assistant", "front"]


def test_an_answer_of_other_providers_is_rendered_as_recorded() -> None:
    parts: list[Part] = [
        ReasoningPart("I look both up."),
        ReasoningPart("Signed.", "c2ln", origin="google"),
        ReasoningPart(redacted="b3BhcXVl", origin="responses"),
        ReasoningPart("A summary.", redacted="ZW5j", origin="responses", id="rs_1"),
        TextPart(
            "It is so. ", citations=[Citation("https://x/a", "A", "so", 0, 9, {"type": "url_citation"}, "responses")]
        ),
        TextPart(""),
        TextPart("And so on.", citations=[Citation(title="a file")]),
        ToolCallPart("call_1", "find", '{"q": "cat", "n": [1, 2.0]}', "c2ln", "google"),
        ToolCallPart("call_2", "now", ""),
        ToolCallPart("call_3", "find", '{"q": "unfini'),
    ]
    usage = Usage(input_tokens=30, output_tokens=20, cached_input_tokens=10, reasoning_tokens=5)
    choices = [Choice(1, [TextPart("the other one")], "stop"), Choice(0, parts, "tool_calls")]
    body = encode_reply(ChatReply("chatcmpl-1", "gpt", 1, choices, usage), HEAD)
    anthropic.types.Message.model_validate(body, strict=True)
    check_golden(Path("replies/anthropic/rendered.json"), body)


def test_a_refusal_is_text_with_its_own_stop_reason() -> None:
    body = _encoded(RefusalPart("I will not."))
    assert body["content"] == [{"type": "text", "text": "I will not."}]
    assert body["stop_reason"] == "refusal"
    assert body["stop_details"] == {"type": "refusal", "category": None, "explanation": "I will not."}


def test_an_answer_of_nothing_has_no_content_and_no_invented_reason() -> None:
    assert _encoded(finish_reason=None)["content"] == []
    assert _encoded(TextPart(""), ReasoningPart(origin="google"), finish_reason=None)["content"] == []
    body = encode_reply(ChatReply("x", "gpt", 1, []), ReplyHead("chat_9", "front", 1))
    assert (body["id"], body["content"], body["stop_reason"]) == ("msg_chat_9", [], None)
    assert body["usage"]["input_tokens"] == 0


@pytest.mark.parametrize(
    ("finish_reason", "native", "stop_sequence", "calls", "refusal", "stop_reason"),
    [
        (None, None, None, True, "no", None),
        ("stop", None, None, False, "", "end_turn"),
        ("stop", None, "END", False, "", "stop_sequence"),
        ("stop", None, None, True, "", "tool_use"),
        ("stop", None, None, False, "no", "refusal"),
        ("stop", "pause_turn", None, False, "", "pause_turn"),
        ("stop", "of_the_future", None, False, "", "end_turn"),
        ("length", None, None, True, "", "max_tokens"),
        ("length", "model_context_window_exceeded", None, False, "", "model_context_window_exceeded"),
        ("length", "end_turn", None, False, "", "max_tokens"),
        ("tool_calls", None, None, True, "", "tool_use"),
        ("content_filter", "SAFETY", None, False, "", "refusal"),
        ("content_filter", "refusal", None, False, "", "refusal"),
    ],
)
def test_stop_reasons(
    finish_reason: FinishReason | None,
    native: str | None,
    stop_sequence: str | None,
    calls: bool,
    refusal: str,
    stop_reason: str | None,
) -> None:
    members = stop_members(finish_reason, native, stop_sequence, calls, refusal)
    assert (members["stop_reason"], members["stop_sequence"]) == (stop_reason, stop_sequence)


# -- there and back ---------------------------------------------------------------------------------------------------

SAID = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789_-", min_size=1, max_size=12)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | SAID,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SAID, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(SAID, JSON, max_size=4)
ORIGINS = st.sampled_from(["", "anthropic", "google", "responses"])
SIGNED = st.builds(ReasoningPart, SAID | st.just(""), signature=SAID.map("x".__add__), origin=ORIGINS)
REDACTED = st.builds(ReasoningPart, redacted=SAID.map("x".__add__), origin=ORIGINS)
ITEMS = st.builds(ReasoningPart, SAID, redacted=SAID, origin=st.just("responses"), id=WORDS)
CALLS = st.builds(ToolCallPart, WORDS, WORDS, OBJECTS.map(json.dumps))
SIGNED_CALLS = st.builds(ToolCallPart, WORDS, WORDS, OBJECTS.map(json.dumps), SAID, st.just("google"))
PARTS = st.builds(TextPart, SAID) | st.builds(ReasoningPart, SAID) | SIGNED | REDACTED | ITEMS | CALLS | SIGNED_CALLS


def _comparable(parts: list[Part]) -> list[Any]:
    return [
        (part.id, part.name, json.loads(part.arguments), part.signature, part.origin)
        if isinstance(part, ToolCallPart)
        else part
        for part in parts
    ]


@given(st.lists(PARTS, min_size=1, max_size=8))
def test_what_a_caller_sends_back_is_what_he_was_sent(parts: list[Part]) -> None:
    body = _encoded(*parts)
    message = anthropic.types.Message.model_validate(body, strict=True)
    sent_back = [block.model_dump(mode="json", exclude_unset=True) for block in message.content]
    (decoded,) = decode_messages([{"role": "assistant", "content": sent_back}])
    assert _comparable(decoded.parts) == _comparable(parts)
