"""An upstream's streamed answer as frames: bytes in any slicing → events, each with what it means, under timeouts."""

from __future__ import annotations

import asyncio

from appliance.errors import GatewayError
from appliance.exchange import Upstream, UpstreamCut
from appliance.formats.base import Frame, StreamDecoder
from appliance.formats.chat import Ended
from appliance.formats.sse import EventTooLarge, SseEvent, SseSplitter

DRAIN_S = 0.1
"""After the end mark nothing is expected but the body's end. Waiting a moment for it keeps the connection reusable;
an upstream that leaves it open is not waited for."""


class UpstreamStream:
    """Frames in the order they came. `total_at` is on the loop's clock, `idle_s` holds between two reads."""

    __slots__ = ("_at_end", "_decoder", "_drain_until", "_held", "_idle_s", "_splitter", "_total_at", "_upstream")

    def __init__(self, upstream: Upstream, decoder: StreamDecoder, idle_s: float, total_at: float) -> None:
        self._upstream = upstream
        self._decoder = decoder
        self._splitter = SseSplitter()
        self._idle_s = idle_s
        self._total_at = total_at
        self._held: list[Frame] = []
        self._at_end = False
        self._drain_until: float | None = None

    @property
    def complete(self) -> bool:
        """The dialect's end mark came, or all that may precede it: the stream was not cut."""
        return self._decoder.complete

    def hold(self, frames: list[Frame]) -> None:
        """Put back frames that were read to see whether an answer begins."""
        self._held += frames

    async def frames(self) -> list[Frame]:
        """The next frames, at least one; empty at the end.

        Raises UpstreamCut, TimeoutError, and GatewayError UPSTREAM_SHAPE_MISMATCH for bytes that are no such stream.
        """
        if self._held:
            held, self._held = self._held, []
            return held
        while not self._at_end:
            chunk = await self._read() if self._drain_until is None else await self._drained(self._drain_until)
            if chunk:
                events = self._split(chunk)
            else:
                self._at_end = True
                events = self._splitter.rest()
            if events:
                frames = self._understood(events)
                if frames:
                    return frames
        return []

    def _understood(self, events: list[SseEvent]) -> list[Frame]:
        """What comes after the end mark is not part of the answer."""
        frames: list[Frame] = []
        for event in events:
            if self._drain_until is not None:
                break
            frames.append(Frame(event, self._decoder.feed(event)))
            if any(isinstance(meaning, Ended) for meaning in frames[-1].meaning):
                self._drain_until = asyncio.get_running_loop().time() + DRAIN_S
        return frames

    async def _read(self) -> bytes:
        limit = min(asyncio.get_running_loop().time() + self._idle_s, self._total_at)
        async with asyncio.timeout_at(limit):
            return await self._upstream.chunk()

    async def _drained(self, until: float) -> bytes:
        try:
            async with asyncio.timeout_at(until):
                return await self._upstream.chunk()
        except (TimeoutError, UpstreamCut):
            return b""

    def _split(self, chunk: bytes) -> list[SseEvent]:
        try:
            return self._splitter.feed(chunk)
        except EventTooLarge as error:
            raise GatewayError("UPSTREAM_SHAPE_MISMATCH", f"the upstream's stream is not readable: {error}") from None
