from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import GatewayError
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
from appliance.formats.responses_stream import ResponsesStreamDecoder
from appliance.formats.sse import SseEvent
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.golden import check_golden
from support.streams import decode_stream, joined, sliced, split_events

WHOLE = ["stream-reasoning-tools", "stream-text", "stream-tools-parallel"]
BROKEN = ["stream-error-rate-limit", "stream-error-unknown"]

NOTE = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}
TOKEN = {"token": "a", "logprob": -0.1, "top_logprobs": []}


def fed(*payloads: dict[str, Any], decoder: ResponsesStreamDecoder | None = None) -> list[ChatEvent]:
    decoder = decoder or ResponsesStreamDecoder()
    return [out for payload in payloads for out in decoder.feed(SseEvent(json.dumps(payload).encode()))]


def event(kind: str, place: int = 0, **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": place, **members}


def item(kind: str, place: int, **members: Any) -> dict[str, Any]:
    return event(f"output_item.{kind}", place, item=members)


def end(kind: str = "completed", **members: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "resp_1", "model": "m", "status": kind, **members}}


# -- recordings -------------------------------------------------------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize("name", [*WHOLE, *BROKEN])
def test_a_recorded_stream_reads_as_its_golden_file_wherever_it_is_split(name: str) -> None:
    body = recorded(f"openai-responses/{name}.response.sse")
    whole = split_events([body])
    decoder = ResponsesStreamDecoder()
    events = [out for each in whole for out in decoder.feed(each)]
    assert decoder.complete is (name in WHOLE)
    for seed in range(5):
        assert decode_stream(ResponsesStreamDecoder(), body, seed) == events
    check_golden(Path(f"streams/openai-responses/{name}.json"), joined(events))


@needs_fixtures
def test_every_recorded_stream_has_a_golden_file() -> None:
    found = {path.name.split(".")[0] for path in (PROVIDERS / "openai-responses").glob("*.sse")}
    assert found == {*WHOLE, *BROKEN}


@needs_fixtures
@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_cut_before_its_end_mark_is_never_complete(name: str) -> None:
    body = recorded(f"openai-responses/{name}.response.sse")
    *events, last = split_events(sliced(body, random.Random(1)))
    decoder = ResponsesStreamDecoder()
    for each in events:
        decoder.feed(each)
        assert not decoder.complete
    decoder.feed(last)
    assert decoder.complete


# -- events -----------------------------------------------------------------------------------------------------------


def test_a_whole_answer_in_order() -> None:
    summary = [{"type": "summary_text", "text": "ab"}, {"type": "summary_text", "text": "c"}]
    events = fed(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 5}},
        {"type": "response.in_progress", "response": {"id": "resp_1"}},
        item("added", 0, type="reasoning", id="rs_1", summary=[]),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="a"),
        event("reasoning_summary_text.delta", 0, summary_index=0, delta="b"),
        event("reasoning_summary_text.delta", 0, summary_index=1, delta="c"),
        item("done", 0, type="reasoning", id="rs_1", summary=summary, encrypted_content="gAAAA"),
        item("added", 1, type="message", id="msg_1", content=[]),
        event("output_text.delta", 1, content_index=0, delta="a", logprobs=[TOKEN]),
        event("output_text.annotation.added", 1, content_index=0, annotation=NOTE),
        event("output_text.delta", 1, content_index=1, delta="b", logprobs=[]),
        event("output_text.annotation.added", 1, content_index=1, annotation=NOTE),
        event("refusal.delta", 1, content_index=2, delta="no"),
        item("done", 1, type="message", content=[{"type": "output_text", "text": "a", "annotations": [NOTE]}]),
        item("added", 2, type="function_call", call_id="call_1", name="f", arguments=""),
        event("function_call_arguments.delta", 2, delta='{"a":'),
        event("function_call_arguments.delta", 2, delta="1}"),
        event("function_call_arguments.done", 2, arguments='{"a":1}'),
        item("done", 2, type="function_call", call_id="call_1", name="f", arguments='{"a":1}'),
        end(usage={"input_tokens": 3, "output_tokens": 4}),
    )
    assert events == [
        Started("resp_1", "m", 5),
        ReasoningDelta(0, "a", origin="responses", id="rs_1"),
        ReasoningDelta(0, "b", origin="responses"),
        ReasoningDelta(0, "\n\nc", origin="responses"),
        ReasoningDelta(0, "", "gAAAA", origin="responses", id="rs_1"),
        TextDelta(0, "a", {"content": [TOKEN], "refusal": None}),
        TextDelta(0, "", citations=[Citation("https://a.example", "A", None, 0, 1, NOTE, "responses")]),
        TextDelta(0, "b"),
        TextDelta(0, "", citations=[Citation("https://a.example", "A", None, 1, 2, NOTE, "responses")]),
        RefusalDelta(0, "no"),
        ToolCallDelta(0, 0, "call_1", "f"),
        ToolCallDelta(0, 0, arguments='{"a":'),
        ToolCallDelta(0, 0, arguments="1}"),
        Finished(0, "tool_calls"),
        UsageSeen(Usage(3, 4)),
        Ended(),
    ]


def test_calls_in_turns_keep_their_numbers() -> None:
    events = fed(
        item("added", 0, type="function_call", call_id="call_1", name="f"),
        item("added", 1, type="function_call", call_id="call_2", name="g"),
        event("function_call_arguments.delta", 1, delta="2"),
        event("function_call_arguments.delta", 0, delta="1"),
    )
    assert [(each.call, each.arguments) for each in events if isinstance(each, ToolCallDelta)] == [
        (0, ""),
        (1, ""),
        (1, "2"),
        (0, "1"),
    ]


