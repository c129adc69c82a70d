"""Events of an upstream's stream in the Responses dialect → canonical events, one decoder for each stream.

The end marks are response.completed and response.incomplete; `error` and response.failed end it as Failed, and nothing
is read after either. Unknown events are skipped. What an event's delta left out, its `done` event or the final
response makes up for: some servers send no deltas at all.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatEvent,
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
from appliance.formats.openai_call import arguments_text, new_call_id
from appliance.formats.openai_error import error_in
from appliance.formats.openai_reply import reply_extra, seconds
from appliance.formats.reply_object import object_in
from appliance.formats.responses_opaque import ORIGIN
from appliance.formats.responses_reply import (
    OWN_ITEMS,
    PARAGRAPH,
    finish_words,
    item_logprobs,
    item_parts,
    text_in,
)
from appliance.formats.responses_text import canonical_logprobs, citations_of
from appliance.formats.responses_usage import decode_usage
from appliance.formats.sse import SseEvent

ERROR_STATUSES = {
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "invalid_prompt": 400,
    "context_length_exceeded": 400,
    "content_policy_violation": 400,
    "bio_policy": 400,
    "vector_store_timeout": 504,
}
"""The HTTP status that an error inside a stream would have had, by its code."""

_STARTS = ("response.created", "response.in_progress", "response.queued")
_ENDS = ("response.completed", "response.incomplete")
_THOUGHTS = {"response.reasoning_text.delta": "content_index", "response.reasoning_summary_text.delta": "summary_index"}


class _Item(Struct):
    """An item as far as it was said: how much of it, and of each of its parts; a call's number among the calls."""

    kind: str
    id: str | None = None
    call: int | None = None
    chars: int = 0
    is_over: bool = False
    thought: str = ""
    """The event that its reasoning comes in: the reasoning itself, or its summary; the other one says it again."""
    thought_part: int = 0
    is_cited: bool = False
    bases: dict[int, int] = field(default_factory=dict)
    """Where each of its texts begins in the answer's whole text."""


