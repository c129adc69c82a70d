"""The checker of Responses streams: what it reads off good ones, and each way in which it finds a bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from appliance.formats.chat import Usage
from support.fixtures import needs_fixtures, recorded
from support.grammar_responses import check
from support.grammar_streams import (
    Breaking,
    Events,
    broken,
    changed,
    inserted,
    renamed,
    repeated,
    replaced,
    sse,
    swapped,
    without,
)

RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1700000000,
    "model": "m",
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "output": [],
    "usage": None,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "instructions": None,
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
}
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 17,
}
NOTE = {"type": "url_citation", "url": "https://example.org", "title": "t", "start_index": 0, "end_index": 2}
PART = {"type": "output_text", "text": "Grüße", "annotations": [NOTE]}
REASONING: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "OPAQUE",
}
MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [PART]}
CALL = {
    "id": "fc_1",
    "type": "function_call",
    "status": "completed",
    "call_id": "call_a",
    "name": "look",
    "arguments": '{"at": "sky"}',
}
ITEM_0, ITEM_1, ITEM_2 = (
    {"output_index": index, "item_id": each["id"]} for index, each in enumerate((REASONING, MESSAGE, CALL))
)
SUMMARY, CONTENT = ITEM_0 | {"summary_index": 0}, ITEM_1 | {"content_index": 0}


def numbered(*events: tuple[str, dict[str, Any]]) -> Events:
    return [(name, {"type": name, "sequence_number": number} | data) for number, (name, data) in enumerate(events)]


def typed(name: str, where: dict[str, Any], **members: Any) -> tuple[str, dict[str, Any]]:
    return name, {"type": name} | where | members


def opening(item: dict[str, Any], **empty: Any) -> dict[str, Any]:
    return item | ({} if item["type"] == "reasoning" else {"status": "in_progress"}) | empty


def end(status: str = "completed", *output: dict[str, Any], **members: Any) -> tuple[str, dict[str, Any]]:
    return f"response.{status}", {
        "response": RESPONSE | {"status": status, "output": list(output), "usage": USAGE} | members
    }


BEGUN = (("response.created", {"response": RESPONSE}), ("response.in_progress", {"response": RESPONSE}))
TEXT = (
    ("response.output_item.added", {"output_index": 1, "item": opening(MESSAGE, content=[])}),
    ("response.content_part.added", CONTENT | {"part": PART | {"text": "", "annotations": []}}),
    ("response.output_text.delta", CONTENT | {"delta": "Grü", "logprobs": []}),
    ("response.output_text.delta", CONTENT | {"delta": "ße", "logprobs": []}),
    ("response.output_text.annotation.added", CONTENT | {"annotation_index": 0, "annotation": NOTE}),
    ("response.output_text.done", CONTENT | {"text": "Grüße", "logprobs": []}),
    ("response.content_part.done", CONTENT | {"part": PART}),
    ("response.output_item.done", {"output_index": 1, "item": MESSAGE}),
)
STREAM = numbered(
    *BEGUN,
    ("response.output_item.added", {"output_index": 0, "item": opening(REASONING, summary=[], encrypted_content=None)}),
    ("response.reasoning_summary_part.added", SUMMARY | {"part": {"type": "summary_text", "text": ""}}),
    ("response.reasoning_summary_text.delta", SUMMARY | {"delta": "hm"}),
    ("response.reasoning_summary_text.done", SUMMARY | {"text": "hm"}),
    ("response.reasoning_summary_part.done", SUMMARY | {"part": {"type": "summary_text", "text": "hm"}}),
    ("response.output_item.done", {"output_index": 0, "item": REASONING}),
    *TEXT,
    ("response.output_item.added", {"output_index": 2, "item": opening(CALL, arguments="")}),
    ("response.function_call_arguments.delta", ITEM_2 | {"delta": '{"at": '}),
    ("response.function_call_arguments.delta", ITEM_2 | {"delta": '"sky"}'}),
    ("response.function_call_arguments.done", ITEM_2 | {"arguments": CALL["arguments"], "name": "look"}),
    ("response.output_item.done", {"output_index": 2, "item": CALL}),
    end("completed", REASONING, MESSAGE, CALL),
)
TROUBLE = {"code": "backend_error", "message": "the upstream broke off", "param": None}
FAILED = numbered(*BEGUN, ("response.failed", {"response": RESPONSE | {"status": "failed", "error": TROUBLE}}))
ERROR = numbered(*BEGUN, ("error", TROUBLE))


def renumber(events: Events) -> None:
    """So that a breaking is found for what it is, and not by the numbers."""
    for number, (_, data) in enumerate(events):
        if isinstance(data, dict):
            data["sequence_number"] = number


def test_reasoning_text_and_a_call() -> None:
    answer = check(sse(STREAM))
    assert (answer.reasoning, answer.text, answer.choice().opaque) == ("hm", "Grüße", ["OPAQUE"])
    assert [(call.id, call.name, call.arguments) for call in answer.calls] == [("call_a", "look", '{"at": "sky"}')]
    assert answer.choice().citations == [NOTE]
    assert (answer.finish_reason, answer.choice().native_finish, answer.complete) == ("tool_calls", "completed", True)
    assert (answer.id, answer.model, answer.created) == ("resp_1", "m", 1700000000)
    assert answer.usage == Usage(10, 7, 4, 0, 3)
    assert answer.final is not None
    assert answer.final["output"] == [REASONING, MESSAGE, CALL]


@pytest.mark.parametrize(("stream", "complete"), [(FAILED, False), (ERROR, False)])
def test_an_error_ends_the_stream(stream: Events, complete: bool) -> None:
    answer = check(sse(stream))
    assert answer.error is not None
    assert (answer.error.code, answer.complete, answer.finish_reason) == ("backend_error", complete, None)


def test_an_error_may_be_followed_by_the_failed_answer_only() -> None:
    both = [*ERROR, ("response.failed", FAILED[2][1] | {"sequence_number": 3})]
    assert check(sse(both)).error is not None
    with pytest.raises(AssertionError, match="after the end of the stream"):
        check(sse([*both, (both[-1][0], both[-1][1] | {"sequence_number": 4})]))


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_an_incomplete_answer_says_why(reason: str, finish: str) -> None:
    stream = numbered(*BEGUN, end("incomplete", incomplete_details={"reason": reason}))
    assert check(sse(stream)).finish_reason == finish


def test_refusals_and_open_thoughts() -> None:
    where = {"output_index": 0, "item_id": "msg_2", "content_index": 0}
    refusal = {"type": "refusal", "refusal": "no"}
    message = MESSAGE | {"id": "msg_2", "content": [refusal]}
    thought = {"type": "reasoning_text", "text": "hm"}
    thinking = {"id": "rs_2", "type": "reasoning", "summary": [], "content": [thought], "status": "completed"}
    inside = {"output_index": 1, "item_id": "rs_2", "content_index": 0}
    stream = numbered(
        *BEGUN,
        ("response.output_item.added", {"output_index": 0, "item": opening(message, content=[])}),
        ("response.content_part.added", where | {"part": refusal | {"refusal": ""}}),
        ("response.refusal.delta", where | {"delta": "no"}),
        ("response.refusal.done", where | {"refusal": "no"}),
        ("response.content_part.done", where | {"part": refusal}),
        ("response.output_item.done", {"output_index": 0, "item": message}),
        (
            "response.output_item.added",
            {"output_index": 1, "item": thinking | {"content": [], "status": "in_progress"}},
        ),
        ("response.content_part.added", inside | {"part": thought | {"text": ""}}),
        ("response.reasoning_text.delta", inside | {"delta": "hm"}),
        ("response.reasoning_text.done", inside | {"text": "hm"}),
        ("response.content_part.done", inside | {"part": thought}),
        ("response.output_item.done", {"output_index": 1, "item": thinking}),
        end("completed", message, thinking),
    )
    answer = check(sse(stream))
    assert (answer.choice().refusal, answer.text, answer.reasoning) == ("no", "", "hm")


@pytest.mark.parametrize("stream", [STREAM, ERROR])
def test_the_official_sdk_knows_each_event(stream: Events) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    assert [adapter.validate_python(data).type for _, data in stream] == [name for name, _ in stream]


@needs_fixtures
@pytest.mark.parametrize("name", ["text", "tools-parallel", "reasoning-tools"])
def test_openais_own_streams_keep_the_grammar(name: str) -> None:
    assert check(recorded(f"openai-responses/stream-{name}.response.sse").rstrip() + b"\n\n").complete


@needs_fixtures
@pytest.mark.parametrize("name", ["error-rate-limit", "error-unknown"])
def test_openais_own_errors_keep_the_grammar(name: str) -> None:
    answer = check(recorded(f"openai-responses/stream-{name}.response.sse").rstrip() + b"\n\n")
    assert answer.error is not None
    assert answer.error.code == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("stream", "breaking", "sentence"),
    [
        (STREAM, changed(0, "sequence_number", to=1), "the sequence number is 1, not 0"),
        (STREAM, without(10), "the sequence number is 11, not 10"),
        (STREAM, repeated(10), "the sequence number is 10, not 11"),
        (STREAM, without(10, "sequence_number"), "has no sequence_number"),
    ],
)
def test_numbers_have_no_gap(stream: Events, breaking: Breaking, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(broken(stream, breaking))


@pytest.mark.parametrize(
    ("stream", "breaking", "sentence"),
    [
        (STREAM, without(0), "stands where response.created belongs"),
        (STREAM, without(1), "stands where response.in_progress belongs"),
        (STREAM, changed(0, "response", "output", to=[MESSAGE]), "the output is not empty"),
        (STREAM, changed(0, "response", "usage", to=USAGE), "usage before the end"),
        (STREAM, changed(1, "response", "id", to="resp_2"), "id changed"),
        (STREAM, changed(21, "response", "model", to="n"), "model changed"),
        (STREAM, changed(21, "response", "created_at", to=5), "created changed"),
        (STREAM, changed(0, "response", "status", to="completed"), "the status is 'completed'"),
        (STREAM, renamed(10, "response.output_text"), "has the name"),
        (STREAM, renamed(10, ""), "has the name ''"),
        (STREAM, inserted(22, "", "[DONE]"), "no word of this dialect"),
        (STREAM, inserted(22, *FAILED[2]), "after the end of the stream"),
        (STREAM, without(21), "the stream ends without"),
        (STREAM, without(8), "no item 1 was added"),
        (STREAM, changed(8, "output_index", to=2), "the output index is 2, not 1"),
        (STREAM, changed(8, "item", "id", to="rs_1"), "the id rs_1 again"),
        (STREAM, changed(8, "item", "status", to="completed"), "opens with the status"),
        (STREAM, changed(8, "item", "content", to=[PART]), "opens with content"),
        (STREAM, changed(16, "item", "arguments", to="{}"), "opens with arguments"),
        (STREAM, without(16, "item", "call_id"), "has no call_id"),
        (STREAM, changed(2, "item", "summary", to=REASONING["summary"]), "opens with a summary"),
        (STREAM, changed(10, "item_id", to="fc_1"), "item 1 is 'msg_1', not 'fc_1'"),
        (STREAM, changed(10, "output_index", to=0), "item 0 is done"),
        (STREAM, without(9), "part 0 is not the open one of 0"),
        (STREAM, changed(9, "content_index", to=1), "the index is 1, not 0"),
        (STREAM, changed(9, "part", "text", to="a"), "does not open empty"),
        (STREAM, changed(9, "part", "type", to="summary_text"), "a summary_text part in an item of type message"),
        (STREAM, changed(10, "content_index", to=1), "part 1 is not the open one"),
        (STREAM, without(10), "the text is 'Grüße', streamed was 'ße'"),
        (STREAM, changed(13, "text", to="Gruß"), "the text is 'Gruß', streamed was"),
        (STREAM, without(13), "its text was never done"),
        (STREAM, swapped(11, 13), "the text is 'Grüße', streamed was 'Grü'"),
        (STREAM, repeated(13), "the text was done"),
        (STREAM, without(12), "streamed were"),
        (STREAM, changed(12, "annotation_index", to=1), "the annotation index is 1"),
        (STREAM, changed(14, "part", "text", to="x"), "the text is 'x'"),
        (STREAM, without(14), "a output_text part of it was never done"),
        (STREAM, changed(15, "item", "content", 0, "text", to="x"), "the text is 'x'"),
        (STREAM, changed(15, "item", "content", to=[]), "0 parts, 1 streamed"),
        (STREAM, changed(15, "item", "id", to="msg_2"), "item 1 is 'msg_1', not 'msg_2'"),
        (STREAM, changed(15, "item", "status", to="in_progress"), "done with the status"),
        (STREAM, changed(15, "item", "type", to="reasoning"), "the type changed"),
        (STREAM, without(15), "were never done"),
        (STREAM, changed(7, "item", "summary", 0, "text", to="x"), "the text is 'x'"),
        (STREAM, without(4), "the text is 'hm', streamed was ''"),
        (STREAM, changed(10, "summary_index", to=0), "a summary in an item of type message"),
        (STREAM, without(17), "the arguments are"),
        (STREAM, without(19), "the arguments were never done"),
        (STREAM, repeated(19), "the arguments were done"),
        (STREAM, changed(19, "arguments", to="{}"), "the arguments are '{}'"),
        (STREAM, changed(20, "item", "arguments", to="{}"), "the arguments are '{}'"),
        (STREAM, changed(20, "item", "call_id", to="call_b"), "call_id changed"),
        (STREAM, changed(20, "item", "name", to="see"), "name changed"),
        (STREAM, replaced(18, *typed("response.output_text.delta", ITEM_2, content_index=0, delta="x")), "open one"),
        (STREAM, replaced(10, *typed("response.audio.delta", CONTENT)), "no event of an item"),
        (STREAM, changed(21, "response", "output", to=[REASONING, MESSAGE]), "2 items in the output, 3 streamed"),
        (STREAM, changed(21, "response", "output", 1, "content", 0, "text", to="x"), "is not what was streamed"),
        (STREAM, changed(21, "response", "output", 0, "encrypted_content", to=None), "is not what was streamed"),
        (STREAM, changed(21, "response", "usage", to=None), "usage is NoneType"),
        (STREAM, changed(21, "response", "usage", "total_tokens", to=18), "the sum is 17"),
        (STREAM, changed(21, "response", "error", to=TROUBLE), "an error in an answer"),
        (STREAM, changed(21, "response", "incomplete_details", to={"reason": "x"}), "in a completed answer"),
        (STREAM, changed(21, "response", "status", to="incomplete"), "the status is 'incomplete'"),
        (FAILED, changed(2, "response", "error", to=None), "error is NoneType"),
        (FAILED, without(2, "response", "error", "code"), "has no code"),
        (ERROR, without(2, "message"), "has no message"),
        (ERROR, inserted(3, *STREAM[8]), "after the end of the stream"),
    ],
)  # fmt: skip
def test_a_broken_stream_is_found(stream: Events, breaking: Breaking, sentence: str) -> None:
    def break_and_number(events: Events) -> None:
        breaking(events)
        renumber(events)

    with pytest.raises(AssertionError, match=sentence):
        check(broken(stream, break_and_number))


def test_cut_arguments_are_forgiven_only_in_an_incomplete_answer() -> None:
    cut: Events = json.loads(json.dumps(STREAM))
    del cut[18]
    cut[18][1]["arguments"] = '{"at": '
    cut[19][1]["item"] |= {"arguments": '{"at": ', "status": "incomplete"}
    whole = [REASONING, MESSAGE, cut[19][1]["item"]]
    name, data = end("incomplete", *whole, incomplete_details={"reason": "max_output_tokens"})
    cut[20] = (name, {"type": name} | data)
    renumber(cut)
    assert check(sse(cut)).calls[0].arguments == '{"at": '
    name, data = end("completed", *whole)
    cut[20] = (name, {"type": name, "sequence_number": 20} | data)
    with pytest.raises(AssertionError, match="are incomplete"):
        check(sse(cut))
