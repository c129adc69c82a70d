"""ChatReply → a whole answer in the Responses dialect."""

from __future__ import annotations

from typing import Any

from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    ChatReply,
    Choice,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
)
from appliance.formats.responses_ladder import OutputLadder
from appliance.formats.responses_object import ending, response_object
from appliance.formats.responses_opaque import seed_of


def encode_reply(reply: ChatReply, head: ReplyHead, echo: dict[str, Any] | None = None) -> dict[str, Any]:
    """`echo` is echo_of(the caller's body), by default the head's; without one an empty request is repeated."""
    body = response_object(
        head,
        items_of(reply, head),
        status="completed",
        usage=reply.usage,
        echo=head.echo if echo is None else echo,
        service_tier=reply.extra.get("service_tier"),
    )
    return body | (ending(reply.choices[0].finish_reason) if reply.choices else {})


def items_of(reply: ChatReply, head: ReplyHead) -> list[dict[str, Any]]:
    """The output items, with the ids that encode_reply gives them under the same head."""
    ladder = OutputLadder(seed_of(head.id))
    if not reply.choices:
        return []
    choice = reply.choices[0]
    for part, event in _events(choice):
        ladder.climb(event)
        if isinstance(part, ReasoningPart):
            ladder.end_item()
    ladder.finish(choice.finish_reason)
    return ladder.output()


def _events(choice: Choice) -> list[tuple[Part, ChatEvent]]:
    """Log probabilities are told for the whole text, and stand with its first part."""
    events: list[tuple[Part, ChatEvent]] = []
    logprobs = choice.logprobs
    calls = 0
    for part in choice.parts:
        match part:
            case TextPart():
                events.append((part, TextDelta(0, part.text, logprobs, part.citations)))
                logprobs = None
            case RefusalPart():
                events.append((part, RefusalDelta(0, part.text)))
            case ReasoningPart():
                opaque = (part.signature, part.redacted, part.origin, part.id)
                events.append((part, ReasoningDelta(0, part.text, *opaque)))
            case ToolCallPart():
                called = (part.id, part.name, part.arguments, part.signature, part.origin)
                events.append((part, ToolCallDelta(0, calls, *called)))
                calls += 1
    return events
