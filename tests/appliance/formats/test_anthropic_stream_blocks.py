from __future__ import annotations

from appliance.formats.anthropic_input import RAW_ARGUMENTS
from appliance.formats.anthropic_stream_blocks import CallBlock, Json, SignatureBlock, TextBlock, ThinkingBlock
from appliance.formats.chat import Citation, ReasoningDelta, ToolCallDelta


def _thinking(*events: ReasoningDelta) -> ThinkingBlock:
    block = ThinkingBlock()
    for event in events:
        assert block.takes(event)
        block.add(event)
    return block


def _piece(text: str) -> Json:
    return {"type": "input_json_delta", "partial_json": text}


def test_text_opens_with_its_first_word_and_is_told_once() -> None:
    block = TextBlock(is_refusal=False)
    assert block.opening() is None
    block.add("a", [])
    assert block.opening() == {"type": "text", "text": ""}
    assert block.pieces() == [{"type": "text_delta", "text": "a"}]
    assert block.pieces() == block.rest() == []
    assert not block.is_sealed


def test_citations_end_a_text() -> None:
    block = TextBlock(is_refusal=False)
    block.add("", [Citation("https://x/a")])
    assert [piece["type"] for piece in block.pieces()] == ["citations_delta"]
    assert block.is_sealed


def test_a_signature_goes_out_at_the_end_and_ends_the_reasoning() -> None:
    block = _thinking(ReasoningDelta(0, "a"), ReasoningDelta(0, "b", signature="s", origin="google"))
    assert block.opening() == {"type": "thinking", "thinking": "", "signature": ""}
    assert [piece["thinking"] for piece in block.pieces()] == ["a", "b"]
    assert block.pieces() == []
    assert block.rest() == [{"type": "signature_delta", "signature": "scaigrid.google.s"}]
    assert not block.takes(ReasoningDelta(0, "c"))


def test_reasoning_without_a_signature_ends_without_one() -> None:
    assert _thinking(ReasoningDelta(0, "a", origin="anthropic")).rest() == []


def test_redacted_reasoning_is_a_block_of_its_own() -> None:
    redacted = ReasoningDelta(0, redacted="x", origin="anthropic")
    assert not _thinking(ReasoningDelta(0, "a")).takes(redacted)
    block = _thinking(redacted)
    assert block.opening() == {"type": "redacted_thinking", "data": "x"}
    assert block.pieces() == block.rest() == []


def test_the_halves_of_one_item_are_one_block_and_other_items_are_not() -> None:
    item = ReasoningDelta(0, id="rs_1", origin="responses")
    block = _thinking(item, ReasoningDelta(0, "a", id="rs_1"), ReasoningDelta(0, redacted="x", id="rs_1"))
    assert block.rest() == [
        {"type": "signature_delta", "signature": 'scaigrid.responses-item.{"id":"rs_1","redacted":"x"}'}
    ]
    assert not _thinking(item).takes(ReasoningDelta(0, "b", id="rs_2"))


def test_what_google_signs_alone_does_not_join_a_thought() -> None:
    thought = _thinking(ReasoningDelta(0, "a", origin="google"))
    assert not thought.takes(ReasoningDelta(0, signature="s", origin="google"))
    assert thought.takes(ReasoningDelta(0, signature="s", origin="anthropic"))
    assert ThinkingBlock().takes(ReasoningDelta(0, signature="s", origin="google"))


def test_reasoning_of_nothing_never_opens() -> None:
    assert _thinking(ReasoningDelta(0)).opening() is None


def test_the_signature_of_a_call_is_an_empty_thought() -> None:
    block = SignatureBlock("s", "google")
    assert block.opening() == {"type": "thinking", "thinking": "", "signature": ""}
    assert block.pieces() == []
    assert block.rest() == [{"type": "signature_delta", "signature": "scaigrid.google-call.s"}]
    late = SignatureBlock("s", "google", late_for="c1")
    assert late.rest() == [{"type": "signature_delta", "signature": 'scaigrid.google-called.["c1","s"]'}]


def test_arguments_that_begin_like_an_object_are_told_as_they_come() -> None:
    block = CallBlock(ToolCallDelta(0, 0, "c1", "f"))
    assert block.opening() == {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    for piece, told in ((" ", []), ('{"a', [_piece(" "), _piece('{"a')]), ("", []), ('": 1}', [_piece('": 1}')])):
        block.add(piece)
        assert block.pieces() == told
    assert block.is_whole
    assert block.rest() == []


def test_a_call_is_whole_when_its_object_is_complete() -> None:
    block = CallBlock(ToolCallDelta(0, 0, "c1", "f"))
    assert not block.is_whole
    for piece, is_whole in (('{"a', False), ('": 1', False), ("}", True)):
        block.add(piece)
        block.pieces()
        assert block.is_whole is is_whole


def test_arguments_that_are_no_object_wait_for_their_end_and_are_wrapped() -> None:
    block = CallBlock(ToolCallDelta(0, 0, "c1", "f"))
    block.add("[1")
    block.add("]")
    assert block.pieces() == []
    assert not block.is_whole
    assert block.rest() == [_piece(f'{{"{RAW_ARGUMENTS}":"[1]"}}')]
    empty = CallBlock(ToolCallDelta(0, 0, "c1", "f"))
    empty.add("null")
    assert empty.rest() == []
