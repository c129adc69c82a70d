"""Streams of OpenAI-protocol servers: every recorded one, sliced at random, and the faults that were not recorded."""

from __future__ import annotations

import random
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats import openai_stream_calls
from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageSeen,
)
from appliance.formats.openai_stream import StreamDecoder
from appliance.formats.sse import DONE, SseEvent, data_event, named_event
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.golden import check_golden
from support.streams import decode_stream, joined, sliced, split_events

SPEAKERS = (
    "azure",
    "deepseek",
    "gemini-compatible",
    "groq",
    "mistral",
    "openai",
    "openrouter",
    "qwen",
    "self-hosted",
    "xai",
)
STREAMS = sorted(
    f"{speaker}/{file.name.removesuffix('.response.sse')}"
    for speaker in SPEAKERS
    for file in (PROVIDERS / speaker).glob("*.response.sse")
)


@needs_fixtures
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_streams(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = recorded(f"{name}.response.sse")
    outcomes = []
    for seed in range(4):
        numbers = count(1)
        monkeypatch.setattr(openai_stream_calls, "new_call_id", lambda made=numbers: f"call_made_{next(made)}")
        decoder = StreamDecoder()
        events = [out for event in split_events(sliced(body, random.Random(seed))) for out in decoder.feed(event)]
        outcomes.append({"events": joined(events), "complete": decoder.complete})
    assert all(outcome == outcomes[0] for outcome in outcomes)
    check_golden(Path("streams") / f"{name}.json", outcomes[0])


@needs_fixtures
@pytest.mark.parametrize("name", STREAMS)
def test_a_recorded_stream_that_is_cut_is_not_complete(name: str) -> None:
    body = recorded(f"{name}.response.sse")
    decoder = StreamDecoder()
    decoder.feed(split_events([body])[0])
    assert not decoder.complete


def chunk(delta: Any = None, finish: Any = None, index: Any = 0, **members: Any) -> bytes:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [choice]}
    return data_event(msgspec.json.encode(body | members))


def events_of(*lines: bytes) -> list[ChatEvent]:
    """All events but the first, when that is Started."""
    events = decode_stream(StreamDecoder(), b"".join(lines))
    return events[1:] if events and isinstance(events[0], Started) else events


def test_the_start_tells_who_answers() -> None:
    events = decode_stream(StreamDecoder(), chunk({"role": "assistant"}, system_fingerprint="fp", service_tier="flex"))
    assert events == [Started("x", "m", 5, {"system_fingerprint": "fp", "service_tier": "flex"})]


def test_reasoning_text_refusal_and_call_in_one_chunk() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    delta = {"reasoning": "why", "content": "a", "refusal": "no", "tool_calls": [call]}
    assert events_of(chunk(delta, "tool_calls")) == [
        ReasoningDelta(0, "why"),
        TextDelta(0, "a"),
        RefusalDelta(0, "no"),
        ToolCallDelta(0, 0, "c", "f", "{}"),
        Finished(0, "tool_calls"),
    ]


def test_signed_and_hidden_reasoning() -> None:
    details = [{"type": "reasoning.text", "text": "", "signature": "sig"}, {"type": "reasoning.encrypted", "data": "b"}]
    assert events_of(chunk({"reasoning_details": details})) == [
        ReasoningDelta(0, signature="sig"),
        ReasoningDelta(0, redacted="b"),
    ]


def test_logprobs_are_told_once() -> None:
    logprobs = {"content": [{"token": "a"}]}

    def line(delta: dict[str, Any]) -> bytes:
        return chunk(choices=[{"index": 0, "delta": delta, "logprobs": logprobs}])

    assert events_of(line({"content": "a"})) == [TextDelta(0, "a", logprobs)]
    assert events_of(line({"content": "a", "refusal": "no"})) == [TextDelta(0, "a", logprobs), RefusalDelta(0, "no")]
    assert events_of(line({"content": ""})) == [TextDelta(0, "", logprobs)]


def test_a_choice_finishes_once_and_an_unknown_word_is_kept() -> None:
    assert events_of(chunk({"content": "a"}, "bored"), chunk({}, "stop")) == [
        TextDelta(0, "a"),
        Finished(0, "stop", "bored"),
    ]


