"""Streams an upstream's own events of the Responses dialect on, under the caller's model name and the gateway's id.

The last event is kept back until `closing`; what is inside the items is never decoded.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

from appliance.errors import GatewayError
from appliance.formats.base import Frame, ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.responses_object import error_event, failure, response_object
from appliance.formats.responses_usage import encode_usage
from appliance.formats.sse import named_event

_encode = msgspec.json.encode
_members = msgspec.json.Decoder(dict[str, Raw])
_CHANGED = ("instructions", "previous_response_id", "store")
_ENDS = ("response.completed", "response.incomplete")


class _Event(Struct):
    type: str = ""
    sequence_number: int | None = None
    response: Raw = Raw()


_EVENT = msgspec.json.Decoder(_Event)


def known(head: ReplyHead, echo: dict[str, Any] | None = None) -> dict[str, Raw]:
    """What the caller knows better than the upstream: his names, and of `echo` what the gateway changed on the way.

    Without an echo he is told no instructions: the operator's own may stand there.
    """
    echo = head.echo if echo is None else echo
    said: dict[str, Any] = {"instructions": None} if echo is None else {name: echo.get(name) for name in _CHANGED}
    return {name: Raw(_encode(value)) for name, value in (said | {"id": head.id, "model": head.model}).items()}


class PassthroughWriter:
    """`echo` is echo_of(the caller's body)."""

    def __init__(self, head: ReplyHead, echo: dict[str, Any] | None = None) -> None:
        self._head = head
        self._known = known(head, echo)
        self._response: dict[str, Raw] = {}
        self._last: dict[str, Raw] = {}
        self._last_kind = ""
        self._sequence = -1

    def frames(self, frames: list[Frame]) -> bytes:
        return b"".join([self._frame(frame) for frame in frames])

    def _frame(self, frame: Frame) -> bytes:
        data = frame.event.data
        if data.strip() == b"[DONE]":
            return b""  # some servers add it; the dialect has none
        event = _EVENT.decode(data)
        kind = event.type or frame.event.name
        self._sequence = self._sequence + 1 if event.sequence_number is None else event.sequence_number
        if not bytes(event.response).startswith(b"{"):
            # A line end inside JSON is white space, but would end an event's line.
            return named_event(kind, data.replace(b"\r", b" ").replace(b"\n", b" "))
        self._response = _members.decode(event.response) | self._known
        members = _members.decode(data) | {"response": Raw(_encode(self._response))}
        if kind in _ENDS:
            self._last, self._last_kind = members, kind
            return b""
        return named_event(kind, _encode(members))

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The upstream's own usage where it sent one; else the estimate."""
        if bytes(self._response.get("usage", Raw(b"null"))) == b"null":
            self._response["usage"] = Raw(_encode(encode_usage(usage)))
        return named_event(self._last_kind, _encode(self._last | {"response": Raw(_encode(self._response))}))

    def failure(self, error: GatewayError) -> bytes:
        response: dict[str, Any] = {**self._response} or response_object(self._head, [], status="failed") | self._known
        return b"".join(
            self._numbered(event)
            for event in (error_event(error), {"type": "response.failed", "response": response | failure(error)})
        )

    def output_items(self) -> list[dict[str, Any]]:
        """The items of the final response, for the gateway to store; empty before it came."""
        items = msgspec.json.decode(self._response["output"]) if self._last and "output" in self._response else None
        return items if isinstance(items, list) else []

    def _numbered(self, event: dict[str, Any]) -> bytes:
        self._sequence += 1
        return named_event(event["type"], _encode({"type": event["type"], "sequence_number": self._sequence} | event))
