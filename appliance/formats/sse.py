"""Incremental server-sent-event splitter and writer: bytes in any slicing → events, events → bytes.

Follows the WHATWG event-stream grammar: lines end in LF, CRLF or CR; `data` lines join with LF; comments and unknown
fields are skipped; an event without data is dropped; a byte-order mark at the very start is ignored.
"""

from __future__ import annotations

import re

from msgspec import Struct

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""A single event larger than this is an attack or garbage; the splitter refuses it instead of buffering for ever."""

_LINE_END = re.compile(rb"\r\n|\n|\r")


class SseEvent(Struct):
    """One event: its `event:` name (empty when none was given) and its data bytes."""

    data: bytes
    name: str = ""


class EventTooLarge(ValueError):
    pass


class SseSplitter:
    """Feed chunks as they arrive, get the events that became complete. Borders may fall anywhere, also inside CRLF."""

    __slots__ = ("_data", "_data_bytes", "_line", "_line_bytes", "_name", "_skip_lf", "_started")

    def __init__(self) -> None:
        # A line without its end is kept in pieces: joining them anew for each chunk would cost quadratic time.
        self._line: list[bytes] = []
        self._line_bytes = 0
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = ""
        self._started = False
        # A CR that ended a chunk ended its line too; an LF that opens the next chunk belongs to it.
        self._skip_lf = False

    def feed(self, chunk: bytes) -> list[SseEvent]:
        if self._skip_lf and chunk:
            self._skip_lf = False
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
        if self._started and b"\n" not in chunk and b"\r" not in chunk:
            self._keep(chunk)
            return []
        buffer = self._joined(chunk)
        if not self._started:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                self._keep(buffer)
                return []
            self._started = True
            if buffer.startswith(b"\xef\xbb\xbf"):
                buffer = buffer[3:]
        if b"\r" not in buffer:
            lines = buffer.split(b"\n")
        else:
            lines = _LINE_END.split(buffer)
            if buffer.endswith(b"\r"):
                self._skip_lf = True
        self._keep(lines.pop())
        return self._events(lines)

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._line.append(piece)
        self._line_bytes += len(piece)
        self._refuse_excess()

    def _joined(self, chunk: bytes) -> bytes:
        if not self._line:
            return chunk
        line = b"".join([*self._line, chunk])
        self._line.clear()
        self._line_bytes = 0
        return line

    def _refuse_excess(self) -> None:
        if self._line_bytes + self._data_bytes > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event of more than {MAX_EVENT_BYTES} bytes")

    def _events(self, lines: list[bytes]) -> list[SseEvent]:
        events: list[SseEvent] = []
        for line in lines:
            if not line:
                if self._data:
                    events.append(SseEvent(b"\n".join(self._data), self._name))
                    self._data = []
                    self._data_bytes = 0
                self._name = ""
                continue
            key, _, value = line.partition(b":")
            if value[:1] == b" ":
                value = value[1:]
            if key == b"data":
                self._data.append(value)
                self._data_bytes += len(value) + 1
                self._refuse_excess()
            elif key == b"event":
                self._name = value.decode("utf-8", "replace")
        return events

    def rest(self) -> list[SseEvent]:
        """The event that the stream's end left unterminated: upstreams that forget the last empty line are read too."""
        line = self._joined(b"")
        return self._events([line, b""] if line else [b""])


def data_event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def named_event(name: str, data: bytes) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"


DONE = b"data: [DONE]\n\n"
