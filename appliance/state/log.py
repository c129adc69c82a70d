"""One line per request on standard output: JSON, or text on a terminal. Writing never holds up the event loop.

Lines go through a bounded queue to a thread, so a reader that stalls costs log lines (counted), not requests.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import sys
import threading
import time
from datetime import UTC, datetime
from typing import IO, Any

import msgspec

QUEUE_LINES = 20_000
CLOSE_S = 1.0
GATHER_S = 0.01
"""Lines are gathered for so long before they are written: waking a thread for each would cost the event loop more."""
_encode = msgspec.json.Encoder().encode


class Log:
    def __init__(self, output: IO[bytes] | None = None, as_text: bool | None = None) -> None:
        self._output = output or sys.stdout.buffer
        self._as_text = sys.stdout.isatty() if as_text is None else as_text
        self._lines: queue.Queue[dict[str, Any] | None] = queue.Queue(QUEUE_LINES)
        self.dropped = 0
        self._thread = threading.Thread(target=self._write_loop, name="log", daemon=True)
        self._thread.start()

    def write(self, fields: dict[str, Any]) -> None:
        """`fields` has `event` and `unix`; rendered in the log's thread, it must not be changed later."""
        try:
            self._lines.put_nowait(fields)
        except queue.Full:
            self.dropped += 1

    def _write_loop(self) -> None:
        while (fields := self._lines.get()) is not None:
            try:
                self._output.write(_as_text(fields) if self._as_text else _as_json(fields))
                if self._lines.empty():
                    self._output.flush()
                    time.sleep(GATHER_S)
            except Exception:  # one line that cannot be written must not end all others
                self.dropped += 1

    def close(self) -> None:
        """Write what waits, for a moment at most: a reader that stalls must not hold up the end of the process."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=CLOSE_S)
        self._thread.join(timeout=CLOSE_S)


def _as_json(fields: dict[str, Any]) -> bytes:
    fields = {"timestamp": _iso(fields.pop("unix")), **fields}
    return _encode({key: value for key, value in fields.items() if value is not None}) + b"\n"


def _as_text(fields: dict[str, Any]) -> bytes:
    time = _iso(fields.pop("unix"))[11:19]
    event = fields.pop("event")
    rest = " ".join(f"{key}={value}" for key, value in fields.items() if value not in (None, ""))
    return f"{time} {event} {rest}\n".encode("utf-8", "replace")


def _iso(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class LogHandler(logging.Handler):
    """Sends the records of Python's own loggers (ours, Sanic's, aiohttp's) the same way."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.INFO)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._log.write(self._fields(record))
        except Exception:  # as Python's own handlers do: a log call never harms its caller
            self.handleError(record)

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "unix": record.created,
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        return fields
