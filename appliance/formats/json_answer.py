"""Structured output by a forced tool call, where an upstream has no schema for its answer: there and back.

On the way there the request gets one tool, whose arguments are the answer; on the way back the call becomes text again.
All of it is canonical: the tool's reserved name is the only thing that travels.
"""

from __future__ import annotations

from msgspec.structs import replace

from appliance.errors import invalid
from appliance.formats.base import StreamDecoder
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    ChatRequest,
    Choice,
    Finished,
    FinishReason,
    Part,
    TextDelta,
    TextPart,
    Tool,
    ToolCallDelta,
    ToolCallPart,
    ToolChoice,
)
from appliance.formats.sse import SseEvent

JSON_ANSWER_TOOL = "scaigrid_json_answer"
JSON_ANSWER_DESCRIPTION = "Gives the answer. Its arguments are the complete answer, and nothing else is said."


def by_forced_tool(request: ChatRequest) -> ChatRequest:
    """The same request with the tool in place of the response format."""
    wanted = request.response_format
    assert wanted is not None
    if request.tools:
        raise invalid(
            "response_format",
            f"{wanted.kind} is reached through a forced tool call on this target, which leaves no room for tools of "
            "your own; remove one of the two",
        )
    schema = {"type": "object", **(wanted.schema or {})}
    tool = Tool(JSON_ANSWER_TOOL, wanted.description or JSON_ANSWER_DESCRIPTION, schema)
    choice = ToolChoice("tool", JSON_ANSWER_TOOL)
    return replace(request, tools=[tool], tool_choice=choice, parallel_tool_calls=None, response_format=None)


def text_of_answer(reply: ChatReply) -> ChatReply:
    """The reply with the call as text; replies without it stay as they are."""
    if not any(_is_answer(part) for choice in reply.choices for part in choice.parts):
        return reply
    return replace(reply, choices=[_choice(choice) for choice in reply.choices])


def _choice(choice: Choice) -> Choice:
    answer = next((part for part in choice.parts if isinstance(part, ToolCallPart) and _is_answer(part)), None)
    if answer is None:
        return choice
    parts = [_as_text(part, answer) for part in choice.parts if part is answer or not isinstance(part, ToolCallPart)]
    reason = _finish_reason(choice.finish_reason) if choice.finish_reason else None
    return replace(choice, parts=parts, finish_reason=reason)


def _as_text(part: Part, answer: ToolCallPart) -> Part:
    return TextPart(answer.arguments or "{}") if part is answer else part


def _is_answer(part: Part) -> bool:
    return isinstance(part, ToolCallPart) and part.name == JSON_ANSWER_TOOL


def _finish_reason(reason: FinishReason) -> FinishReason:
    return "stop" if reason == "tool_calls" else reason


class AnswerStream:
    """A stream decoder whose calls of the reserved tool come out as text."""

    __slots__ = ("_answers", "_decoder", "_empty")

    def __init__(self, decoder: StreamDecoder) -> None:
        self._decoder = decoder
        self._answers: dict[int, int] = {}
        """Choice → the number of the call that is its answer: the first of that name."""
        self._empty: set[int] = set()

    @property
    def complete(self) -> bool:
        return self._decoder.complete

    @complete.setter
    def complete(self, value: bool) -> None:
        self._decoder.complete = value

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        return [out for each in self._decoder.feed(event) for out in self._translated(each)]

    def _translated(self, event: ChatEvent) -> list[ChatEvent]:
        if isinstance(event, ToolCallDelta):
            return self._call(event)
        if isinstance(event, Finished) and event.choice in self._answers:
            # A call without arguments is the empty object.
            empty: list[ChatEvent] = [TextDelta(event.choice, "{}")] if event.choice in self._empty else []
            return [*empty, replace(event, finish_reason=_finish_reason(event.finish_reason))]
        return [event]

    def _call(self, event: ToolCallDelta) -> list[ChatEvent]:
        if event.name == JSON_ANSWER_TOOL and event.choice not in self._answers:
            self._answers[event.choice] = event.call
            self._empty.add(event.choice)
        if event.choice not in self._answers:
            return [event]
        if self._answers[event.choice] != event.call or not event.arguments:
            return []
        self._empty.discard(event.choice)
        return [TextDelta(event.choice, event.arguments)]