def test_what_no_delta_told_the_items_end_tells() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi", "annotations": [NOTE]}]}
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}]}
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    expected = [
        ReasoningDelta(0, "t", origin="responses", id="rs_1"),
        TextDelta(0, "hi", citations=[Citation("https://a.example", "A", None, 0, 1, NOTE, "responses")]),
        ToolCallDelta(0, 0, "call_1", "f", "{}"),
        RefusalDelta(0, "no"),
    ]
    output: list[dict[str, Any]] = [thought, message, call, refusal]
    done = [item("done", place, **said) for place, said in enumerate(output)]
    assert fed(*done) == expected
    final = fed(end(output=output))
    assert [each for each in final if not isinstance(each, Started | Finished | Ended)] == expected
    assert fed(*done, end(output=output))[len(expected) :] == [
        Started("resp_1", "m", 0),
        Finished(0, "tool_calls"),
        Ended(),
    ]


def test_the_rest_of_a_call_comes_with_its_end() -> None:
    events = fed(
        item("added", 0, type="function_call", call_id="call_1", name="f", arguments='{"a"'),
        event("function_call_arguments.delta", 0, delta=":"),
        item("done", 0, type="function_call", call_id="call_1", name="f", arguments='{"a":1}'),
    )
    assert "".join(each.arguments for each in events if isinstance(each, ToolCallDelta)) == '{"a":1}'


def test_citations_that_came_with_the_item_only_are_not_lost() -> None:
    events = fed(
        event("output_text.delta", 0, content_index=0, delta="hi"),
        item("done", 0, type="message", content=[{"type": "output_text", "text": "hi", "annotations": [NOTE]}]),
    )
    cited = [Citation("https://a.example", "A", None, 0, 1, NOTE, "responses")]
    assert events == [TextDelta(0, "hi"), TextDelta(0, "", citations=cited)]


def test_reasoning_and_its_summary_are_counted_once() -> None:
    events = fed(
        event("reasoning_text.delta", 0, item_id="rs_1", content_index=0, delta="long"),
        event("reasoning_summary_text.delta", 0, item_id="rs_1", summary_index=0, delta="short"),
    )
    assert events == [ReasoningDelta(0, "long", origin="responses", id="rs_1")]


def test_a_tool_at_the_providers_side_begins_the_answer_and_is_no_call() -> None:
    events = fed(
        item("added", 0, type="web_search_call", id="ws_1"),
        {"type": "response.web_search_call.searching", "output_index": 0},
        item("done", 0, type="web_search_call", id="ws_1"),
        end(output=[{"type": "web_search_call", "id": "ws_1"}]),
    )
    assert events == [TextDelta(0, ""), Started("resp_1", "m", 0), Finished(0, "stop"), Ended()]


@pytest.mark.parametrize(
    ("details", "reason", "native"),
    [
        ({"reason": "max_output_tokens"}, "length", None),
        ({"reason": "content_filter"}, "content_filter", None),
        (None, "stop", "incomplete"),
    ],
)
def test_incomplete_answers(details: Any, reason: Any, native: str | None) -> None:
    events = fed(end("incomplete", incomplete_details=details))
    assert Finished(0, reason, native) in events


@pytest.mark.parametrize(
    ("payload", "failed"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": None},
            Failed("slow down", None, 429, "rate_limit_exceeded"),
        ),
        (
            {"type": "error", "error": {"type": "tokens", "code": "insufficient_quota", "message": "m"}},
            Failed("m", "tokens", 429, "insufficient_quota"),
        ),
        (
            end("failed", error={"code": "server_error", "message": "m"}),
            Failed("m", None, 500, "server_error"),
        ),
        (
            end("failed", error={"code": "invalid_prompt", "message": "m"}),
            Failed("m", None, 400, "invalid_prompt"),
        ),
        (end("failed"), Failed("the upstream broke off without saying why")),
        ({"error": {"message": "m", "code": 502}}, Failed("m", code="502")),
        ({"type": "error", "code": "odd", "message": "m"}, Failed("m", code="odd")),
    ],
)
def test_failures(payload: dict[str, Any], failed: Failed) -> None:
    decoder = ResponsesStreamDecoder()
    assert fed(payload, end(), decoder=decoder) == [failed]
    assert not decoder.complete


def test_nothing_is_read_after_the_end() -> None:
    decoder = ResponsesStreamDecoder()
    fed(end(), decoder=decoder)
    assert fed(event("output_text.delta", 0, delta="x"), decoder=decoder) == []
    assert decoder.feed(SseEvent(b"not json")) == []


def test_the_chat_dialects_end_mark_is_none() -> None:
    decoder = ResponsesStreamDecoder()
    assert decoder.feed(SseEvent(b"[DONE]")) == []
    assert not decoder.complete


def test_an_events_name_stands_in_for_its_type() -> None:
    data = json.dumps({"output_index": 0, "delta": "a"}).encode()
    assert ResponsesStreamDecoder().feed(SseEvent(data, "response.output_text.delta")) == [TextDelta(0, "a")]


@pytest.mark.parametrize(
    "payload",
    [
        {"type": "response.of_the_future", "output_index": 0, "delta": "x"},
        {"type": "ping"},
        {"type": "response.output_text.delta", "delta": "no place"},
        {"type": "response.output_text.delta", "output_index": 0, "delta": 5},
        {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 0},
        {"type": "response.output_text.annotation.added", "output_index": 0, "annotation": None},
        {"type": "response.refusal.delta", "output_index": 0, "delta": ""},
    ],
)
def test_what_says_nothing_is_skipped(payload: dict[str, Any]) -> None:
    assert fed(payload) == []


@pytest.mark.parametrize("data", [b"{", b"[]", b'"x"', b"{}", b"\xff"])
def test_what_is_no_event_is_a_shape_mismatch(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        ResponsesStreamDecoder().feed(SseEvent(data))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
