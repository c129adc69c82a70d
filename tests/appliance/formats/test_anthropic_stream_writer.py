from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic.types
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from appliance.errors import GatewayError
from appliance.formats.anthropic_reply_writer import encode_reply
from appliance.formats.anthropic_stream import AnthropicStreamDecoder
from appliance.formats.anthropic_stream_writer import StreamEncoder
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    Choice,
    Citation,
    Finished,
    FinishReason,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    Usage,
    UsageSeen,
)
from support.fixtures import needs_fixtures, recorded
from support.golden import check_golden
from support.streams import decode_stream, split_events

HEAD = ReplyHead("msg_0123", "front", 1_700_000_000)
USAGE = Usage(input_tokens=30, output_tokens=20, cached_input_tokens=10, cache_write_tokens=5, reasoning_tokens=4)
REFEREE: TypeAdapter[Any] = TypeAdapter(anthropic.types.RawMessageStreamEvent)
DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "redacted_thinking": set(),
    "tool_use": {"input_json_delta"},
}


def _streamed(events: list[ChatEvent], at_once: bool = False) -> list[dict[str, Any]]:
    """The whole stream as data objects, checked against the grammar and the SDK's types."""
    encoder = StreamEncoder(HEAD)
    feeds = [events] if at_once else [[event] for event in events]
    body = b"".join([*(encoder.encode(feed) for feed in feeds), encoder.closing(USAGE, "0", False)])
    told = _read(body)
    _check_grammar(told)
    return told


def _read(body: bytes) -> list[dict[str, Any]]:
    """The data of each event, without the pings."""
    told = []
    for event in split_events([body]):
        data = json.loads(event.data)
        assert data["type"] == event.name
        if event.name != "ping":
            told.append(data)
    return told


def _check_grammar(told: list[dict[str, Any]]) -> None:
    kinds = [event["type"] for event in told]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert not {"message_start", "message_delta", "message_stop"} & set(kinds[1:-2])
    opened: dict[str, Any] | None = None
    count, signed = 0, False
    for event in told:
        REFEREE.validate_python(event, strict=True)
        match event["type"]:
            case "content_block_start":
                assert opened is None
                assert event["index"] == count
                opened, signed, count = event["content_block"], False, count + 1
            case "content_block_delta":
                assert opened is not None
                assert event["index"] == count - 1
                assert event["delta"]["type"] in DELTAS[opened["type"]]
                assert not signed, "something comes after a signature"
                signed = event["delta"]["type"] == "signature_delta"
            case "content_block_stop":
                assert opened is not None
                assert event["index"] == count - 1
                opened = None
    assert opened is None


def _accumulated(told: list[dict[str, Any]]) -> dict[str, Any]:
    """The message as Anthropic's own SDK puts it together."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in told:
        snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)  # type: ignore[arg-type]
    message: dict[str, Any] = snapshot.model_dump(mode="json", exclude_none=True, warnings=False)
    return message


def _whole(parts: list[Part], finished: Finished | None) -> dict[str, Any]:
    reason = (finished.finish_reason, finished.native_finish_reason, finished.stop_sequence) if finished else ()
    body = encode_reply(ChatReply("x", "up", 1, [Choice(0, parts, *reason)], USAGE), HEAD)
    message: dict[str, Any] = anthropic.types.Message.model_validate(body).model_dump(mode="json", exclude_none=True)
    return message


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    ["citations", "mcp", "pause-turn", "refusal", "text", "thinking", "thinking-redacted", "tools", "web-search"],
)
def test_a_recorded_stream_says_the_same_when_it_was_translated(name: str) -> None:
    """But for the blocks of Anthropic's own tools, and the borders between texts that nothing was cited for."""
    body = recorded(f"anthropic/stream-{name}.response.sse")
    theirs = _accumulated(_read(body))
    ours = _accumulated(_streamed(decode_stream(AnthropicStreamDecoder(), body)))
    for kind, member in (("thinking", "thinking"), ("thinking", "signature"), ("redacted_thinking", "data")):
        assert _all(ours, kind, member) == _all(theirs, kind, member)
    for member in ("id", "name", "input"):
        assert _all(ours, "tool_use", member) == _all(theirs, "tool_use", member)
    said = "".join(_all(theirs, "text", "text"))
    explanation = (theirs.get("stop_details") or {}).get("explanation", "")
    assert "".join(_all(ours, "text", "text")) == said + explanation
    assert _cited(ours) == _cited(theirs)
    assert ours["stop_reason"] == theirs["stop_reason"]


