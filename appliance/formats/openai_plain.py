"""Does an upstream's answer say in OpenAI's exact form what was understood of it? Then its own bytes may go on.

What was understood is the measure: bytes of another form, or of another meaning for a strict client, are not plain.
Members that we do not know are not looked at. Nothing here changes or writes an answer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct, field

from appliance.formats.chat import (
    ChatEvent,
    Choice,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    UsageSeen,
)

Said = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta | Finished

FinishWord = Literal["stop", "length", "tool_calls", "content_filter"] | None
Index = Annotated[int, Meta(ge=0)]
Name = Annotated[str, Meta(min_length=1)]


class _Function(Struct, gc=False):
    arguments: str | None = None
    name: str | None = None


class _Custom(Struct, gc=False):
    input: str | None = None
    name: str | None = None


class _UrlCitation(Struct, gc=False):
    start_index: Index
    end_index: Index
    title: str
    url: Name


class _Annotation(Struct, gc=False):
    type: str
    url_citation: _UrlCitation | None = None


class _Logprobs(Struct, gc=False):
    content: list[Raw] | None = None
    refusal: list[Raw] | None = None


class _Said(Struct):
    """The members of a message and of a delta that have one right form. Those that must be null say it otherwise."""

    content: str | None = None
    refusal: str | None = None
    annotations: list[_Annotation] | None = None
    reasoning_content: str | None = None
    reasoning: None = None
    reasoning_details: None = None
    function_call: None = None


class _CallPiece(Struct, gc=False):
    index: Index
    id: str | None = None
    type: Literal["function", "custom"] | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class PlainDelta(_Said):
    role: Literal["assistant"] | None = None
    tool_calls: list[_CallPiece] | None = None


class PlainChoice(Struct):
    index: Index
    delta: PlainDelta
    finish_reason: FinishWord
    logprobs: _Logprobs | None = None


class _Call(Struct, gc=False):
    id: Name
    type: Literal["function", "custom"]
    function: _Function | None = None
    custom: _Custom | None = None


class _Message(_Said, kw_only=True):
    role: Literal["assistant"]
    content: str | None
    tool_calls: list[_Call] | None = None


class _AnswerChoice(Struct):
    index: Index
    message: _Message
    finish_reason: FinishWord
    logprobs: _Logprobs | None = None


_CHUNK = msgspec.json.Decoder(list[PlainChoice])
_ANSWER = msgspec.json.Decoder(list[_AnswerChoice])


class Telling(Struct):
    """What one choice says. `opaque` counts what plain form has no place for."""

    text: str = ""
    refusal: str = ""
    reasoning: str = ""
    citations: int = 0
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    finish_reason: str | None = None
    opaque: int = 0


NOTHING = Telling()


def plain_chunk(choices: Raw, meaning: list[ChatEvent]) -> list[PlainChoice] | None:
    """The choices of a stream's chunk when they are plain, else None."""
    try:
        said = _CHUNK.decode(choices)
    except msgspec.DecodeError:
        return None
    if len(said) == len(meaning) == 1 and _is_word(said[0], meaning[0]):
        return said
    return said if _told(said) == _understood(meaning) else None


def _is_word(choice: PlainChoice, event: ChatEvent) -> bool:
    """The plainest of all chunks, and nearly every one: it needs no comparison member by member."""
    delta = choice.delta
    return (
        type(event) is TextDelta
        and delta.content == event.text
        and choice.index == event.choice
        and choice.finish_reason is None
        and not (delta.reasoning_content or delta.refusal or delta.tool_calls or delta.annotations or event.citations)
    )


def plain_answer(choices: Raw, understood: list[Choice]) -> bool:
    """Are the choices of a whole answer plain?"""
    try:
        said = _ANSWER.decode(choices)
    except msgspec.DecodeError:
        return False
    return [(choice.index, _of_answer(choice)) for choice in said] == [
        (choice.index, _of_parts(choice)) for choice in understood
    ]


# -- as it is written -------------------------------------------------------------------------------------------------


def _told(choices: list[PlainChoice]) -> dict[int, Telling]:
    told = {choice.index: _of_chunk(choice) for choice in choices}
    return {index: telling for index, telling in told.items() if telling != NOTHING}


def _of_chunk(choice: PlainChoice) -> Telling:
    return _telling(choice.delta, [_piece(piece) for piece in choice.delta.tool_calls or ()], choice.finish_reason)


def _of_answer(choice: _AnswerChoice) -> Telling:
    calls = [(call.id, *_named(call)) for call in choice.message.tool_calls or ()]
    return _telling(choice.message, calls, choice.finish_reason)


def _telling(said: _Said, calls: list[tuple[Any, ...]], finish_reason: FinishWord) -> Telling:
    cited = sum(entry.url_citation is not None for entry in said.annotations or ())
    return Telling(said.content or "", said.refusal or "", said.reasoning_content or "", cited, calls, finish_reason)


def _piece(piece: _CallPiece) -> tuple[Any, ...]:
    """A call's first piece has its id, name and type, every other one has none of the first two."""
    opens = piece.id is not None and piece.type is not None
    return piece.index, piece.id, *_named(piece), opens


def _named(call: _CallPiece | _Call) -> tuple[str | None, str]:
    if call.function:
        return call.function.name, call.function.arguments or ""
    return (call.custom.name, call.custom.input or "") if call.custom else (None, "")


# -- as it was understood ---------------------------------------------------------------------------------------------


def _understood(meaning: list[ChatEvent]) -> dict[int, Telling]:
    understood: dict[int, Telling] = {}
    for event in meaning:
        if not isinstance(event, Started | UsageSeen | Failed | Ended):
            _add(understood.setdefault(event.choice, Telling()), event)
    return {index: telling for index, telling in understood.items() if telling != NOTHING}


def _add(telling: Telling, event: Said) -> None:
    match event:
        case TextDelta():
            telling.text += event.text
            telling.citations += len(event.citations)
        case RefusalDelta():
            telling.refusal += event.text
        case ReasoningDelta():
            telling.reasoning += event.text
            telling.opaque += bool(event.signature or event.redacted)
        case ToolCallDelta():
            telling.calls.append((event.call, event.id, event.name, event.arguments, event.id is not None))
        case Finished():
            telling.finish_reason = event.native_finish_reason or event.finish_reason


def _of_parts(choice: Choice) -> Telling:
    telling = Telling(finish_reason=choice.native_finish_reason or choice.finish_reason)
    for part in choice.parts:
        match part:
            case TextPart():
                telling.text += part.text
                telling.citations += len(part.citations)
            case RefusalPart():
                telling.refusal += part.text
            case ReasoningPart():
                telling.reasoning += part.text
                telling.opaque += bool(part.signature or part.redacted)
            case ToolCallPart():
                telling.calls.append((part.id, part.name, part.arguments))
    return telling
