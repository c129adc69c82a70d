"""What a format offers: pure functions between a dialect's JSON and the canonical types, for both sides.

A format is a module with these functions. The client side uses read_head, decode_request, encode_reply, stream_encoder
and encode_error; the upstream side uses encode_request, decode_reply, stream_decoder and decode_error. A dialect that
stands on both sides also has a Passthrough. No function does I/O, keeps global state or changes its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Raw, Struct, field

from appliance.errors import GatewayError
from appliance.formats.chat import ChatEvent, ChatReply, ChatRequest, Usage
from appliance.formats.sse import SseEvent


class RequestHead(Struct):
    """What the line must know of a chat request before it is translated.

    `output_cap` is the most output tokens per choice that the caller asked for, None where he left it open. `request`
    is the canonical form where the format had to make it anyway; others decode only for a target of another dialect.
    """

    model: str
    stream: bool = False
    include_usage: bool = False
    output_cap: int | None = None
    n: int = 1
    metadata: dict[str, Any] | None = None
    request: ChatRequest | None = None


class OperatorSettings(Struct):
    """What the operator's YAML says about a call that goes through in its own dialect.

    `output_cap` replaces whatever the caller wrote or left open; `max_output_tokens` is a ceiling on what he wrote.
    """

    stream: bool = False
    default_params: Mapping[str, Any] = field(default_factory=dict)
    system_prompt: str | None = None
    max_output_tokens: int | None = None
    output_cap: int | None = None


class ReplyHead(Struct):
    """What the gateway knows of an answer before its first word: the caller's model name, our id, Unix seconds."""

    id: str
    model: str
    created: int
    include_usage: bool = False
    echo: dict[str, Any] | None = None
    """Members of the request that the dialect tells back with the answer."""


class UpstreamError(Struct):
    """An error body in canonical words; every member but `message` may be unknown."""

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None


class Frame(Struct):
    """One upstream event, as it came and as it was understood."""

    event: SseEvent
    meaning: list[ChatEvent]


class AnswerWriter(Protocol):
    """Renders one streamed answer: what arrives, and the last bytes, which are kept back until the row is written."""

    def frames(self, frames: list[Frame]) -> bytes: ...

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes: ...

    def failure(self, error: GatewayError) -> bytes: ...


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
    def read_head(self, body: bytes) -> RequestHead:
        """The body has passed as JSON. Raises GatewayError VALIDATION_ERROR naming the member that is wrong."""
        ...

    def decode_request(self, body: dict[str, Any]) -> ChatRequest:
        """Raises GatewayError VALIDATION_ERROR naming the member that is wrong."""
        ...

    def encode_reply(self, reply: ChatReply, head: ReplyHead) -> dict[str, Any]: ...

    def stream_encoder(self, head: ReplyHead) -> StreamEncoder: ...

    def encode_error(self, error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
        """HTTP status and body in the client's dialect."""
        ...


class Passthrough(Protocol):
    """Client and upstream speak the same dialect: what we do not know survives, since nothing below the members that
    the gateway sets is decoded."""

    def request(self, members: Mapping[str, Raw], upstream_model: str, settings: OperatorSettings) -> bytes:
        """The upstream's body: the caller's members, the upstream's model name, the operator's settings."""
        ...

    def reply(self, body: bytes, reply: ChatReply, head: ReplyHead) -> bytes:
        """The caller's body. `body` is the upstream's, `reply` the same decoded."""
        ...

    def writer(self, head: ReplyHead) -> AnswerWriter:
        """Streams the upstream's own events on; keeps back the last one, which is written by `closing`."""
        ...
