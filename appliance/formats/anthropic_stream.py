"""Anthropic's stream events → canonical events, in the event grammar start / delta / stop by block index.

Unknown events, blocks and deltas are skipped, so that new ones break nothing; what contradicts the grammar is
UPSTREAM_SHAPE_MISMATCH. Blocks of tools that ran at Anthropic's side are skipped: canonical events have no place for
them. Citations are told at the end of their block, since only then is it known what rests on them; the explanation of
`stop_details` is a refusal. Nothing is read after the end mark or an error.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct, field

from appliance.formats.anthropic_citations import OWN
from appliance.formats.anthropic_reply import (
    citation_list,
    decode_stop_reason,
    json_text,
    shape_mismatch,
    stop_explanation,
    text_if_said,
    text_member,
    tool_input,
)
from appliance.formats.anthropic_usage import decode_usage
from appliance.formats.chat import (
    ChatEvent,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    UsageSeen,
)
from appliance.formats.json_answer import JSON_ANSWER_TOOL
from appliance.formats.sse import SseEvent

ERROR_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The HTTP status that an error inside a stream would have had."""

_DELTA_BLOCKS = {
    "text_delta": "text",
    "citations_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "thinking",
    "input_json_delta": "tool_use",
}
"""Which kind of block each known kind of delta belongs to."""

_AFTER_START = ("content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop")
_OWN_BLOCKS = ("text", "thinking", "redacted_thinking", "tool_use")


class _Block(Struct):
    """An open block. `call` is None for the JSON answer; `owed` is the input to tell when no piece of it comes. `start`
    is the length of the text before it, `citations` what its text rests on."""

    kind: str
    call: int | None = None
    owed: str = ""
    start: int = 0
    citations: list[Any] = field(default_factory=list)


