"""The journal: what keeps a finished answer's row through `kill -9`, and tells at the next start what was in flight.

A call is noted with one append before it is sent upstream (`begin`) and with one append before its last bytes leave
(`end`). An append is a write to a file: once it returns, the kernel has it, and no kill of ours can take it back. A
writer thread moves ended rows into the store in batches; at start what it did not get to is replayed by id.

It must never lose or invent a line: a write that fails is rolled back, reported, and stops new calls.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

SEGMENT_BYTES = 16 * 1024 * 1024
BATCH_ROWS = 500
BACKLOG_LIMIT = 200_000
"""Rows that may wait for the store before new calls are refused: the database has been failing for long by then."""
RETRY_S = 0.5
GATHER_S = 0.02
"""Rows are gathered for so long: one transaction for many costs the event loop less than one for each."""

_log = logging.getLogger("scaigrid.journal")
_encode = msgspec.json.Encoder().encode
Row = dict[str, Any]


class JournalFailed(Exception):
    """The journal cannot be written; no new call may be made until it can."""


class Journal:
    """`begin` and `end` are called on the event loop and never wait for the database."""

    def __init__(self, folder: Path, save: Callable[[Sequence[Row]], None]) -> None:
        """`save` stores rows by id, in the writer thread; it may raise, and is then tried again."""
        self._folder = folder
        self._save = save
        self._open: dict[str, bytes] = {}
        self._queue: deque[Row | Path] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._torn = False
        self._queued = 0
        self._done = 0
        self.rows_stored = 0
        self.failure = ""
        """Why the last write failed; empty while all is well."""
        folder.mkdir(parents=True, exist_ok=True)
        self._segment = 1 + max((_number(path) for path in folder.glob("*.jsonl")), default=0)
        self._file, self._size = self._new_segment(self._segment)
        self._thread = threading.Thread(target=self._store_loop, name="journal", daemon=True)
        self._thread.start()

    def _path(self, segment: int) -> Path:
        return self._folder / f"{segment:010d}.jsonl"

    def _new_segment(self, segment: int) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path(segment), flags, 0o600), 0

    # -- on the event loop --

    def begin(self, row: Row) -> None:
        """Note a call that is about to be sent upstream. `row` is what would be booked if we were killed now."""
        if len(self._queue) > BACKLOG_LIMIT:
            raise JournalFailed("the database does not take usage rows")
        line = b'{"begin":' + _encode(row) + b"}\n"
        self._append(line)
        self._open[row["id"]] = line

    def end(self, row: Row) -> None:
        """Note a finished call. When this returns, a kill cannot lose the row; when it raises, nothing was noted."""
        self._append(b'{"end":' + _encode(row) + b"}\n")
        self._open.pop(row["id"], None)
        self._enqueue(row)
        if self._size > SEGMENT_BYTES:
            self._rotate()

    def works(self) -> bool:
        """Tries again after a failure: who says that he is not ready gets no call that would show that he is."""
        if self.failure:
            try:
                self._append(b"\n")  # a blank line means nothing at replay
            except JournalFailed:
                return False
        return True

    def _append(self, line: bytes) -> None:
        if self._torn:
            line = b"\n" + line  # ends the half line that could not be taken back, so that it swallows nothing
        try:
            written = os.write(self._file, line)
            if written != len(line):
                self._torn = True
                os.ftruncate(self._file, self._size)
                self._torn = False
                raise OSError("the disk took only a part of the line; is it full?")
        except OSError as error:
            self.failure = str(error)
            raise JournalFailed(f"the journal in {self._folder} cannot be written: {error}") from error
        self.failure = ""
        self._torn = False
        self._size += written

    def _rotate(self) -> None:
        """Calls still open are noted again in the new file, so the old one can go once its rows are stored."""
        carried = b"".join(self._open.values())
        file = -1
        try:
            file, size = self._new_segment(self._segment + 1)
            if os.write(file, carried) != len(carried):
                raise OSError("the disk took only a part of the open calls")
        except OSError as error:
            _log.error("journal: no new segment, the old one is used on: %s", error)
            if file >= 0:
                os.close(file)
                _remove(self._path(self._segment + 1))
            return
        os.close(self._file)
        old = self._path(self._segment)
        self._segment, self._file, self._size = self._segment + 1, file, size + len(carried)
        self._enqueue(old)

    def _enqueue(self, item: Row | Path) -> None:
        with self._wake:
            self._queue.append(item)
            self._queued += 1
            self._wake.notify_all()

    def flushed(self, timeout_s: float = 5.0) -> bool:
        """Blocks until every row noted before the call is in the store; False when that took too long.

        For reads that must see their own writes, in a thread other than the event loop's.
        """
        with self._wake:
            target = self._queued
            return self._wake.wait_for(lambda: self._done >= target, timeout_s)

    @property
    def backlog(self) -> int:
        return len(self._queue)

    # -- in the journal's thread --

    def _store_loop(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return
            if not self._closing:
                time.sleep(GATHER_S)
            with self._wake:
                batch = [item for item, _ in zip(self._queue, range(BATCH_ROWS), strict=False)]
            rows = [item for item in batch if isinstance(item, dict)]
            if rows and not self._stored(rows):
                if self._closing:
                    return  # they stay in the journal and are replayed at the next start
                time.sleep(RETRY_S)
                continue
            for item in batch:
                if isinstance(item, Path):
                    _remove(item)
            with self._wake:
                for _ in batch:
                    self._queue.popleft()
                self._done += len(batch)
                self._wake.notify_all()

    def _stored(self, rows: list[Row]) -> bool:
        try:
            self._save(rows)
        except Exception as error:  # whatever the database says: the rows stay in the journal and are tried again
            _log.error("journal: %d usage rows wait, the database refuses them: %s", len(self._queue), error)
            return False
        self.rows_stored += len(rows)
        return True

    def close(self) -> None:
        """Store what is left, then remove the segment if nothing in it is owed any more."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._thread.join(timeout=10)
        os.close(self._file)
        if not self._thread.is_alive() and not self._open and not self._queue:
            self._path(self._segment).unlink(missing_ok=True)


