"""Canonical events → the stream that Anthropic's clients read.

The dialect has one choice: the first. Why the answer ended and what it used go out in one event, and the usage comes
last from upstream, so both wait for `closing`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.anthropic_error import error_event
from appliance.formats.anthropic_reply_writer import message_object, stop_members
from appliance.formats.anthropic_stream_queue import BlockQueue
from appliance.formats.anthropic_usage import encode_usage
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from appliance.formats.sse import named_event

MESSAGE_STOP = named_event("message_stop", b'{"type":"message_stop"}')


class StreamEncoder:
    def __init__(self, head: ReplyHead) -> None:
        self._head = head
        self._is_begun = False
        self._blocks = BlockQueue()
        self._refusal: list[str] = []
        self._finished: Finished | None = None

    def encode(self, events: list[ChatEvent]) -> bytes:
        return b"".join([self._opening(), *(self._event(event) for event in events)]) if events else b""

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The dialect has no place for the cost, nor for the mark of an estimate."""
        end = self._finished
        members = stop_members(
            end.finish_reason if end else None,
            end.native_finish_reason if end else None,
            end.stop_sequence if end else None,
            self._blocks.has_calls,
            "".join(self._refusal),
        )
        last = {"type": "message_delta", "delta": members, "usage": encode_usage(usage)}
        rest = [_line(event) for event in self._blocks.end()]
        return b"".join([self._opening(), *rest, _line(last), MESSAGE_STOP])

    def failure(self, error: GatewayError) -> bytes:
        return error_event(error)

    def _opening(self) -> bytes:
        if self._is_begun:
            return b""
        self._is_begun = True
        message = message_object(self._head, []) | {"stop_reason": None, "stop_sequence": None}
        return _line({"type": "message_start", "message": message | {"usage": encode_usage(None)}})

    def _event(self, event: ChatEvent) -> bytes:
        if isinstance(event, TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta):
            if event.choice != 0:
                return b""
            if isinstance(event, RefusalDelta):
                self._refusal.append(event.text)
            return b"".join([_line(told) for told in self._blocks.add(event)])
        if isinstance(event, Finished) and event.choice == 0:
            self._finished = event
            return b"".join([_line(told) for told in self._blocks.end()])
        return b""


def _line(event: dict[str, Any]) -> bytes:
    return named_event(event["type"], msgspec.json.encode(event))