def test_complete_waits_for_every_choice_that_spoke() -> None:
    decoder = StreamDecoder()
    seen = []
    for line in (
        chunk({"content": "a"}),
        chunk({"content": "b"}, index=1),
        chunk({}, "stop"),
        chunk({}, "stop", index=1),
    ):
        decode_stream(decoder, line)
        seen.append(decoder.complete)
    assert seen == [False, False, False, True]


def test_done_completes_a_stream_without_finish_reasons() -> None:
    decoder = StreamDecoder()
    assert decode_stream(decoder, data_event(b" [DONE] ")) == [Ended()]
    assert decoder.complete


def test_an_empty_stream_is_not_complete() -> None:
    decoder = StreamDecoder()
    assert decode_stream(decoder, b": alive\n\ndata:\n\n" + data_event(b'{"choices": []}')) == []
    assert not decoder.complete


def test_usage_wherever_it_comes() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    seen = UsageSeen(Usage(3, 2))
    assert events_of(chunk({}, "stop", usage=usage)) == [Finished(0, "stop"), seen]
    assert events_of(chunk(choices=[], usage=usage)) == [seen]
    assert events_of(data_event(msgspec.json.encode({"usage": usage}))) == [seen]
    assert events_of(chunk(choices=[], x_groq={"id": "r", "usage": usage})) == [seen]
    assert events_of(chunk(choices=None, usage="free", x_groq={"usage": None})) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (data_event(b'{"error": {"message": "m", "code": 503}}'), Failed("m", None, 503, "503")),
        (data_event(b'{"error": {"message": "m", "type": "t", "code": "429"}}'), Failed("m", "t", 429, "429")),
        (data_event(b'{"error": {"message": "m", "code": "overloaded"}}'), Failed("m", code="overloaded")),
        (data_event(b'{"error": {"message": "m", "code": 1302}}'), Failed("m", code="1302")),
        (data_event(b'{"error": {"message": "m", "retry_after": 2}}'), Failed("m", retry_after=2.0)),
        (data_event(b'{"error": "m"}'), Failed("m")),
        (data_event(b'{"object": "error", "message": "m", "code": 400}'), Failed("m", None, 400, "400")),
        (data_event(b'{"error": {}, "object": "error"}'), Failed("the upstream broke off without saying why")),
        (named_event("error", b'{"code": "BACKEND_ERROR", "message": "m"}'), Failed("m", code="BACKEND_ERROR")),
        (named_event("error", b'{"error": {"message": "m", "status_code": 400}}'), Failed("m", None, 400)),
        (named_event("error", b"out of memory"), Failed("out of memory")),
    ],
)
def test_errors_inside_a_stream(line: bytes, expected: Failed) -> None:
    decoder = StreamDecoder()
    assert decode_stream(decoder, line) == [expected]
    assert not decoder.complete


def test_an_error_after_the_finish_reason_takes_completeness_back() -> None:
    decoder = StreamDecoder()
    decode_stream(decoder, chunk({"content": "a"}, "length"))
    assert decoder.complete
    decode_stream(decoder, chunk(error={"message": "m"}))
    assert not decoder.complete


def test_a_chunk_with_an_error_keeps_its_usage_and_finishes_nothing() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2}
    line = chunk({"content": ""}, "error", usage=usage, error={"message": "m", "code": 502})
    assert events_of(line) == [UsageSeen(Usage(3, 2)), Failed("m", None, 502, "502")]


@pytest.mark.parametrize(
    "data",
    [
        b"hello",
        b"<html>",
        b'{"choices": [',
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"foo": 1}',
        b'{"choices": [7]}',
        b'{"choices": [{"delta": {"content": 7}}]}',
    ],
)
def test_what_is_no_chunk(data: bytes) -> None:
    with pytest.raises(GatewayError, match="an event that is no chunk") as caught:
        StreamDecoder().feed(SseEvent(data))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


def test_a_named_event_beside_the_chunks_is_passed_over() -> None:
    assert events_of(named_event("ping", b'{"type": "ping"}'), chunk({"content": "a"}), DONE) == [
        TextDelta(0, "a"),
        Ended(),
    ]


@pytest.mark.parametrize("data", [b"alive", b"{alive"])
def test_a_named_notice_need_not_be_json(data: bytes) -> None:
    assert events_of(named_event("ping", data)) == []
    with pytest.raises(GatewayError):
        events_of(named_event("message", data))


