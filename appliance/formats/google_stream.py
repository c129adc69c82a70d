"""Google's streamed GenerateContentResponses → canonical events. There is no end mark: the finish reasons are the end.

Each event has pieces of text, or whole calls, and the usage so far; what is none of Google's words is
UPSTREAM_SHAPE_MISMATCH. Code that Google ran itself is skipped: canonical events have no place for it. Nothing is read
after an error.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
from msgspec import Struct, field

from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Failed,
    Finished,
    ImagePart,
    Part,
    ReasoningDelta,
    ReasoningPart,
    Started,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    UsageSeen,
)
from appliance.formats.google_citations import citations_of
from appliance.formats.google_error import error_in
from appliance.formats.google_reply import (
    block_reason,
    candidates_of,
    content_parts,
    created_of,
    decode_finish_reason,
    decode_logprobs,
    index_of,
    made_call_id,
    said_parts,
    text_if_said,
)
from appliance.formats.google_usage import decode_usage
from appliance.formats.reply_object import mismatch
from appliance.formats.sse import SseEvent

_SOURCE_MEMBERS = ("groundingMetadata", "citationMetadata")
_KNOWN = ("candidates", "promptFeedback", "usageMetadata", "responseId", "modelVersion")


class _Spoken(Struct):
    """A choice so far. `sources` are the candidates whose metadata name sources: read when the text is whole."""

    calls: int = 0
    text: list[str] = field(default_factory=list)
    sources: list[dict[str, Any]] = field(default_factory=list)
    is_finished: bool = False


class GoogleStreamDecoder:
    __slots__ = ("_answer_id", "_choices", "_is_over", "_is_started", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._is_over = False
        self._is_started = False
        self._answer_id = ""
        self._choices: dict[int, _Spoken] = {}

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        if self._is_over:
            return []
        data = _decoded(event)
        error = error_in(data)
        if error is not None:
            self._is_over = True
            status = error.get("code")
            return [
                Failed(error["message"], text_if_said(error, "status") or None, status if type(status) is int else None)
            ]
        if not isinstance(data, dict) or not any(name in data for name in _KNOWN):
            raise mismatch("has a stream event that is no part of an answer; it must be streamed with alt=sse")
        return [*self._start(data), *self._said(data), *_usage(data)]

    def _start(self, data: dict[str, Any]) -> list[ChatEvent]:
        if self._is_started:
            return []
        self._is_started = True
        said = text_if_said(data, "responseId")
        self._answer_id = said or uuid.uuid4().hex
        return [Started(said, text_if_said(data, "modelVersion"), created_of(data))]

    def _said(self, data: dict[str, Any]) -> list[ChatEvent]:
        candidates = candidates_of(data)
        events = [event for i, candidate in enumerate(candidates) for event in self._candidate(candidate, i)]
        blocked = block_reason(data)
        if blocked is not None and not self._choices:
            self._choices[0] = _Spoken(is_finished=True)
            events.append(Finished(0, "content_filter", blocked))
        self.complete = bool(self._choices) and all(spoken.is_finished for spoken in self._choices.values())
        return events

    def _candidate(self, candidate: dict[str, Any], position: int) -> list[ChatEvent]:
        choice = index_of(candidate, position)
        spoken = self._choices.setdefault(choice, _Spoken())
        events = [event for part in content_parts(candidate) for event in self._part(part, choice, spoken)]
        logprobs = decode_logprobs(candidate.get("logprobsResult"))
        if logprobs is not None:
            _attach(events, choice, logprobs)
        if spoken.is_finished:
            if events:
                raise mismatch(f"goes on after the finish reason of choice {choice}")
            return []
        if any(candidate.get(name) for name in _SOURCE_MEMBERS):
            spoken.sources.append(candidate)
        finish_reason, native = decode_finish_reason(candidate.get("finishReason"), has_calls=spoken.calls > 0)
        if finish_reason is None:
            return events
        spoken.is_finished = True
        citations = _citations(spoken)
        if citations:
            events.append(TextDelta(choice, "", citations=citations))
        return [*events, Finished(choice, finish_reason, native)]

    def _part(self, part: dict[str, Any], choice: int, spoken: _Spoken) -> list[ChatEvent]:
        said = said_parts(part, made_call_id(self._answer_id, choice, spoken.calls))
        return [self._delta(entry, choice, spoken) for entry in said or []]

    def _delta(self, part: Part, choice: int, spoken: _Spoken) -> ChatEvent:
        match part:
            case TextPart():
                spoken.text.append(part.text)
                return TextDelta(choice, part.text)
            case ReasoningPart():
                return ReasoningDelta(choice, part.text, part.signature, origin=part.origin)
            case ToolCallPart():
                spoken.calls += 1
                call = spoken.calls - 1
                return ToolCallDelta(choice, call, part.id, part.name, part.arguments, part.signature, part.origin)
            case ImagePart():
                raise mismatch("streams an image, which this gateway passes on in whole answers only")
            case _:
                raise AssertionError(part)


def _decoded(event: SseEvent) -> Any:
    try:
        return msgspec.json.decode(event.data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise mismatch(f"has a stream event that is not JSON: {error}") from None


def _usage(data: dict[str, Any]) -> list[ChatEvent]:
    usage = decode_usage(data.get("usageMetadata"))
    return [] if usage is None else [UsageSeen(usage)]


def _attach(events: list[ChatEvent], choice: int, logprobs: Any) -> None:
    """Log probabilities come for the whole event; they ride on its first text."""
    for event in events:
        if isinstance(event, TextDelta):
            event.logprobs = logprobs
            return
    events.append(TextDelta(choice, "", logprobs=logprobs))


def _citations(spoken: _Spoken) -> list[Citation]:
    """Later events may name the same source again."""
    text = "".join(spoken.text)
    found: list[Citation] = []
    for candidate in spoken.sources:
        found += [citation for citation in citations_of(candidate, text, []) if citation not in found]
    return found