class ResponsesStreamDecoder:
    def __init__(self) -> None:
        self.complete = False
        self._is_started = False
        self._is_over = False
        self._items: dict[int, _Item] = {}
        self._calls = 0
        self._chars = 0

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        if self._is_over or event.data.strip() == b"[DONE]":
            return []
        data = _decoded(event)
        kind = text_in(data, "type") or event.name
        if kind in ("error", "response.failed") or data.get("error"):
            return [self._failed(data)]
        if kind in _STARTS:
            return self._start(data)
        if kind in _ENDS:
            return self._end(kind, data)
        place = data.get("output_index")
        return self._said(kind, data, place) if type(place) is int else []

    def _start(self, data: dict[str, Any]) -> list[ChatEvent]:
        if self._is_started:
            return []
        self._is_started = True
        response = object_in(data.get("response"))
        extra = reply_extra(None, response.get("service_tier"))
        named = (text_in(response, "id"), text_in(response, "model"), seconds(response.get("created_at")))
        return [Started(*named, extra)]

    def _said(self, kind: str, data: dict[str, Any], place: int) -> list[ChatEvent]:
        match kind:
            case "response.output_item.added":
                return self._added(place, object_in(data.get("item")))
            case "response.output_item.done":
                return self._done(place, object_in(data.get("item")))
            case "response.output_text.delta":
                return self._text(place, data)
            case "response.output_text.annotation.added":
                return self._cited(place, data)
            case "response.refusal.delta":
                return self._refusal(place, text_in(data, "delta"))
            case "response.function_call_arguments.delta":
                return self._arguments(place, text_in(data, "delta"))
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                return self._thought(kind, place, data)
        return []

    # -- items ---------------------------------------------------------------------------------------------------------

    def _item(self, place: int, kind: str) -> _Item:
        return self._items.setdefault(place, _Item(kind))

    def _added(self, place: int, said: dict[str, Any]) -> list[ChatEvent]:
        kind = text_in(said, "type")
        item = self._item(place, kind)
        item.id = text_in(said, "id") or None
        if kind == "function_call":
            return self._begin_call(item, said)
        # A tool at the provider's side that starts to work is the beginning of an answer, though there is no word yet.
        return [] if kind in OWN_ITEMS else [TextDelta(0, "")]

    def _begin_call(self, item: _Item, said: dict[str, Any]) -> list[ChatEvent]:
        name = text_in(said, "name")
        if item.call is not None or not name:
            return []
        item.call = self._calls
        self._calls += 1
        arguments = arguments_text(said.get("arguments"))
        item.chars = len(arguments)
        return [ToolCallDelta(0, item.call, text_in(said, "call_id") or new_call_id(), name, arguments)]

    def _done(self, place: int, said: dict[str, Any]) -> list[ChatEvent]:
        """What the deltas did not tell; a reasoning item's opaque data comes here only."""
        kind = text_in(said, "type")
        item = self._item(place, kind)
        if item.is_over or item.kind != kind or kind not in OWN_ITEMS:
            return []
        item.is_over = True
        if kind == "message":
            return self._rest_of_message(item, said)
        events = self._begin_call(item, said) if kind == "function_call" else []
        for part in item_parts(said, 0):
            if isinstance(part, ReasoningPart):
                rest = "" if item.chars else part.text
                if rest or part.signature:
                    events.append(ReasoningDelta(0, rest, part.signature, origin=ORIGIN, id=part.id))
            elif isinstance(part, ToolCallPart):
                events += self._arguments(place, part.arguments[item.chars :])
        return events

    def _rest_of_message(self, item: _Item, said: dict[str, Any]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        for part in item_parts(said, item.bases.get(0, self._chars)):
            if isinstance(part, RefusalPart) and not item.chars:
                events.append(RefusalDelta(0, part.text))
            elif isinstance(part, TextPart):
                text = "" if item.chars else part.text
                citations = [] if item.is_cited else part.citations
                self._chars += len(text)
                if text or citations:
                    events.append(TextDelta(0, text, citations=citations))
        if not item.chars and (logprobs := canonical_logprobs(item_logprobs(said))):
            events.append(TextDelta(0, "", logprobs))
        return events

    # -- deltas --------------------------------------------------------------------------------------------------------

    def _text(self, place: int, data: dict[str, Any]) -> list[ChatEvent]:
        self._base(place, data)
        delta, logprobs = text_in(data, "delta"), canonical_logprobs(data.get("logprobs"))
        self._item(place, "message").chars += len(delta)
        self._chars += len(delta)
        return [TextDelta(0, delta, logprobs)] if delta or logprobs else []

    def _cited(self, place: int, data: dict[str, Any]) -> list[ChatEvent]:
        citations = citations_of([data.get("annotation")], self._base(place, data))
        self._item(place, "message").is_cited = True
        return [TextDelta(0, "", citations=citations)] if citations else []

    def _base(self, place: int, data: dict[str, Any]) -> int:
        content_index = data.get("content_index")
        bases = self._item(place, "message").bases
        return bases.setdefault(content_index if type(content_index) is int else 0, self._chars)

    def _refusal(self, place: int, delta: str) -> list[ChatEvent]:
        self._item(place, "message").chars += len(delta)
        return [RefusalDelta(0, delta)] if delta else []

    def _arguments(self, place: int, delta: str) -> list[ChatEvent]:
        item = self._item(place, "function_call")
        if item.call is None or not delta:
            return []
        item.chars += len(delta)
        return [ToolCallDelta(0, item.call, arguments=delta)]

    def _thought(self, kind: str, place: int, data: dict[str, Any]) -> list[ChatEvent]:
        item, delta = self._item(place, "reasoning"), text_in(data, "delta")
        item.thought = item.thought or kind
        if kind != item.thought or not delta:
            return []
        part = data.get(_THOUGHTS[kind])
        if type(part) is int and part > item.thought_part:
            item.thought_part = part
            delta = PARAGRAPH + delta if item.chars else delta
        item_id = item.id or text_in(data, "item_id") or None if not item.chars else None
        item.chars += len(delta)
        return [ReasoningDelta(0, delta, origin=ORIGIN, id=item_id)]

    # -- the end -------------------------------------------------------------------------------------------------------

    def _end(self, kind: str, data: dict[str, Any]) -> list[ChatEvent]:
        response = object_in(data.get("response"))
        events = self._start(data)
        output = response.get("output")
        for place, said in enumerate(output if isinstance(output, list) else []):
            events += self._done(place, object_in(said))
        status = kind.removeprefix("response.")
        events.append(Finished(0, *finish_words({"status": status} | response, has_calls=self._calls > 0)))
        if (usage := decode_usage(response.get("usage"))) is not None:
            events.append(UsageSeen(usage))
        self.complete = self._is_over = True
        return [*events, Ended()]

    def _failed(self, data: dict[str, Any]) -> Failed:
        self._is_over = True
        response = object_in(data.get("response"))
        told = data.get("error") or response.get("error") or {name: data.get(name) for name in ("code", "message")}
        error = error_in({"error": told})
        return Failed(
            error.message or "the upstream broke off without saying why",
            error.type,
            ERROR_STATUSES.get(error.code or "") or ERROR_STATUSES.get(error.type or ""),
            error.code,
            error.retry_after,
        )


def stream_decoder() -> ResponsesStreamDecoder:
    return ResponsesStreamDecoder()


def _decoded(event: SseEvent) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(event.data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _mismatch(f"an event that is not JSON: {error}") from None
    if not isinstance(data, dict) or not (text_in(data, "type") or event.name or data.get("error")):
        raise _mismatch("an event without a type")
    return data


def _mismatch(what: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", f"the upstream's stream has {what}")