def _all(message: dict[str, Any], kind: str, member: str) -> list[Any]:
    return [block[member] for block in message["content"] if block["type"] == kind]


def _cited(message: dict[str, Any]) -> list[Any]:
    return [citation for block in message["content"] for citation in block.get("citations") or []]


def test_a_stream_of_another_provider_is_rendered_as_recorded() -> None:
    told = _streamed(
        [
            Started("chatcmpl-1", "gpt", 1),
            ReasoningDelta(0, "I look "),
            ReasoningDelta(0, "both up."),
            TextDelta(0, "One moment."),
            TextDelta(1, "another choice"),
            ToolCallDelta(0, 0, "call_1", "find", signature="c2ln", origin="google"),
            ToolCallDelta(0, 1, "call_2", "find", '{"q":'),
            ToolCallDelta(0, 0, arguments='{"q": "cat"'),
            ToolCallDelta(0, 1, arguments='"dog"}'),
            ToolCallDelta(0, 0, arguments="}"),
            Finished(1, "stop"),
            Finished(0, "tool_calls"),
            UsageSeen(USAGE),
        ]
    )
    check_golden(Path("streams/anthropic/rendered-interleaved.json"), told)


def test_the_message_opens_with_whatever_comes_first_and_only_once() -> None:
    encoder = StreamEncoder(HEAD)
    assert encoder.encode([]) == b""
    first = _read(encoder.encode([Started("x", "up", 1), TextDelta(0, "a")]))
    assert [event["type"] for event in first] == ["message_start", "content_block_start", "content_block_delta"]
    assert first[0]["message"]["usage"]["input_tokens"] == 0
    assert [event["type"] for event in _read(encoder.encode([TextDelta(0, "b")]))] == ["content_block_delta"]


def test_an_answer_of_nothing_is_still_a_message() -> None:
    message = _accumulated(_streamed([]))
    assert (message["content"], message.get("stop_reason")) == ([], None)


def test_usage_comes_at_the_end_and_in_all_its_classes() -> None:
    message = _accumulated(_streamed([TextDelta(0, "a"), Finished(0, "length")]))
    assert message["stop_reason"] == "max_tokens"
    assert message["usage"] == {
        "input_tokens": 15,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 10,
        "output_tokens": 20,
        "output_tokens_details": {"thinking_tokens": 4},
    }


def test_a_refusal_explains_the_end() -> None:
    last = _streamed([RefusalDelta(0, "I "), RefusalDelta(0, "won't."), Finished(0, "stop")])[-2]
    assert last["delta"] == {
        "stop_reason": "refusal",
        "stop_sequence": None,
        "stop_details": {"type": "refusal", "category": None, "explanation": "I won't."},
    }


def test_a_broken_stream_ends_with_its_error_and_no_end_mark() -> None:
    encoder = StreamEncoder(HEAD)
    encoder.encode([TextDelta(0, "a")])
    (data,) = _read(encoder.failure(GatewayError("BACKEND_TIMEOUT", "too slow")))
    assert (data["type"], data["error"]["type"]) == ("error", "timeout_error")


@pytest.mark.parametrize("arguments", ["[1]", "no JSON", '"{}"'])
def test_arguments_that_are_no_object_do_not_break_the_sdk(arguments: str) -> None:
    call: list[ChatEvent] = [ToolCallDelta(0, 0, "c", "f", arguments), Finished(0, "tool_calls")]
    part = ToolCallPart("c", "f", arguments)
    assert _accumulated(_streamed(call)) == _whole([part], Finished(0, "tool_calls"))


