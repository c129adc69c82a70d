"""What the two text-completion surfaces share: a prompt is one user message, and an answer is the text of its choices.

A text completion has no place for reasoning, calls or citations: reasoning is left out, and the rest cannot come, since
nobody could ask for it. A refusal is what the model said, so it is text.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from appliance.errors import GatewayError, invalid
from appliance.formats.base import RequestHead
from appliance.formats.chat import (
    ChatEvent,
    ChatRequest,
    Choice,
    Finished,
    FinishReason,
    Message,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
)
from appliance.formats.members import Members, kind, text

MAX_STOPS = 16


def head_of(request: ChatRequest) -> RequestHead:
    return RequestHead(
        model=request.model,
        stream=request.stream,
        include_usage=request.include_usage,
        output_cap=request.max_output_tokens,
        n=request.n,
        metadata=request.metadata,
        request=request,
    )


def body_object(body: bytes) -> dict[str, Any]:
    """`body` has passed as JSON, but numbers may still be too large to be read."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body holds a value that cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise invalid("body", f"must be an object, not {kind(value)}")
    return value


def read_request(members: Members) -> ChatRequest:
    """The members that both surfaces have."""
    return ChatRequest(
        model=members.needed_text("model"),
        messages=[Message("user", [TextPart(_prompt(members.needed("prompt")))])],
        stream=bool(members.flag("stream")),
        max_output_tokens=members.integer("max_tokens", 1),
        temperature=members.number("temperature", 0, 2),
        top_p=members.number("top_p", 0, 1),
        stop=_stop(members.value("stop")),
        seed=members.integer("seed"),
    )


def _prompt(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        return prompt[0]
    if isinstance(prompt, list):
        many = len(prompt) > 1 and all(isinstance(item, str) for item in prompt)
        raise invalid("prompt", "must be one text; " + ("send a request for each" if many else "send no tokens"))
    return text(prompt, "prompt")


def _stop(stop: Any) -> list[str]:
    if stop is None or isinstance(stop, str):
        return [] if stop is None else [stop]
    if not isinstance(stop, list):
        raise invalid("stop", f"must be a string or a list of strings, not {kind(stop)}")
    if len(stop) > MAX_STOPS:
        raise invalid("stop", f"must hold at most {MAX_STOPS} strings, not {len(stop)}")
    return [text(word, f"stop.{i}") for i, word in enumerate(stop)]


def text_of(choice: Choice) -> str:
    return "".join(part.text for part in choice.parts if isinstance(part, TextPart | RefusalPart))


class Piece(NamedTuple):
    """What one chunk of a stream tells of one choice."""

    choice: int
    text: str
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None


def piece(event: ChatEvent) -> Piece | None:
    """None for an event that a text completion does not show."""
    if isinstance(event, TextDelta | RefusalDelta):
        return Piece(event.choice, event.text) if event.text else None
    if isinstance(event, Finished):
        return Piece(event.choice, "", event.finish_reason, event.native_finish_reason)
    return None
