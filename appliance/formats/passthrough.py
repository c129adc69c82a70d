"""A streamed answer whose two sides speak different dialects: canonical events go on in the client's one.

Where both speak the same, the dialect's own passthrough file does it.
"""

from __future__ import annotations

from appliance.errors import GatewayError
from appliance.formats.base import Frame, StreamEncoder
from appliance.formats.chat import ChatEvent, Usage


class TranslatedWriter:
    __slots__ = ("_encoder",)

    def __init__(self, encoder: StreamEncoder) -> None:
        self._encoder = encoder

    def frames(self, frames: list[Frame]) -> bytes:
        events: list[ChatEvent] = [event for frame in frames for event in frame.meaning]
        return self._encoder.encode(events) if events else b""

    def closing(self, usage: Usage, cost: str, estimated: bool) -> bytes:
        return self._encoder.closing(usage, cost, estimated)

    def failure(self, error: GatewayError) -> bytes:
        return self._encoder.failure(error)
