"""Structured output by a forced tool: the request there, the reply and the stream back."""

from __future__ import annotations

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats import openai
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Choice,
    Finished,
    Message,
    ReasoningPart,
    ResponseFormat,
    TextDelta,
    TextPart,
    Tool,
    ToolCallDelta,
    ToolCallPart,
    ToolChoice,
)
from appliance.formats.json_answer import (
    JSON_ANSWER_DESCRIPTION,
    JSON_ANSWER_TOOL,
    AnswerStream,
    by_forced_tool,
    text_of_answer,
)
from appliance.formats.openai_quirks import Quirks
from appliance.formats.sse import SseEvent

ASKED = ChatRequest(
    "front",
    [Message("user", [TextPart("?")])],
    parallel_tool_calls=False,
    response_format=ResponseFormat("json_schema", schema={"properties": {}}),
)


class Scripted:
    """A stream decoder that says what it is given."""

    def __init__(self, *events: ChatEvent) -> None:
        self.complete = False
        self._events = list(events)

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        return self._events


def streamed(*events: ChatEvent) -> list[ChatEvent]:
    return AnswerStream(Scripted(*events)).feed(SseEvent(b""))


def test_the_request_forces_the_tool() -> None:
    request = by_forced_tool(ASKED)
    schema = {"type": "object", "properties": {}}
    assert request.tools == [Tool(JSON_ANSWER_TOOL, JSON_ANSWER_DESCRIPTION, schema)]
    assert request.tool_choice == ToolChoice("tool", JSON_ANSWER_TOOL)
    assert (request.response_format, request.parallel_tool_calls) == (None, None)
    assert ASKED.tools == []


def test_tools_of_the_caller_s_own_leave_no_room() -> None:
    with pytest.raises(GatewayError, match="no room for tools of your own") as caught:
        by_forced_tool(msgspec.structs.replace(ASKED, tools=[Tool("f")]))
    assert caught.value.param == "response_format"


def test_the_call_of_a_reply_becomes_text() -> None:
    call, again = (ToolCallPart(call_id, JSON_ANSWER_TOOL, '{"a": 1}') for call_id in "cd")
    reply = ChatReply("id", "m", 1, [Choice(0, [ReasoningPart("why"), call, again], "tool_calls")])
    (choice,) = text_of_answer(reply).choices
    assert choice.parts == [ReasoningPart("why"), TextPart('{"a": 1}')]
    assert choice.finish_reason == "stop"
    assert reply.choices[0].parts[1] is call


@pytest.mark.parametrize("reason", ["length", "content_filter", "stop", None])
def test_other_reasons_stay(reason: str | None) -> None:
    choice = Choice(0, [ToolCallPart("c", JSON_ANSWER_TOOL)], reason)  # type: ignore[arg-type]
    (read,) = text_of_answer(ChatReply("id", "m", 1, [choice])).choices
    assert (read.parts, read.finish_reason) == ([TextPart("{}")], reason)


def test_other_replies_stay_as_they_are() -> None:
    reply = ChatReply("id", "m", 1, [Choice(0, [ToolCallPart("c", "f")], "tool_calls")])
    assert text_of_answer(reply) is reply
    both = [Choice(0, [ToolCallPart("c", JSON_ANSWER_TOOL)]), Choice(1, [TextPart("x")], "stop")]
    assert text_of_answer(ChatReply("id", "m", 1, both)).choices[1] is both[1]


def test_the_call_of_a_stream_becomes_text() -> None:
    events = streamed(
        ToolCallDelta(0, 0, "c", JSON_ANSWER_TOOL),
        ToolCallDelta(0, 0, arguments='{"a"'),
        ToolCallDelta(0, 1, "d", JSON_ANSWER_TOOL, "{}"),
        ToolCallDelta(0, 0, arguments=": 1}"),
        Finished(0, "tool_calls"),
    )
    assert events == [TextDelta(0, '{"a"'), TextDelta(0, ": 1}"), Finished(0, "stop")]


def test_a_call_without_arguments_is_the_empty_object() -> None:
    events = streamed(ToolCallDelta(0, 0, "c", JSON_ANSWER_TOOL), Finished(0, "tool_calls"))
    assert events == [TextDelta(0, "{}"), Finished(0, "stop")]


def test_other_streams_stay_as_they_are() -> None:
    said: list[ChatEvent] = [ToolCallDelta(0, 0, "c", "f", "{}"), TextDelta(1, "x"), Finished(0, "tool_calls")]
    assert streamed(*said) == said


def test_whether_the_stream_may_end_is_the_decoder_s_word() -> None:
    decoder = Scripted()
    stream = AnswerStream(decoder)
    for is_complete in (False, True):
        decoder.complete = is_complete
        assert stream.complete is is_complete
    stream.complete = False
    assert not decoder.complete


def test_there_and_back_through_a_server_without_schemas() -> None:
    upstream = openai.Upstream(Quirks(json_schema=None, json_by_tool=True))
    name = upstream.encode_request(ASKED, "m")["tool_choice"]["function"]["name"]
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": name, "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    reply = {"id": "i", "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert upstream.decode_reply(reply).choices[0].parts == [TextPart('{"a": 1}')]
    chunk = {"id": "i", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
    events = upstream.stream_decoder().feed(SseEvent(msgspec.json.encode(chunk)))
    assert TextDelta(0, '{"a": 1}') in events