# -- any sequence of events -------------------------------------------------------------------------------------------

SAID = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ORIGINS = st.sampled_from(["", "anthropic", "google", "responses"])
CITATIONS = st.lists(st.builds(Citation, SAID.map("https://x/".__add__), SAID, SAID), max_size=1)
TEXT = st.builds(TextDelta, st.sampled_from([0, 0, 0, 1]), SAID, citations=CITATIONS)
REASONING = st.builds(
    ReasoningDelta,
    st.just(0),
    SAID,
    signature=st.none() | SAID.map("x".__add__),
    origin=ORIGINS,
)
REDACTED = st.builds(ReasoningDelta, st.just(0), redacted=SAID.map("x".__add__), origin=ORIGINS)
PIECES = st.tuples(st.integers(0, 3), st.integers(1, 6))
STEPS = st.lists(TEXT | st.builds(RefusalDelta, st.just(0), SAID) | REASONING | REDACTED | PIECES, max_size=25)
ARGUMENTS = st.dictionaries(SAID, SAID | st.integers(0, 99) | st.lists(SAID, max_size=2), max_size=3).map(json.dumps)


@st.composite
def _answers(draw: st.DrawFn) -> list[ChatEvent]:
    """Any order of deltas; up to four calls, each in pieces of any length that come between anything else."""
    arguments = draw(st.lists(ARGUMENTS | st.just(""), min_size=4, max_size=4))
    told: dict[int, int] = {}
    events: list[ChatEvent] = []

    def piece(call: int, size: int) -> None:
        begun, place = call in told, told.get(call, 0)
        name = {} if begun else {"id": f"call_{call}", "name": f"f{call}"}
        events.append(ToolCallDelta(0, call, **name, arguments=arguments[call][place : place + size]))
        told[call] = place + size

    for step in draw(STEPS):
        if isinstance(step, tuple):
            piece(*step)
        else:
            events.append(step)
    for call in sorted(told):
        piece(call, 1000)
    reasons: list[FinishReason] = ["stop", "length", "tool_calls", "content_filter"]
    reason = draw(st.sampled_from(reasons))
    return [*events, Finished(0, reason, stop_sequence=draw(st.none() | st.just("END")))]


def _folded(events: list[ChatEvent]) -> list[Part]:
    """The parts of the first choice, in the order in which they began."""
    parts: list[Part] = []
    calls: dict[int, ToolCallPart] = {}
    for event in events:
        last = parts[-1] if parts else None
        match event:
            case TextDelta(choice=0) if event.text or event.citations:
                if isinstance(last, TextPart) and not last.citations:
                    last.text += event.text
                    last.citations = event.citations
                else:
                    parts.append(TextPart(event.text, citations=event.citations))
            case RefusalDelta() if event.text:
                if isinstance(last, RefusalPart):
                    last.text += event.text
                else:
                    parts.append(RefusalPart(event.text))
            case ReasoningDelta():
                _fold_reasoning(parts, last, event)
            case ToolCallDelta():
                if event.call not in calls:
                    calls[event.call] = ToolCallPart(event.id or "", event.name or "", "")
                    parts.append(calls[event.call])
                calls[event.call].arguments += event.arguments
    return parts


def _fold_reasoning(parts: list[Part], last: Part | None, event: ReasoningDelta) -> None:
    alone = not event.text and (event.redacted or (event.signature and event.origin == "google"))
    is_open = isinstance(last, ReasoningPart) and not last.signature and not last.redacted
    if isinstance(last, ReasoningPart) and is_open and not (alone and last.text):
        last.text += event.text
        last.signature, last.redacted = event.signature, event.redacted
        last.origin = event.origin or last.origin
    else:
        parts.append(ReasoningPart(event.text, event.signature, event.redacted, event.origin))


@given(_answers(), st.booleans())
def test_any_stream_obeys_the_grammar_and_says_what_the_whole_answer_says(
    events: list[ChatEvent], at_once: bool
) -> None:
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert _accumulated(_streamed(events, at_once)) == _whole(_folded(events), finished)
