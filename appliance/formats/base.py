"""What a format offers: pure functions between a dialect's JSON and the canonical types, for both sides.

A format is a module with these functions. The client side uses decode_request, encode_reply, stream_encoder and
encode_error; the upstream side uses encode_request, decode_reply, stream_decoder and decode_error. No function does
I/O, keeps global state or changes its input.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from appliance.errors import GatewayError
from appliance.formats.chat import ChatEvent, ChatReply, ChatRequest, Usage
from appliance.formats.sse import SseEvent


class ReplyHead(Struct):
    """What the gateway knows of an answer before its first word: the caller's model name, our id, Unix seconds."""

    id: str
    model: str
    created: int
    include_usage: bool = False


class UpstreamError(Struct):
    """An error body in canonical words; every member but `message` may be unknown."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


class StreamDecoder(Protocol):
    """Upstream events → canonical events. Raises GatewayError UPSTREAM_SHAPE_MISMATCH for what is no event."""

    complete: bool
    """The stream may end now: its end mark came, or every choice that spoke has its finish reason."""

    def feed(self, event: SseEvent) -> list[ChatEvent]: ...


class StreamEncoder(Protocol):
    """Canonical events → the client's bytes."""

    def encode(self, events: list[ChatEvent]) -> bytes: ...

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        """The last bytes of an answer that ended well: usage where the dialect sends it, and the end mark."""
        ...

    def failure(self, error: GatewayError) -> bytes:
        """The last bytes of a stream that broke: the typed error, and the end mark."""
        ...


class UpstreamFormat(Protocol):
    def encode_request(self, request: ChatRequest, upstream_model: str) -> dict[str, Any]:
        """Raises GatewayError VALIDATION_ERROR naming the member that this dialect cannot carry."""
        ...

    def decode_reply(self, body: Any) -> ChatReply:
        """Raises GatewayError UPSTREAM_SHAPE_MISMATCH when the body is no answer."""
        ...

    def stream_decoder(self) -> StreamDecoder: ...

    def decode_error(self, status: int, body: bytes) -> UpstreamError: ...


class ClientFormat(Protocol):
    def decode_request(self, body: dict[str, Any]) -> ChatRequest:
        """Raises GatewayError VALIDATION_ERROR naming the member that is wrong."""
        ...

    def encode_reply(self, reply: ChatReply, head: ReplyHead) -> dict[str, Any]: ...

    def stream_encoder(self, head: ReplyHead) -> StreamEncoder: ...

    def encode_error(self, error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
        """HTTP status and body in the client's dialect."""
        ...
