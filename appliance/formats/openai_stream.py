"""Stream chunks in OpenAI's chat form → canonical events, one decoder for each stream.

Reads what OpenAI-protocol servers send in fact: errors inside a 200 stream, usage in any chunk, calls whose index
starts anywhere or is missing. No finish reason is invented.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from appliance.errors import GatewayError
from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    Started,
    TextDelta,
    TextPart,
    UsageSeen,
)
from appliance.formats.openai_citations import citations_in, listed_citations
from appliance.formats.openai_content import finish_words, known_logprobs, said_parts, stop_text
from appliance.formats.openai_error import error_in
from appliance.formats.openai_reply import reply_extra, seconds
from appliance.formats.openai_stream_calls import CallPiece, FunctionPiece, StreamCalls
from appliance.formats.openai_usage import decode_usage
from appliance.formats.sse import SseEvent


class _Delta(Struct):
    content: str | list[Any] | None = None
    refusal: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    reasoning_details: Any = None
    tool_calls: list[CallPiece] | None = None
    function_call: FunctionPiece | None = None
    annotations: Any = None
    extra_content: Any = None
    audio: Any = None


class _Choice(Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: Any = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None


class _Chunk(Struct):
    id: Any = None
    object: Any = None
    created: Any = None
    model: Any = None
    choices: list[_Choice] | UnsetType | None = UNSET
    usage: Any = None
    x_groq: Any = None
    error: Any = None
    system_fingerprint: Any = None
    service_tier: Any = None
    citations: Any = None
    search_results: Any = None


_CHUNK = msgspec.json.Decoder(_Chunk)


class StreamDecoder:
    """`complete` after [DONE], or when every choice that spoke has its finish reason and at least one spoke."""

    def __init__(self) -> None:
        self.complete = False
        self._started = False
        self._calls = StreamCalls()
        self._spoke: set[int] = set()
        self._finished: set[int] = set()
        self._cited: set[int] = set()
        self._sources: list[Citation] = []
        self._unsigned: dict[int, str] = {}

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        data = event.data.strip()
        if not data:
            return []
        if data == b"[DONE]":
            self.complete = True
            return [Ended()]
        if event.name == "error":
            self.complete = False
            return [_failed(_decode_any(data))]
        try:
            chunk = _CHUNK.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            if event.name not in ("", "message"):
                return []  # a server's own notice beside the chunks
            raise _mismatch(data, str(fault)) from fault
        return self._events(chunk, data, event.name)

    def _events(self, chunk: _Chunk, data: bytes, event_name: str) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        usage = decode_usage(chunk.usage)
        if usage is None and isinstance(chunk.x_groq, dict):
            usage = decode_usage(chunk.x_groq.get("usage"))
        failed = bool(chunk.error) or chunk.object == "error"
        if chunk.choices is UNSET and usage is None and not failed and chunk.object != "chat.completion.chunk":
            # A named event beside the chunks (a ping, a server's own notice) is no fault; data of another shape is.
            if event_name:
                return []
            raise _mismatch(data, "no choices")
        if chunk.choices and not failed:
            self._start(chunk, events)
            if chunk.citations or chunk.search_results:
                self._sources = listed_citations(chunk.search_results, chunk.citations) or self._sources
            for choice in chunk.choices:
                self._speak(choice, events)
            self.complete = bool(self._spoke) and self._spoke <= self._finished
        if usage is not None:
            events.append(UsageSeen(usage))
        if failed:
            self.complete = False
            events.append(_failed(_decode_any(data)))
        return events

    def _start(self, chunk: _Chunk, events: list[ChatEvent]) -> None:
        if self._started:
            return
        self._started = True
        events.append(
            Started(
                id=chunk.id if isinstance(chunk.id, str) else "",
                model=chunk.model if isinstance(chunk.model, str) else "",
                created=seconds(chunk.created),
                extra=reply_extra(chunk.system_fingerprint, chunk.service_tier),
            )
        )

    def _speak(self, choice: _Choice, events: list[ChatEvent]) -> None:
        index = choice.index or 0
        delta = choice.delta or choice.message
        before = len(events)
        if delta is not None:
            _say(index, delta, known_logprobs(choice.logprobs), events)
            for event in events[before:]:
                if type(event) is ReasoningDelta:
                    self._count_once(index, event)
            if delta.annotations and (citations := citations_in(delta.annotations)):
                self._cited.add(index)
                events.append(TextDelta(index, "", citations=citations))
            pieces = delta.tool_calls or []
            if delta.function_call is not None:
                pieces = [*pieces, CallPiece(index=-1, function=delta.function_call)]
            for piece in pieces:
                if (call := self._calls.delta(index, piece)) is not None:
                    events.append(call)
        if len(events) > before:
            self._spoke.add(index)
        if choice.finish_reason is not None and index not in self._finished:
            self._finish(index, choice, events)

    def _count_once(self, index: int, event: ReasoningDelta) -> None:
        """Another gateway's signed entry, as ours, repeats the text that it covers and that has come before."""
        if event.signature or event.redacted:
            if event.text == self._unsigned.pop(index, ""):
                event.text = ""
        else:
            self._unsigned[index] = self._unsigned.get(index, "") + event.text

    def _finish(self, index: int, choice: _Choice, events: list[ChatEvent]) -> None:
        reason, native = finish_words(choice.finish_reason)
        if reason is None:
            return
        self._spoke.add(index)
        self._finished.add(index)
        if self._sources and index not in self._cited:
            events.append(TextDelta(index, "", citations=self._sources))
        events += self._calls.without_arguments(index)
        stop = stop_text(choice.stop_reason, choice.matched_stop) if reason == "stop" else None
        events.append(Finished(index, reason, native, stop))


def _say(index: int, delta: _Delta, logprobs: Any, events: list[ChatEvent]) -> None:
    content, refusal = delta.content, delta.refusal
    reasoning = [delta.reasoning_content, delta.reasoning]
    beside = refusal or any(reasoning) or delta.reasoning_details or delta.extra_content
    if type(content) is str and content and not beside:
        events.append(TextDelta(index, content, logprobs))
        return
    for part in said_parts(content, refusal, reasoning, delta.reasoning_details, delta.extra_content):
        if isinstance(part, ReasoningPart):
            events.append(ReasoningDelta(index, part.text, part.signature, part.redacted, part.origin, part.id))
            continue
        kind = TextDelta if isinstance(part, TextPart) else RefusalDelta
        events.append(kind(index, part.text, logprobs))
        logprobs = None
    if logprobs is not None or (delta.audio and not content):
        # Spoken answers have no canonical form. They pass between OpenAI's own sides, where an answer has begun by now.
        events.append(TextDelta(index, "", logprobs))


def _decode_any(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return data.decode("utf-8", "replace")


def _failed(body: Any) -> Failed:
    error = error_in(body)
    inner = body.get("error") if isinstance(body, dict) else None
    told = inner if isinstance(inner, dict) else body if isinstance(body, dict) else {}
    numbers = (told.get(name) for name in ("code", "status_code", "status"))
    return Failed(
        message=error.message or "the upstream broke off without saying why",
        type=error.type,
        status=next((status for number in numbers if (status := _http_status(number)) is not None), None),
        code=error.code,
        retry_after=error.retry_after,
    )


def _http_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value <= 599 else None


def _mismatch(data: bytes, why: str) -> GatewayError:
    start = data[:80].decode("utf-8", "replace")
    return GatewayError(
        "UPSTREAM_SHAPE_MISMATCH", f"the upstream's stream has an event that is no chunk ({why}): {start}"
    )