def test_citations_come_with_empty_text() -> None:
    said = {"start_index": 0, "end_index": 1, "title": "X", "url": "http://x"}
    line = chunk({"content": "a", "annotations": [{"type": "url_citation", "url_citation": said}]})
    assert events_of(line) == [
        TextDelta(0, "a"),
        TextDelta(0, "", citations=[Citation("http://x", "X", None, 0, 1)]),
    ]


def test_sources_beside_the_choices_are_told_once_before_the_end() -> None:
    """Perplexity repeats them in every chunk."""
    beside = {"citations": ["http://x"], "search_results": [{"url": "http://x", "title": "X"}]}
    lines = (chunk({"content": "a"}, citations=["http://x"]), chunk({"content": "b"}, **beside), chunk({}, "stop"))
    assert events_of(*lines) == [
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        TextDelta(0, "", citations=[Citation("http://x", "X")]),
        Finished(0, "stop"),
    ]


def test_a_choice_with_annotations_of_its_own_needs_no_sources() -> None:
    own = {"type": "url_citation", "url_citation": {"url": "http://y"}}
    found = events_of(chunk({"annotations": [own]}, citations=["http://x"]), chunk({}, "stop"))
    assert found == [TextDelta(0, "", citations=[Citation("http://y")]), Finished(0, "stop")]


@pytest.mark.parametrize(
    ("member", "finish", "expected"),
    [
        ({"stop_reason": "END"}, "stop", Finished(0, "stop", None, "END")),
        ({"matched_stop": "END"}, "stop", Finished(0, "stop", None, "END")),
        ({"stop_reason": 128001}, "stop", Finished(0, "stop")),
        ({"stop_reason": "END"}, "length", Finished(0, "length")),
    ],
)
def test_the_stop_text_that_ended_a_choice(member: dict[str, Any], finish: str, expected: Finished) -> None:
    choice = {"index": 0, "delta": {}, "finish_reason": finish} | member
    assert events_of(chunk(choices=[choice])) == [expected]


def test_a_signed_entry_that_repeats_its_words_counts_once() -> None:
    entry = {"type": "reasoning.text", "text": "why", "signature": "sig", "format": "anthropic-claude-v1"}
    lines = (chunk({"reasoning_content": "wh"}), chunk({"reasoning_content": "y"}))
    signed = ReasoningDelta(0, "", "sig", origin="anthropic")
    assert events_of(*lines, chunk({"reasoning_details": [entry]}))[2:] == [signed]
    other = chunk({"reasoning_details": [entry | {"text": "then"}]})
    assert events_of(*lines, other)[2:] == [ReasoningDelta(0, "then", "sig", origin="anthropic")]


def test_google_s_signature_of_a_text() -> None:
    line = chunk({"content": "a", "extra_content": {"google": {"thought_signature": "sig"}}})
    assert events_of(line) == [TextDelta(0, "a"), ReasoningDelta(0, signature="sig", origin="google")]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    assert events_of(chunk({"tool_calls": [call]}), chunk({}, "tool_calls")) == [
        ToolCallDelta(0, 0, "c", "f"),
        ToolCallDelta(0, 0, arguments="{}"),
        Finished(0, "tool_calls"),
    ]


def test_a_spoken_word_begins_an_answer() -> None:
    assert events_of(chunk({"audio": {"id": "x", "data": "AAAA"}})) == [TextDelta(0, "")]


def test_a_whole_message_sent_as_a_chunk_is_read() -> None:
    line = chunk(choices=[{"message": {"content": "a"}, "finish_reason": "stop"}], object="chat.completion")
    assert events_of(line) == [TextDelta(0, "a"), Finished(0, "stop")]


def test_a_legacy_function_call_in_pieces() -> None:
    first = chunk({"function_call": {"name": "f", "arguments": ""}})
    start, piece, finished = events_of(first, chunk({"function_call": {"arguments": "{}"}}), chunk({}, "function_call"))
    assert isinstance(start, ToolCallDelta)
    assert (start.name, start.call) == ("f", 0)
    assert piece == ToolCallDelta(0, 0, arguments="{}")
    assert finished == Finished(0, "tool_calls", "function_call")