class AnthropicStreamDecoder:
    __slots__ = ("_blocks", "_calls", "_is_json_answer", "_is_over", "_is_started", "_said", "_usage", "complete")

    def __init__(self) -> None:
        self.complete = False
        self._is_started = False
        self._is_over = False
        self._is_json_answer = False
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._said = 0
        self._usage: dict[str, Any] = {}

    def feed(self, event: SseEvent) -> list[ChatEvent]:
        if self._is_over:
            return []
        data = _decoded(event)
        kind = data.get("type") or event.name
        if kind in _AFTER_START and not self._is_started:
            raise shape_mismatch(f"the upstream's stream has {kind} before message_start")
        match kind:
            case "content_block_delta":
                return self._block_delta(data)
            case "content_block_start":
                return self._block_start(data)
            case "content_block_stop":
                return self._block_stop(data)
            case "message_start":
                return self._message_start(data)
            case "message_delta":
                return self._message_delta(data)
            case "message_stop":
                return self._message_stop()
            case "error":
                return [self._failed(data)]
        return []

    def _message_start(self, data: dict[str, Any]) -> list[ChatEvent]:
        if self._is_started:
            raise shape_mismatch("the upstream's stream has a second message_start")
        self._is_started = True
        message = _object(data, "message", "message_start")
        started = Started(text_if_said(message, "id"), text_if_said(message, "model"), created=0)
        return [started, *self._usage_seen(message.get("usage"))]

    def _usage_seen(self, usage: Any) -> list[ChatEvent]:
        """The counts of message_delta are totals, and it may name only some: the rest holds from message_start."""
        if not isinstance(usage, dict):
            return []
        self._usage.update({name: value for name, value in usage.items() if value is not None})
        decoded = decode_usage(self._usage)
        return [UsageSeen(decoded)] if decoded is not None else []

    def _block_start(self, data: dict[str, Any]) -> list[ChatEvent]:
        index = _index(data)
        if index in self._blocks:
            raise shape_mismatch(f"the upstream's stream starts block {index} again before its stop")
        where = f"block {index}"
        content = _object(data, "content_block", "content_block_start")
        block = self._blocks[index] = _Block(text_member(content, "type", where), start=self._said)
        match block.kind:
            case "text":
                listed = content.get("citations")
                block.citations.extend(listed if isinstance(listed, list) else [])
                return self._text(text_if_said(content, "text"))
            case "thinking":
                return _reasoning(text_if_said(content, "thinking"), text_if_said(content, "signature"))
            case "redacted_thinking":
                return [ReasoningDelta(0, redacted=text_member(content, "data", where), origin=OWN)]
            case "tool_use":
                return self._tool_start(block, content, where)
        return []

    def _tool_start(self, block: _Block, content: dict[str, Any], where: str) -> list[ChatEvent]:
        block.owed = json_text(tool_input(content, where))
        name = text_member(content, "name", where)
        if name == JSON_ANSWER_TOOL:
            self._is_json_answer = True
            return []
        block.call = self._calls
        self._calls += 1
        return [ToolCallDelta(0, block.call, id=text_member(content, "id", where), name=name)]

    def _block_delta(self, data: dict[str, Any]) -> list[ChatEvent]:
        index = _index(data)
        block = self._open(index)
        delta = _object(data, "delta", "content_block_delta")
        kind = delta.get("type")
        owner = _DELTA_BLOCKS.get(kind) if isinstance(kind, str) else None
        if owner is None or block.kind not in _OWN_BLOCKS:
            return []
        if owner != block.kind:
            raise shape_mismatch(f"the upstream's stream has a {kind} in block {index}, which is of kind {block.kind}")
        match kind:
            case "text_delta":
                return self._text(text_member(delta, "text", kind))
            case "citations_delta":
                block.citations.append(delta.get("citation"))
                return []
            case "thinking_delta":
                return _reasoning(text_member(delta, "thinking", kind), "")
            case "signature_delta":
                return _reasoning("", text_member(delta, "signature", kind))
        return _input(block, text_member(delta, "partial_json", "input_json_delta"))

    def _block_stop(self, data: dict[str, Any]) -> list[ChatEvent]:
        index = _index(data)
        block = self._open(index)
        del self._blocks[index]
        return self._closed(block)

    def _closed(self, block: _Block) -> list[ChatEvent]:
        """What a block still has to tell when nothing more comes."""
        listed, block.citations = block.citations, []
        citations = citation_list(listed, block.start, self._said)
        cited: list[ChatEvent] = [TextDelta(0, "", citations=citations)] if citations else []
        return [*cited, *_input(block, block.owed)]

    def _text(self, text: str) -> list[ChatEvent]:
        self._said += len(text)
        return [TextDelta(0, text)] if text else []

    def _open(self, index: int) -> _Block:
        block = self._blocks.get(index)
        if block is None:
            raise shape_mismatch(f"the upstream's stream speaks of block {index}, which is not open")
        return block

    def _message_delta(self, data: dict[str, Any]) -> list[ChatEvent]:
        events: list[ChatEvent] = []
        delta = _object(data, "delta", "message_delta")
        stop_reason = delta.get("stop_reason")
        if isinstance(stop_reason, str):
            for block in self._blocks.values():
                events.extend(self._closed(block))
            if explanation := stop_explanation(delta.get("stop_details")):
                events.append(RefusalDelta(0, explanation))
            finish_reason, native = decode_stop_reason(stop_reason, self._is_json_answer)
            events.append(Finished(0, finish_reason, native, text_if_said(delta, "stop_sequence") or None))
        return [*events, *self._usage_seen(data.get("usage"))]

    def _message_stop(self) -> list[ChatEvent]:
        self.complete = True
        self._is_over = True
        return [Ended()]

    def _failed(self, data: dict[str, Any]) -> Failed:
        self._is_over = True
        error = data.get("error")
        fields = error if isinstance(error, dict) else {}
        kind = text_if_said(fields, "type") or None
        message = text_if_said(fields, "message") or "the upstream reported an error without a message"
        return Failed(message, kind, ERROR_STATUSES.get(kind or ""))


def _decoded(event: SseEvent) -> dict[str, Any]:
    try:
        data = msgspec.json.decode(event.data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise shape_mismatch(f"the upstream's stream has an event that is not JSON: {error}") from None
    if not isinstance(data, dict) or not isinstance(data.get("type") or event.name or None, str):
        raise shape_mismatch("the upstream's stream has an event without a type")
    return data


def _object(data: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise shape_mismatch(f"the upstream's {where} has no object in {name!r}")
    return value


def _index(data: dict[str, Any]) -> int:
    index = data.get("index")
    if not isinstance(index, int):
        raise shape_mismatch("the upstream's stream has a block event without an index")
    return index


def _reasoning(text: str, signature: str) -> list[ChatEvent]:
    return [ReasoningDelta(0, text, signature=signature or None, origin=OWN)] if text or signature else []


def _input(block: _Block, piece: str) -> list[ChatEvent]:
    """A piece of a call's arguments, or of the JSON answer; the first real piece settles what is owed."""
    if not piece:
        return []
    block.owed = ""
    if block.call is None:
        return [TextDelta(0, piece)]
    return [ToolCallDelta(0, block.call, arguments=piece)]
