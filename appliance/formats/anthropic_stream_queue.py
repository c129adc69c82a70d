"""Content blocks in the order in which they began: one is open, those behind it wait.

This dialect never has two blocks open, while other upstreams speak several calls by turns. So a block closes when
another one waits behind it and it is whole: text and reasoning always are, a call once its arguments are a complete
object. What still waits at the end of the answer goes out then.
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.formats.anthropic_stream_blocks import (
    Block,
    CallBlock,
    Json,
    SignatureBlock,
    TextBlock,
    ThinkingBlock,
)
from appliance.formats.chat import Citation, ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta


class BlockQueue:
    """Events in, stream events about blocks out."""

    def __init__(self) -> None:
        self._queue: list[Block] = []
        self._calls: dict[int, CallBlock] = {}
        self._index = -1
        self._is_open = False

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    def add(self, event: TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta) -> Iterator[Json]:
        match event:
            case TextDelta():
                self._text(event.text, event.citations, is_refusal=False)
            case RefusalDelta():
                self._text(event.text, [], is_refusal=True)
            case ReasoningDelta():
                self._reasoning(event)
            case _:
                self._call(event)
        return self._told(ended=False)

    def end(self) -> Iterator[Json]:
        return self._told(ended=True)

    def _text(self, text: str, citations: list[Citation], is_refusal: bool) -> None:
        if not text and not citations:
            return
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, TextBlock) or last.is_sealed or last.is_refusal != is_refusal:
            last = TextBlock(is_refusal)
            self._queue.append(last)
        last.add(text, citations)

    def _reasoning(self, event: ReasoningDelta) -> None:
        last = self._queue[-1] if self._queue else None
        if not isinstance(last, ThinkingBlock) or not last.takes(event):
            last = ThinkingBlock()
            self._queue.append(last)
        last.add(event)

    def _call(self, event: ToolCallDelta) -> None:
        block = self._calls.get(event.call)
        if block is None:
            block = self._calls[event.call] = CallBlock(event)
            self._queue.append(block)
        if event.signature:
            self._sign(block, event.signature, event.origin)
        block.add(event.arguments)

    def _sign(self, call: CallBlock, signature: str, origin: str) -> None:
        """Before the call; behind it where the call has begun already."""
        place = self._queue.index(call) if call in self._queue else -1
        if place > 0 or (place == 0 and not self._is_open):
            self._queue.insert(place, SignatureBlock(signature, origin))
        else:
            self._queue.insert(1 if self._is_open else 0, SignatureBlock(signature, origin, late_for=call.id))

    def _told(self, ended: bool) -> Iterator[Json]:
        while self._queue:
            block = self._queue[0]
            opening = None if self._is_open else block.opening()
            if opening is not None:
                self._index += 1
                self._is_open = True
                yield {"type": "content_block_start", "index": self._index, "content_block": opening}
            if self._is_open:
                yield from self._deltas(block.pieces())
            if not ended and (len(self._queue) == 1 or not block.is_whole):
                return
            if self._is_open:
                yield from self._deltas(block.rest())
                yield {"type": "content_block_stop", "index": self._index}
            self._is_open = False
            del self._queue[0]

    def _deltas(self, deltas: list[Json]) -> Iterator[Json]:
        for delta in deltas:
            yield {"type": "content_block_delta", "index": self._index, "delta": delta}
