"""The grammar of Anthropic's message streams: blocks open and close one at a time, and each delta fits its block."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from support.grammar import (
    Answer,
    Call,
    Event,
    Problem,
    check_arguments,
    checked_usage,
    count,
    filled,
    member,
    part,
    read_events,
)

DELTAS: dict[str, tuple[str, ...]] = {
    "text": ("text_delta", "citations_delta"),
    "thinking": ("thinking_delta", "signature_delta"),
    "redacted_thinking": (),
    "tool_use": ("input_json_delta",),
    "server_tool_use": ("input_json_delta",),
    "mcp_tool_use": ("input_json_delta",),
    "compaction": ("compaction_delta",),
}
"""Kind of block → the deltas it may have. Results of server tools come whole, so other kinds have none."""

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reason → the one of the four."""

ERRORS = (
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
)


def check(body: bytes, *, unfinished: bool = False) -> Answer:
    """`unfinished`: the upstream ended in order without saying why, so stop_reason may be null; none is invented."""
    stream = _Stream(unfinished)
    for event in read_events(body):
        stream.feed(event)
    return stream.closed()


class _Stream:
    """Where in the ladder the stream is: begun, which block is open, whether the delta and the stop came."""

    def __init__(self, unfinished: bool) -> None:
        self.answer = Answer()
        self._unfinished = unfinished
        self._begun = False
        self._blocks = 0
        self._open: dict[str, Any] | None = None
        self._pieces: list[str] = []
        self._signed = False
        self._delta_came = False
        self._ended = False
        self._usage: dict[str, Any] = {}

    def feed(self, event: Event) -> None:
        where = f"event {event.place}"
        assert not event.is_done, f"{where}: [DONE] is no word of this dialect"
        data = event.object()
        kind = filled(data, "type", where)
        assert event.name == kind, f"{where}: the name {event.name!r} is not the type {kind!r}"
        assert not self._ended, f"{where}: {kind} after the end of the stream"
        assert kind in _KINDS, f"{where}: {kind!r} is no event of this dialect"
        if kind not in ("message_start", "error", "ping"):
            assert self._begun, f"{where}: {kind} before message_start"
            assert not self._delta_came or kind == "message_stop", f"{where}: {kind} after message_delta"
        getattr(self, f"_{kind}")(data, f"{where} ({kind})")

    def closed(self) -> Answer:
        assert self._ended, "the stream ends without message_stop"
        return self.answer

    def _ping(self, data: dict[str, Any], where: str) -> None:
        assert self._begun, f"{where}: before message_start"

    def _error(self, data: dict[str, Any], where: str) -> None:
        error = member(data, "error", dict, where)
        kind = filled(error, "type", where)
        assert kind in ERRORS, f"{where}: {kind!r} is no error type of Anthropic's"
        self.answer.error = Problem(filled(error, "message", where), kind)
        self._ended = True

    def _message_start(self, data: dict[str, Any], where: str) -> None:
        assert not self._begun, f"{where}: a second time"
        self._begun = True
        message = member(data, "message", dict, where)
        told = {name: message.get(name) for name in ("type", "role", "content", "stop_reason", "stop_sequence")}
        empty: dict[str, Any] = {
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        assert told == empty, f"{where}: the message is not an empty one: {told}"
        self.answer.id, self.answer.model = filled(message, "id", where), filled(message, "model", where)
        self._usage = dict(member(message, "usage", dict, where))
        count(self._usage, "input_tokens", where)
        count(self._usage, "output_tokens", where)

    def _content_block_start(self, data: dict[str, Any], where: str) -> None:
        assert self._open is None, f"{where}: block {self._blocks - 1} is still open"
        index = count(data, "index", where)
        assert index == self._blocks, f"{where}: the index is {index}, not {self._blocks}"
        block = member(data, "content_block", dict, where)
        kind = filled(block, "type", where)
        self._blocks += 1
        self._open, self._pieces, self._signed = block, [], False
        said = self.answer.choice()
        if kind == "text":
            assert block.get("text") == "", f"{where}: a text block opens with {block.get('text')!r}"
        elif kind == "thinking":
            assert block.get("thinking") == "", f"{where}: a thinking block opens with {block.get('thinking')!r}"
            assert not block.get("signature"), f"{where}: a thinking block opens with its signature"
        elif kind == "redacted_thinking":
            said.opaque.append(filled(block, "data", where))
        elif kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
            assert block.get("input") == {}, f"{where}: a {kind} block opens with the input {block.get('input')!r}"
            call = Call(filled(block, "id", where), filled(block, "name", where))
            if kind == "tool_use":
                assert call.id not in [each.id for each in said.calls], f"{where}: the id {call.id} again"
                said.calls.append(call)

    def _content_block_delta(self, data: dict[str, Any], where: str) -> None:
        block = self._block(data, where)
        delta = member(data, "delta", dict, where)
        kind, allowed = filled(delta, "type", where), DELTAS.get(block["type"], ())
        assert kind in allowed, f"{where}: a {kind} in a {block['type']} block"
        said = self.answer.choice()
        if kind == "text_delta":
            said.text += member(delta, "text", str, where)
        elif kind == "citations_delta":
            said.citations.append(member(delta, "citation", dict, where))
        elif kind == "thinking_delta":
            assert not self._signed, f"{where}: thinking after its signature"
            said.reasoning += member(delta, "thinking", str, where)
        elif kind == "signature_delta":
            assert not self._signed, f"{where}: a second signature"
            self._signed = True
            said.opaque.append(filled(delta, "signature", where))
        elif kind == "input_json_delta":
            self._pieces.append(member(delta, "partial_json", str, where))

    def _content_block_stop(self, data: dict[str, Any], where: str) -> None:
        block = self._block(data, where)
        self._open = None
        if block["type"] == "tool_use":
            call = self.answer.choice().calls[-1]
            call.arguments = "".join(self._pieces) or "{}"

    def _block(self, data: dict[str, Any], where: str) -> dict[str, Any]:
        assert self._open is not None, f"{where}: no block is open"
        index = count(data, "index", where)
        assert index == self._blocks - 1, f"{where}: the index is {index}, but block {self._blocks - 1} is open"
        return self._open

    def _message_delta(self, data: dict[str, Any], where: str) -> None:
        assert self._open is None, f"{where}: block {self._blocks - 1} is still open"
        self._delta_came = True
        delta = member(data, "delta", dict, where)
        said = self.answer.choice()
        if not (self._unfinished and delta.get("stop_reason", "") is None):
            said.native_finish = filled(delta, "stop_reason", where)
            assert said.native_finish in FINISH, f"{where}: {said.native_finish!r} is no stop reason"
            said.finish_reason = FINISH[said.native_finish]
        said.stop_sequence = member(delta, "stop_sequence", (str, type(None)), where)
        named, met = said.native_finish == "stop_sequence", said.stop_sequence is not None
        assert named == met, f"{where}: stop_reason {said.native_finish} with stop_sequence {said.stop_sequence!r}"
        usage = member(data, "usage", dict, where)
        count(usage, "output_tokens", where)
        self._usage |= {name: value for name, value in usage.items() if value is not None}
        self.answer.raw_usage = self._usage
        self.answer.usage = read_usage(self._usage, where)

    def _message_stop(self, data: dict[str, Any], where: str) -> None:
        assert self._delta_came, f"{where}: before message_delta"
        said = self.answer.choice()
        if said.native_finish == "tool_use":
            assert said.calls, f"{where}: stop_reason is tool_use, but there is no tool_use block"
        if said.finish_reason != "length":
            for call in said.calls:
                check_arguments(call, where)
        self._ended = self.answer.complete = True


_KINDS = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
)


def read_usage(usage: dict[str, Any], where: str) -> Usage:
    """Anthropic's counts are apart; together they are all input."""
    cached = part(usage, "cache_read_input_tokens", where)
    written = part(usage, "cache_creation_input_tokens", where)
    details = usage.get("output_tokens_details") or {}
    return checked_usage(
        Usage(
            input_tokens=count(usage, "input_tokens", where) + cached + written,
            output_tokens=count(usage, "output_tokens", where),
            cached_input_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=part(details, "thinking_tokens", where),
        ),
        where,
    )