def recover(folder: Path, save: Callable[[Sequence[Row]], None]) -> tuple[int, int]:
    """Replay what an earlier process left: (rows of finished calls, calls that were in flight when it was killed).

    To be run before a Journal is opened on the folder. Rows are stored by id, so a second replay changes nothing.
    """
    paths = sorted(folder.glob("*.jsonl"), key=_number)
    begun: dict[str, Row] = {}
    ended: dict[str, Row] = {}
    for path in paths:
        for entry in _entries(path):
            if "begin" in entry:
                begun[entry["begin"]["id"]] = entry["begin"]
            else:
                ended[entry["end"]["id"]] = entry["end"]
    interrupted = [row for row_id, row in begun.items() if row_id not in ended]
    rows = [*ended.values(), *interrupted]
    for start in range(0, len(rows), BATCH_ROWS):
        save(rows[start : start + BATCH_ROWS])
    for path in paths:
        path.unlink()
    return len(ended), len(interrupted)


def _entries(path: Path) -> list[dict[str, Row]]:
    """The file's lines. One that cannot be read is reported, and a copy of the file is kept: a start must not fail."""
    content = path.read_bytes()
    *lines, torn = content.split(b"\n")
    if torn:
        _log.warning("journal: %s ends in a half-written line, which was never confirmed to anyone", path)
    entries: list[dict[str, Row]] = []
    damaged = 0
    for line in filter(None, lines):
        try:
            entries.append(_entry(line))
        except ValueError:  # msgspec's and Unicode's errors are ValueErrors too
            damaged += 1
    if damaged:
        aside = path.with_name(f"{path.stem}-{time.time_ns()}.damaged")
        aside.write_bytes(content)
        _log.error("journal: %d lines of %s are damaged; a copy is kept in %s", damaged, path, aside)
    return entries


def _entry(line: bytes) -> dict[str, Row]:
    entry = msgspec.json.decode(line, type=dict[str, Row])
    ((kind, row),) = entry.items()
    if kind not in ("begin", "end") or not isinstance(row.get("id"), str):
        raise ValueError("neither begin nor end of a call")
    return entry


def _remove(path: Path) -> None:
    """A file that stays is replayed at the next start, which changes nothing."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("journal: %s cannot be removed: %s", path, error)


def _number(path: Path) -> int:
    return int(path.stem) if path.stem.isdigit() else 0
