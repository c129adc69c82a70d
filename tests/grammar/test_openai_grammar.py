"""The checker of OpenAI's chat streams: what it reads off good ones, and each way in which it finds a bad one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from appliance.formats.chat import Usage
from support.fixtures import needs_fixtures, recorded
from support.grammar_openai import check
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

FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m"}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 7,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
ERROR = {"error": {"message": "the upstream broke off", "type": "server_error", "param": None, "code": "backend_error"}}


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> tuple[str, Any]:
    return "", FRAME | {"choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}]}


def piece(index: int, arguments: str, **head: str) -> dict[str, Any]:
    """A piece of a call; with an id and a name it is the first one."""
    function = {"arguments": arguments} | ({"name": head["name"]} if head else {})
    first = {"id": head["id"], "type": "function"} if head else {}
    return {"tool_calls": [{"index": index, "function": function} | first]}


TEXT: Events = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"reasoning_content": "hm"}),
    chunk({"content": "Grüße"}),
    chunk({"content": " 👋"}),
    chunk({}, "stop"),
    ("", FRAME | {"choices": [], "usage": USAGE}),
    ("", "[DONE]"),
]
CALLS: Events = [
    chunk({"role": "assistant", "content": None}),
    chunk(piece(0, "", id="call_a", name="look")),
    chunk(piece(0, '{"at":')),
    chunk(piece(0, ' "sky"}')),
    chunk(piece(1, "{}", id="call_b", name="wait")),
    chunk({}, "tool_calls"),
    ("", "[DONE]"),
]
TWO: Events = [
    chunk({"role": "assistant"}),
    chunk({"role": "assistant"}, index=1),
    chunk({"content": "a"}),
    chunk({"content": "b"}, index=1),
    chunk({}, "stop"),
    chunk({"content": "c"}, "length", index=1),
    ("", "[DONE]"),
]
FAILED: Events = [*TEXT[:3], ("", ERROR), ("", "[DONE]")]


def test_a_text_answer() -> None:
    answer = check(sse(TEXT), usage_asked=True)
    assert (answer.text, answer.reasoning, answer.finish_reason) == ("Grüße 👋", "hm", "stop")
    assert (answer.id, answer.model, answer.complete, answer.error) == ("chatcmpl-1", "m", True, None)
    assert answer.usage == Usage(10, 7, 4, 0, 3)


def test_calls() -> None:
    answer = check(sse(CALLS), usage_asked=False)
    told = [(call.id, call.name, call.arguments) for call in answer.calls]
    assert told == [("call_a", "look", '{"at": "sky"}'), ("call_b", "wait", "{}")]
    assert (answer.finish_reason, answer.usage) == ("tool_calls", None)


def test_choices_side_by_side() -> None:
    answer = check(sse(TWO))
    assert {index: (said.text, said.finish_reason) for index, said in answer.choices.items()} == {
        0: ("a", "stop"),
        1: ("bc", "length"),
    }


def test_an_error_in_the_middle() -> None:
    answer = check(sse(FAILED))
    assert answer.error is not None
    assert (answer.error.type, answer.error.code) == ("server_error", "backend_error")
    assert (answer.complete, answer.finish_reason, answer.text) == (False, None, "Grüße")


def test_an_error_at_once() -> None:
    assert check(sse(FAILED[-2:])).error is not None


def test_a_stream_that_the_upstream_ended_without_a_finish_reason_has_none() -> None:
    answer = check(broken(TEXT, without(4)))
    assert (answer.complete, answer.finish_reason) == (True, None)


def test_arguments_may_be_cut_by_the_cap() -> None:
    cut = [*CALLS[:3], chunk({}, "length"), CALLS[-1]]
    assert check(sse(cut)).calls[0].arguments == '{"at":'


@pytest.mark.parametrize("stream", [TEXT, CALLS, TWO])
def test_the_official_sdk_reads_the_same(stream: Events) -> None:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for _, data in stream[:-1]:
        state.handle_chunk(ChatCompletionChunk.model_validate(data, strict=True))
    message = state.current_completion_snapshot.choices[0].message
    answer = check(sse(stream))
    assert (message.content or "") == answer.text
    assert [call.function.arguments for call in message.tool_calls or [] if call.type == "function"] == [
        call.arguments for call in answer.calls
    ]


@needs_fixtures
@pytest.mark.parametrize(
    "name",
    ["length", "n3", "refusal", "refusal-logprobs", "text", "tools-parallel"],
)
def test_openais_own_streams_keep_the_grammar(name: str) -> None:
    assert check(recorded(f"openai/chat-stream-{name}.response.sse").rstrip() + b"\n\n", usage_asked=True).complete


@pytest.mark.parametrize(
    ("stream", "breaking", "sentence"),
    [
        (TEXT, without(-1), r"without \[DONE\]"),
        (TEXT, repeated(-1), r"\[DONE\] stands 2 times"),
        (TEXT, swapped(-1, -2), r"something follows \[DONE\]"),
        (TEXT, renamed(-1, "done"), "has an event name"),
        (TEXT, lambda events: events.__delitem__(slice(0, 6)), "no chunk"),
        (TEXT, renamed(0, "message"), "OpenAI's have none"),
        (TEXT, replaced(2, "", "nonsense"), "no JSON"),
        (TEXT, changed(2, "object", to="chat.completion"), "the object is"),
        (TEXT, changed(2, "id", to="chatcmpl-2"), "id changed"),
        (TEXT, changed(2, "model", to="n"), "model changed"),
        (TEXT, changed(2, "created", to=5), "created changed"),
        (TEXT, changed(0, "id", to=""), "id is empty"),
        (TEXT, without(2, "choices"), "has no choices"),
        (TEXT, changed(0, "choices", 0, "delta", to={"content": ""}), "the role None"),
        (TEXT, changed(2, "choices", 0, "delta", "role", to="assistant"), "a role after the first delta"),
        (TEXT, without(0), "the role None"),
        (TEXT, changed(2, "choices", 0, "delta", "content", to=5), "content is int"),
        (TEXT, changed(2, "choices", 0, "delta", "reasoning", to="x"), "the other dialect's word"),
        (TEXT, without(2, "choices", 0, "finish_reason"), "has no finish_reason"),
        (TEXT, changed(4, "choices", 0, "finish_reason", to="end_turn"), "is no finish reason"),
        (TEXT, repeated(4), "finishes a second time"),
        (TEXT, swapped(3, 4), "goes on after its finish reason"),
        (TEXT, changed(4, "choices", 0, "finish_reason", to="tool_calls"), "there is no call"),
        (TEXT, changed(2, "choices", 0, "index", to=-1), "index is -1"),
        (TEXT, lambda events: events[2][1]["choices"].append(events[3][1]["choices"][0]), "twice in one chunk"),
        (TEXT, swapped(4, 5), "usage is not the last thing"),
        (TEXT, changed(4, "usage", to=USAGE), "usage stands beside choices"),
        (TEXT, changed(5, "usage", "total_tokens", to=18), "the sum is 17"),
        (TEXT, changed(5, "usage", "prompt_tokens_details", "cached_tokens", to=11), "11 cached tokens of 10"),
        (TEXT, changed(5, "usage", "completion_tokens_details", "reasoning_tokens", to=8), "8 reasoning of 7"),
        (TEXT, changed(5, "usage", "prompt_tokens", to=True), "prompt_tokens is bool"),
        (TEXT, changed(5, "usage", to=None), "neither choices nor usage"),
        (CALLS, changed(1, "choices", 0, "delta", "tool_calls", 0, "index", to=1), "call 1 comes before call 0"),
        (CALLS, changed(4, "choices", 0, "delta", "tool_calls", 0, "index", to=2), "call 2 comes before call 1"),
        (CALLS, without(1, "choices", 0, "delta", "tool_calls", 0, "id"), "has no id"),
        (CALLS, changed(1, "choices", 0, "delta", "tool_calls", 0, "function", "name", to=""), "name is empty"),
        (CALLS, without(1, "choices", 0, "delta", "tool_calls", 0, "type"), "the type is None"),
        (CALLS, changed(2, "choices", 0, "delta", "tool_calls", 0, "id", to="call_a"), "an id after"),
        (CALLS, changed(2, "choices", 0, "delta", "tool_calls", 0, "id", to=""), "an id after"),
        (CALLS, changed(2, "choices", 0, "delta", "tool_calls", 0, "function", "name", to="look"), "a name after"),
        (CALLS, changed(4, "choices", 0, "delta", "tool_calls", 0, "id", to="call_a"), "two calls have the same id"),
        (CALLS, without(3), "the arguments of look are no JSON"),
        (CALLS, changed(4, "choices", 0, "delta", "tool_calls", 0, "function", "arguments", to="[]"), "no object"),
        (CALLS, changed(2, "choices", 0, "delta", "tool_calls", to=[]), "tool_calls is empty"),
        (TWO, without(5), r"only \[0\] have a finish reason"),
        (TWO, lambda events: [event[1]["choices"][0].update(index=2) for event in (events[1], events[3], events[5])],
         "not 0 to 1"),
        (FAILED, without(-1), r"without \[DONE\]"),
        (FAILED, inserted(4, *TEXT[3]), "not the last thing before"),
        (FAILED, without(3, "error", "code"), "has no code"),
        (FAILED, changed(3, "error", "message", to=""), "message is empty"),
        (FAILED, changed(3, "id", to="chatcmpl-1"), "an error stands beside"),
    ],
)  # fmt: skip
def test_a_broken_stream_is_found(stream: Events, breaking: Breaking, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check(broken(stream, breaking))


def test_usage_comes_when_asked_and_only_then() -> None:
    with pytest.raises(AssertionError, match="which nobody asked for"):
        check(sse(TEXT), usage_asked=False)
    with pytest.raises(AssertionError, match="no chunk with it"):
        check(sse(CALLS), usage_asked=True)
    nulls = json.loads(json.dumps(TEXT))
    for _, data in nulls[:5]:
        data["usage"] = None
    assert check(sse(nulls), usage_asked=True).usage


def test_habits_of_an_upstream_are_forgiven_only_when_relayed() -> None:
    habits = json.loads(json.dumps(CALLS))
    for _, data in habits[1:5]:
        data["choices"][0]["delta"]["role"] = "assistant"
        data["choices"][0]["delta"]["tool_calls"][0]["index"] += 1
    habits[2][1]["choices"][0]["delta"]["tool_calls"][0]["id"] = ""
    habits.insert(6, ["", FRAME | {"choices": [], "usage": USAGE | {"total_tokens": 20}}])
    habits.insert(6, ["", FRAME | {"choices": [], "moderation": {}}])
    answer = check(sse(habits), relayed=True)
    assert [call.arguments for call in answer.calls] == ['{"at": "sky"}', "{}"]
    assert answer.usage == Usage(10, 10, 4, 0, 3)
    with pytest.raises(AssertionError, match="a role after the first delta"):
        check(sse(habits))
