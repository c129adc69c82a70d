"""The canonical form of a recorded answer, whole or put together from its stream; and what a turn of history holds."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec

from appliance.formats import anthropic, google, responses
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Finished,
    Message,
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
    UsageSeen,
)
from appliance.providers import PROVIDERS
from support.replay import Case
from support.streams import sliced, split_events

Held = dict[str, list[Any]]


def canonical(case: Case) -> ChatReply:
    """By the format of the case's provider."""
    formats: dict[str, Any] = {"anthropic": anthropic, "google": google, "responses": responses}
    form = formats.get(case.provider) or PROVIDERS[case.provider].format
    if not case.stream:
        reply: ChatReply = form.decode_reply(msgspec.json.decode(case.body))
        return reply
    decoder = form.stream_decoder()
    whole = ChatReply("", "", 0, [])
    for event in split_events(sliced(case.body, random.Random(case.name))):
        for meaning in decoder.feed(event):
            _grow(whole, meaning)
    return whole


def _grow(whole: ChatReply, event: Any) -> None:
    if isinstance(event, Started):
        whole.id, whole.model, whole.created, whole.extra = event.id, event.model, event.created, event.extra
    elif isinstance(event, UsageSeen):
        whole.usage = event.usage
    elif hasattr(event, "choice"):
        choice = next((each for each in whole.choices if each.index == event.choice), None)
        if choice is None:
            whole.choices.append(choice := Choice(event.choice, []))
        if isinstance(event, Finished):
            choice.finish_reason, choice.native_finish_reason = event.finish_reason, event.native_finish_reason
            choice.stop_sequence = event.stop_sequence
        else:
            _say(choice.parts, event)


def _say(parts: list[Part], event: Any) -> None:
    last = parts[-1] if parts else None
    match event:
        case TextDelta():
            if not isinstance(last, TextPart):
                parts.append(last := TextPart(""))
            last.text += event.text
            last.citations = [*last.citations, *event.citations]
        case RefusalDelta():
            if not isinstance(last, RefusalPart):
                parts.append(last := RefusalPart(""))
            last.text += event.text
        case ReasoningDelta():
            is_open = isinstance(last, ReasoningPart) and not last.signature and not last.redacted
            if not is_open or event.redacted:
                parts.append(last := ReasoningPart())
            assert isinstance(last, ReasoningPart)
            last.text += event.text
            last.signature, last.redacted = event.signature, event.redacted
            last.origin, last.id = event.origin or last.origin, event.id or last.id
        case ToolCallDelta() if event.name is not None:
            parts.append(ToolCallPart(event.id or "", event.name, event.arguments, event.signature, event.origin))
        case ToolCallDelta():
            calls = [part for part in parts if isinstance(part, ToolCallPart)]
            calls[event.call].arguments += event.arguments


def held(parts: list[Part]) -> Held:
    """What a turn of history must keep, kind by kind, in order: neighbouring pieces of a text are one."""
    reasoning = [part for part in parts if isinstance(part, ReasoningPart)]
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    return {
        "text": ["".join(part.text for part in parts if isinstance(part, TextPart | RefusalPart))],
        "reasoning": ["".join(part.text for part in reasoning)],
        "opaque": [
            (part.origin, part.signature or part.redacted) for part in reasoning if part.signature or part.redacted
        ],
        "calls": [(call.id, call.name, json.loads(call.arguments), call.origin, call.signature) for call in calls],
    }


def order(parts: list[Part]) -> list[str]:
    """The kinds in their order, neighbours of a kind once. Not every dialect knows a refusal from a text."""
    told = [part for part in parts if not isinstance(part, TextPart) or part.text]
    kinds = ["text" if isinstance(part, TextPart | RefusalPart) else type(part).__name__ for part in told]
    return [kind for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]


def assistant_parts(messages: list[Message]) -> list[Part]:
    return [part for message in messages if message.role == "assistant" for part in message.parts]
