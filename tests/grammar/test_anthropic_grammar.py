"""The checker of Anthropic's streams: what it reads off good ones, and each way in which it finds a bad one."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from appliance.formats.chat import Usage
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.grammar_anthropic import check
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


def event(kind: str, **members: Any) -> tuple[str, Any]:
    return kind, {"type": kind} | members


def opened(index: int, **block: Any) -> tuple[str, Any]:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **members: Any) -> tuple[str, Any]:
    return event("content_block_delta", index=index, delta={"type": kind} | members)


def stop(index: int) -> tuple[str, Any]:
    return event("content_block_stop", index=index)


def ended(reason: str, sequence: str | None = None) -> tuple[str, Any]:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": sequence}, usage={"output_tokens": 20})


START = event(
    "message_start",
    message={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 7,
            "output_tokens": 1,
        },
    },
)
STREAM: Events = [
    START,
    opened(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="hm"),
    event("ping"),
    delta(0, "signature_delta", signature="SIG"),
    stop(0),
    opened(1, type="text", text=""),
    delta(1, "text_delta", text="Grüße"),
    stop(1),
    opened(2, type="tool_use", id="toolu_1", name="look", input={}),
    delta(2, "input_json_delta", partial_json=""),
    delta(2, "input_json_delta", partial_json='{"at": '),
    delta(2, "input_json_delta", partial_json='"sky"}'),
    stop(2),
    ended("tool_use"),
    event("message_stop"),
]
SHORT: Events = [
    START,
    opened(0, type="text", text=""),
    delta(0, "text_delta", text="a"),
    stop(0),
    ended("end_turn"),
    event("message_stop"),
]
ERROR = event("error", error={"type": "overloaded_error", "message": "too much to do"})
FAILED: Events = [*SHORT[:3], ERROR]


def test_thinking_text_and_a_call() -> None:
    answer = check(sse(STREAM))
    assert (answer.reasoning, answer.text, answer.choice().opaque) == ("hm", "Grüße", ["SIG"])
    assert [(call.id, call.name, call.arguments) for call in answer.calls] == [("toolu_1", "look", '{"at": "sky"}')]
    assert (answer.finish_reason, answer.choice().native_finish) == ("tool_calls", "tool_use")
    assert (answer.id, answer.model, answer.complete, answer.error) == ("msg_1", "m", True, None)
    assert answer.usage == Usage(112, 20, 100, 7)


def test_an_error_ends_the_stream_inside_a_block() -> None:
    answer = check(sse(FAILED))
    assert answer.error is not None
    assert (answer.error.type, answer.text, answer.complete) == ("overloaded_error", "a", False)
    assert answer.finish_reason is None


def test_an_error_before_anything_else() -> None:
    assert check(sse([ERROR])).error is not None


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert check(broken(STREAM, lambda events: events.__delitem__(slice(11, 13)))).calls[0].arguments == "{}"


def test_an_answer_without_blocks() -> None:
    assert check(sse([START, ended("refusal"), event("message_stop")])).finish_reason == "content_filter"


def test_the_stop_sequence_that_was_met() -> None:
    assert check(sse([*SHORT[:4], ended("stop_sequence", "END"), SHORT[5]])).choice().stop_sequence == "END"


def test_an_unknown_reason_is_null_only_where_the_test_expects_it() -> None:
    unknown = changed(4, "delta", "stop_reason", to=None)
    assert check(broken(SHORT, unknown), unfinished=True).finish_reason is None
    assert check(sse(SHORT), unfinished=True).finish_reason == "stop"
    with pytest.raises(AssertionError, match="stop_reason is NoneType"):
        check(broken(SHORT, unknown))
    with pytest.raises(AssertionError, match="has no stop_reason"):
        check(broken(SHORT, without(4, "delta", "stop_reason")), unfinished=True)


def test_redacted_thinking_and_citations() -> None:
    cited = delta(1, "citations_delta", citation={"type": "char_location", "cited_text": "x"})
    blocks = [opened(0, type="redacted_thinking", data="OPAQUE"), stop(0), opened(1, type="text", text=""), cited]
    answer = check(sse([START, *blocks, stop(1), ended("end_turn"), event("message_stop")]))
    assert answer.choice().opaque == ["OPAQUE"]
    assert answer.choice().citations == [{"type": "char_location", "cited_text": "x"}]


@pytest.mark.parametrize("stream", [STREAM, SHORT])
def test_the_official_sdk_knows_each_event(stream: Events) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    kinds = [adapter.validate_python(data).type for name, data in stream if name != "ping"]
    assert kinds == [name for name, _ in stream if name != "ping"]


@needs_fixtures
@pytest.mark.parametrize("name", sorted(path.name for path in PROVIDERS.glob("anthropic/*.sse")))
def test_anthropics_own_streams_keep_the_grammar(name: str) -> None:
    assert check(recorded(f"anthropic/{name}").rstrip() + b"\n\n").complete


@pytest.mark.parametrize(
    ("stream", "breaking", "sentence"),
    [
        (STREAM, without(0), "before message_start"),
        (STREAM, repeated(0), "a second time"),
        (STREAM, swapped(0, 1), "before message_start"),
        (STREAM, changed(0, "message", "stop_reason", to="end_turn"), "not an empty one"),
        (STREAM, changed(0, "message", "content", to=[{}]), "not an empty one"),
        (STREAM, without(0, "message", "usage"), "has no usage"),
        (STREAM, without(0, "message", "id"), "has no id"),
        (STREAM, renamed(7, "message"), "is not the type"),
        (STREAM, renamed(7, ""), "is not the type"),
        (STREAM, replaced(7, "content_block_bump", {"type": "content_block_bump"}), "no event of this dialect"),
        (STREAM, inserted(16, "", "[DONE]"), "no word of this dialect"),
        (STREAM, without(1), "no block is open"),
        (STREAM, without(5), "block 0 is still open"),
        (STREAM, without(13), "block 2 is still open"),
        (STREAM, repeated(5), "no block is open"),
        (STREAM, changed(6, "index", to=2), "the index is 2, not 1"),
        (STREAM, changed(1, "index", to=1), "the index is 1, not 0"),
        (STREAM, changed(7, "index", to=0), "but block 1 is open"),
        (STREAM, changed(8, "index", to=0), "but block 1 is open"),
        (STREAM, swapped(5, 6), "block 0 is still open"),
        (STREAM, replaced(7, *delta(1, "thinking_delta", thinking="x")), "a thinking_delta in a text block"),
        (STREAM, replaced(2, *delta(0, "text_delta", text="x")), "a text_delta in a thinking block"),
        (STREAM, replaced(11, *delta(2, "text_delta", text="x")), "a text_delta in a tool_use block"),
        (STREAM, replaced(7, *delta(1, "input_json_delta", partial_json="{}")), "a input_json_delta in a text block"),
        (STREAM, swapped(2, 4), "thinking after its signature"),
        (STREAM, repeated(4), "a second signature"),
        (STREAM, changed(6, "content_block", "text", to="a"), "opens with 'a'"),
        (STREAM, changed(1, "content_block", "signature", to="SIG"), "opens with its signature"),
        (STREAM, changed(9, "content_block", "input", to={"at": 1}), "opens with the input"),
        (STREAM, changed(9, "content_block", "name", to=""), "name is empty"),
        (STREAM, without(12), "the arguments of look are no JSON"),
        (STREAM, changed(12, "delta", "partial_json", to='"sky"}}'), "the arguments of look are no JSON"),
        (STREAM, without(14), "before message_delta"),
        (STREAM, repeated(14), "message_delta after message_delta"),
        (STREAM, changed(14, "delta", "stop_reason", to=None), "stop_reason is NoneType"),
        (STREAM, changed(14, "delta", "stop_reason", to="stop"), "is no stop reason"),
        (STREAM, changed(14, "delta", "stop_sequence", to="x"), "stop_reason tool_use with stop_sequence"),
        (STREAM, without(14, "usage"), "has no usage"),
        (STREAM, inserted(15, *opened(3, type="text", text="")), "content_block_start after message_delta"),
        (STREAM, without(15), "without message_stop"),
        (STREAM, inserted(16, *event("ping")), "ping after the end"),
        (STREAM, inserted(16, *ERROR), "error after the end"),
        (SHORT, changed(4, "delta", "stop_reason", to="tool_use"), "there is no tool_use block"),
        (SHORT, lambda events: events.__delitem__(slice(3, 6)), "without message_stop"),
        (FAILED, inserted(4, *stop(0)), "content_block_stop after the end"),
        (FAILED, inserted(4, *event("message_stop")), "message_stop after the end"),
        (FAILED, changed(3, "error", "type", to="server_error"), "no error type of Anthropic's"),
        (FAILED, without(3, "error", "message"), "has no message"),
    ],
)
def test_a_broken_stream_is_found(stream: Events, breaking: Breaking, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(broken(stream, breaking))


def test_the_same_call_id_twice() -> None:
    calls = [opened(0, type="tool_use", id="a", name="f", input={}), stop(0)]
    again = [opened(1, type="tool_use", id="a", name="f", input={}), stop(1)]
    with pytest.raises(AssertionError, match="the id a again"):
        check(sse([START, *calls, *again, ended("tool_use"), event("message_stop")]))
