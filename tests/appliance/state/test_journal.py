"""The journal loses no ended row, invents none, and tells what was in flight, whatever breaks at whatever moment."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.state import journal as journal_file
from appliance.state.journal import Journal, JournalFailed, Row, recover

WAIT_S = 5.0


class Shelf:
    """A database that keeps the first row of each id. It can be made to refuse, or to make the journal wait."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.failing = False
        self.calls = 0
        self.open = threading.Event()
        self.open.set()

    def save(self, rows: Sequence[Row]) -> None:
        self.calls += 1
        assert self.open.wait(WAIT_S)
        if self.failing:
            raise OSError("the database is locked")
        for row in rows:
            self.rows.setdefault(row["id"], row)

    def statuses(self) -> dict[str, str]:
        return {row_id: row["status"] for row_id, row in self.rows.items()}


def row(row_id: str, status: str = "completed") -> Row:
    return {"id": row_id, "status": status, "text": "é\n" + "x" * 20}


def begun(row_id: str) -> Row:
    return row(row_id, "interrupted")


Open = Callable[..., Journal]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def journals(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens journals on the test's folder and stops their threads at the end."""
    monkeypatch.setattr(journal_file, "RETRY_S", 0.002)
    opened: list[Journal] = []

    def open_journal(folder: Path = tmp_path, save: Callable[[Sequence[Row]], None] = shelf.save) -> Journal:
        opened.append(Journal(folder, save))
        return opened[-1]

    yield open_journal
    shelf.open.set()
    shelf.failing = False
    for journal in opened:
        if journal._thread.is_alive():
            journal.close()


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jsonl"))


def recovered(folder: Path) -> tuple[dict[str, str], tuple[int, int]]:
    """What a start after a kill at this moment would find, without touching the folder."""
    shelf = Shelf()
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(folder, copy, dirs_exist_ok=True)
        counts = recover(Path(copy), shelf.save)
    return shelf.statuses(), counts


# -- in order ---------------------------------------------------------------------------------------------------------


def test_an_ended_row_is_on_disk_when_end_returns(journals: Open, shelf: Shelf, tmp_path: Path) -> None:
    shelf.open.clear()
    journal = journals()
    journal.begin(begun("a"))
    journal.end(row("a"))
    assert recovered(tmp_path) == ({"a": "completed"}, (1, 0))


def test_a_begun_row_is_on_disk_as_interrupted_when_begin_returns(journals: Open, tmp_path: Path) -> None:
    journals().begin(begun("a"))
    assert recovered(tmp_path) == ({"a": "interrupted"}, (0, 1))


def test_ended_rows_reach_the_store_once_and_begun_ones_do_not(journals: Open, shelf: Shelf) -> None:
    journal = journals()
    journal.begin(begun("a"))
    journal.begin(begun("b"))
    journal.end(row("a"))
    assert journal.flushed(WAIT_S)
    assert shelf.rows == {"a": row("a")}
    assert journal.rows_stored == 1
    assert journal.backlog == 0


def test_close_stores_what_is_left_and_removes_the_segment(journals: Open, shelf: Shelf, tmp_path: Path) -> None:
    journal = journals()
    for number in range(50):
        journal.begin(begun(f"r{number}"))
        journal.end(row(f"r{number}"))
    journal.close()
    assert set(shelf.statuses().values()) == {"completed"}
    assert len(shelf.rows) == 50
    assert segments(tmp_path) == []


def test_close_keeps_the_segment_while_a_call_in_it_is_open(journals: Open, tmp_path: Path) -> None:
    journal = journals()
    journal.begin(begun("a"))
    journal.close()
    assert recovered(tmp_path) == ({"a": "interrupted"}, (0, 1))


def test_close_under_a_refusing_database_leaves_the_rows_to_the_next_start(
    journals: Open, shelf: Shelf, tmp_path: Path
) -> None:
    shelf.failing = True
    journal = journals()
    journal.end(row("a"))
    journal.close()
    assert recovered(tmp_path) == ({"a": "completed"}, (1, 0))


def test_a_new_journal_never_writes_into_a_segment_that_is_there(journals: Open, tmp_path: Path) -> None:
    left = tmp_path / "0000000007.jsonl"
    left.write_bytes(b"as it was")
    journals().begin(begun("a"))
    assert left.read_bytes() == b"as it was"
    assert [path.name for path in segments(tmp_path)] == ["0000000007.jsonl", "0000000008.jsonl"]


def test_the_segment_may_be_read_by_its_owner_only(journals: Open, tmp_path: Path) -> None:
    journals()
    assert segments(tmp_path)[0].stat().st_mode & 0o777 == 0o600


def test_end_does_not_wait_for_the_database(journals: Open, shelf: Shelf) -> None:
    shelf.open.clear()
    journal = journals()
    started = time.monotonic()
    for number in range(200):
        journal.end(row(f"r{number}"))
    assert time.monotonic() - started < 1.0
    assert journal.backlog == 200
    assert shelf.rows == {}


# -- the database refuses ---------------------------------------------------------------------------------------------


def test_rows_that_the_database_refused_are_tried_again_until_it_takes_them(journals: Open, shelf: Shelf) -> None:
    shelf.failing = True
    journal = journals()
    journal.end(row("a"))
    journal.end(row("b"))
    wait_until(lambda: shelf.calls > 1)
    assert not journal.flushed(0.01)
    shelf.failing = False
    assert journal.flushed(WAIT_S)
    assert shelf.statuses() == {"a": "completed", "b": "completed"}
    assert journal.rows_stored == 2


def test_a_segment_whose_rows_the_database_refuses_stays(
    journals: Open, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "SEGMENT_BYTES", 1)
    shelf.failing = True
    journal = journals()
    journal.end(row("a"))
    journal.end(row("b"))
    assert not journal.flushed(0.05)
    assert recovered(tmp_path) == ({"a": "completed", "b": "completed"}, (2, 0))


def test_too_long_a_queue_refuses_new_calls_but_not_the_end_of_running_ones(
    journals: Open, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "BACKLOG_LIMIT", 2)
    shelf.open.clear()
    journal = journals()
    for row_id in ("a", "b", "c"):
        journal.begin(begun(row_id))
    for row_id in ("a", "b", "c"):
        journal.end(row(row_id))
    with pytest.raises(JournalFailed, match="database"):
        journal.begin(begun("d"))
    shelf.open.set()
    assert journal.flushed(WAIT_S)
    journal.begin(begun("d"))
    assert set(shelf.rows) == {"a", "b", "c"}


def test_a_segment_that_cannot_be_deleted_does_not_stop_the_storing(
    journals: Open, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "SEGMENT_BYTES", 1)
    failures = [OSError(errno.EACCES, "not allowed")]
    unlink = Path.unlink

    def stubborn(path: Path, missing_ok: bool = False) -> None:
        if failures:
            raise failures.pop()
        unlink(path, missing_ok)

    journal = journals()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", stubborn)
        patch.setattr(threading, "excepthook", lambda _: None)  # the assertion below says it better
        journal.end(row("a"))
        journal.end(row("b"))
        assert journal.flushed(WAIT_S)
    assert shelf.statuses() == {"a": "completed", "b": "completed"}


# -- flushed ----------------------------------------------------------------------------------------------------------


def test_flushed_is_false_when_the_database_takes_too_long(journals: Open, shelf: Shelf) -> None:
    shelf.open.clear()
    journal = journals()
    journal.end(row("a"))
    assert not journal.flushed(0.02)
    shelf.open.set()
    assert journal.flushed(WAIT_S)


def test_flushed_waits_for_the_rows_before_the_call_only(journals: Open, tmp_path: Path) -> None:
    """Under load new rows arrive with every batch; a reader must not wait for the queue to run empty."""
    more = iter(range(1_000_000))
    busy = True

    def save(rows: Sequence[Row]) -> None:
        time.sleep(0.001)
        if busy:
            journal.end(row(f"later{next(more)}"))

    journal = journals(save=save)
    journal.end(row("mine"))
    try:
        assert journal.flushed(1.0)
    finally:
        busy = False


# -- the disk fails ---------------------------------------------------------------------------------------------------


class Disk:
    """Stands before os.write: lines of the journal fail, or only a part of them is taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.short: int | None = None
        write = os.write

        def fake(file: int, data: bytes) -> int:
            if not data.startswith((b'{"begin":', b'{"end":')):
                return write(file, data)
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data if self.short is None else data[: self.short])

        monkeypatch.setattr(os, "write", fake)


@pytest.mark.parametrize("short", [None, 0, 1, 17])
def test_a_full_disk_raises_leaves_no_half_line_and_later_writes_work(
    journals: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int | None
) -> None:
    journal = journals()
    journal.begin(begun("a"))
    before = segments(tmp_path)[0].read_bytes()
    disk = Disk(monkeypatch)
    disk.full, disk.short = short is None, short
    with pytest.raises(JournalFailed, match="cannot be written"):
        journal.begin(begun("b"))
    with pytest.raises(JournalFailed, match="cannot be written"):
        journal.end(row("a"))
    assert journal.failure
    assert segments(tmp_path)[0].read_bytes() == before
    assert journal.backlog == 0
    disk.full, disk.short = False, None
    journal.begin(begun("c"))
    journal.end(row("a"))
    assert journal.failure == ""
    assert recovered(tmp_path) == ({"a": "completed", "c": "interrupted"}, (1, 1))


def test_an_end_that_was_refused_leaves_the_call_open_across_rotation(
    journals: Open, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "SEGMENT_BYTES", 1)
    journal = journals()
    journal.begin(begun("a"))
    disk = Disk(monkeypatch)
    disk.full = True
    with pytest.raises(JournalFailed):
        journal.end(row("a"))
    disk.full = False
    journal.begin(begun("b"))
    journal.end(row("b"))
    assert journal.flushed(WAIT_S)
    journal.close()
    assert shelf.statuses() == {"b": "completed"}
    assert recovered(tmp_path) == ({"a": "interrupted"}, (0, 1))


def test_a_half_line_that_cannot_be_taken_back_does_not_swallow_the_next(
    journals: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = journals()
    journal.begin(begun("a"))
    disk = Disk(monkeypatch)
    disk.short = 9

    def no_truncate(*_: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "ftruncate", no_truncate)
        with pytest.raises(JournalFailed):
            journal.end(row("a"))
    disk.short = None
    journal.end(row("a"))
    assert recovered(tmp_path)[0] == {"a": "completed"}


@pytest.mark.parametrize("short", [None, 3])
def test_a_rotation_that_the_disk_refuses_goes_on_in_the_old_segment(
    journals: Open, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int | None
) -> None:
    journal = journals()
    journal.begin(begun("a"))
    open_files = len(os.listdir("/proc/self/fd"))
    write = os.write

    def refuse_carried(file: int, data: bytes) -> int:
        if data.startswith(b'{"begin":'):
            if short is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(file, data[:short])
        return write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "SEGMENT_BYTES", 1)
        patch.setattr(os, "write", refuse_carried)
        journal.end(row("b"))
        journal.end(row("c"))
    assert journal.flushed(WAIT_S)
    assert [path.name for path in segments(tmp_path)] == ["0000000001.jsonl"]
    assert len(os.listdir("/proc/self/fd")) == open_files
    assert recovered(tmp_path) == ({"a": "interrupted", "b": "completed", "c": "completed"}, (2, 1))


# -- rotation ---------------------------------------------------------------------------------------------------------


def test_rotation_carries_open_calls_and_drops_what_is_stored(
    journals: Open, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "SEGMENT_BYTES", 400)
    journal = journals()
    journal.begin(begun("open"))
    for number in range(40):
        journal.begin(begun(f"r{number}"))
        journal.end(row(f"r{number}"))
    assert journal.flushed(WAIT_S)
    (only,) = segments(tmp_path)
    assert int(only.stem) > 10
    assert only.stat().st_size < 1000
    statuses, _ = recovered(tmp_path)
    assert statuses["open"] == "interrupted"
    assert len(shelf.rows) == 40
    journal.end(row("open"))
    assert journal.flushed(WAIT_S)
    journal.close()
    assert shelf.statuses()["open"] == "completed"
    assert segments(tmp_path) == []


# -- recovery ---------------------------------------------------------------------------------------------------------


def line(kind: str, content: Row) -> bytes:
    return msgspec.json.encode({kind: content}) + b"\n"


def test_recover_of_nothing_is_nothing(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "0000000001.jsonl").touch()
    assert recover(tmp_path, shelf.save) == (0, 0)
    assert shelf.rows == {}
    assert segments(tmp_path) == []


def test_recover_that_fails_keeps_the_files_for_the_next_try(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "0000000001.jsonl").write_bytes(line("begin", begun("a")) + line("end", row("b")))
    shelf.failing = True
    with pytest.raises(OSError, match="locked"):
        recover(tmp_path, shelf.save)
    shelf.failing = False
    assert recover(tmp_path, shelf.save) == (1, 1)
    assert shelf.statuses() == {"a": "interrupted", "b": "completed"}


def test_recover_saves_in_batches(tmp_path: Path, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_file, "BATCH_ROWS", 3)
    (tmp_path / "0000000001.jsonl").write_bytes(b"".join(line("end", row(f"r{number}")) for number in range(10)))
    assert recover(tmp_path, shelf.save) == (10, 0)
    assert shelf.calls == 4
    assert len(shelf.rows) == 10


@pytest.mark.parametrize("cut", range(1, len(line("end", row("b")))))
def test_a_half_written_last_line_counts_as_never_written(tmp_path: Path, cut: int) -> None:
    whole = line("begin", begun("a")) + line("begin", begun("b"))
    (tmp_path / "0000000001.jsonl").write_bytes(whole + line("end", row("b"))[:cut])
    statuses, counts = recovered(tmp_path)
    assert statuses == {"a": "interrupted", "b": "interrupted"}
    assert counts == (0, 2)


DAMAGED = {
    "no JSON": b"garbage",
    "zeros, as after a power cut": b"\0" * 40,
    "another shape": b"[]",
    "a number": b"7",
    "no members": b"{}",
    "an unknown member": b'{"bend":{"id":"x"}}',
    "a row without an id": b'{"end":{"status":"completed"}}',
    "an id that is no text": b'{"begin":{"id":[]}}',
    "a row that is a number": b'{"end":1}',
    "a byte that is no UTF-8": b'{"end":{"id":"\xff"}}',
    "two lines grown together": b'{"begin":{"id":"x"}}{"end":{"id":"x"}}',
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_kept_aside_and_the_others_are_recovered(tmp_path: Path, shelf: Shelf, damage: bytes) -> None:
    content = line("begin", begun("a")) + line("end", row("a")) + damage + b"\n" + line("begin", begun("b"))
    (tmp_path / "0000000001.jsonl").write_bytes(content)
    assert recover(tmp_path, shelf.save) == (1, 1)
    assert shelf.statuses() == {"a": "completed", "b": "interrupted"}
    assert segments(tmp_path) == []
    assert [path.read_bytes() for path in tmp_path.glob("*.damaged")] == [content]


def test_a_second_damaged_file_does_not_overwrite_what_was_kept_of_the_first(tmp_path: Path, shelf: Shelf) -> None:
    for content in (b"first damage\n", b"second damage\n"):
        (tmp_path / "0000000001.jsonl").write_bytes(content)
        recover(tmp_path, shelf.save)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {b"first damage\n", b"second damage\n"}


# -- everything at once, against a simple model -----------------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["begin", "begin", "end", "end", "hold", "refuse", "work"]), st.integers(0, 7)),
    max_size=40,
)


class Model:
    """What must be known of each call: confirmed begins and ends, and nothing else."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.ended: list[str] = []
        self.made = 0

    def expected(self) -> dict[str, str]:
        return dict.fromkeys(self.ended, "completed") | dict.fromkeys(self.open, "interrupted")

    def step(self, journal: Journal, shelf: Shelf, what: str, number: int) -> None:
        if what == "begin":
            row_id = f"r{self.made}"
            self.made += 1
            journal.begin(begun(row_id))
            self.open.append(row_id)
        elif what == "end" and self.open:
            row_id = self.open.pop(number % len(self.open))
            journal.end(row(row_id))
            self.ended.append(row_id)
        elif what == "hold":
            shelf.open.clear()
        elif what == "refuse":
            shelf.failing = not shelf.failing
        elif what == "work":
            shelf.open.set()
            if not shelf.failing:
                assert journal.flushed(WAIT_S)


def copied_as_killed(folder: Path, copy: Path) -> None:
    """The folder as a kill at this moment leaves it. Files that the journal's thread deletes meanwhile are stored."""
    copy.mkdir()
    for path in segments(folder):
        try:
            shutil.copy(path, copy)
        except FileNotFoundError:
            continue


def tear(folder: Path, model: Model, kind: str, cut: int) -> None:
    """The kill came while one more line was being written: a part of it is there, and nobody got a confirmation."""
    row_id = model.open[0] if kind == "end" and model.open else "torn"
    torn = line(kind, row(row_id))[:-1]
    with segments(folder)[-1].open("ab") as file:
        file.write(torn[: cut % len(torn)])


@settings(max_examples=120, deadline=None)
@given(
    steps=STEPS,
    segment_bytes=st.sampled_from([1, 200, 600, 1_000_000]),
    batch=st.sampled_from([1, 3, 500]),
    torn=st.sampled_from(["begin", "end"]),
    cut=st.integers(0, 500),
)
def test_no_row_is_lost_or_invented_whenever_the_process_is_killed(
    steps: list[Step], segment_bytes: int, batch: int, torn: str, cut: int
) -> None:
    shelf, model = Shelf(), Model()
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(journal_file, "SEGMENT_BYTES", segment_bytes)
        patch.setattr(journal_file, "BATCH_ROWS", batch)
        patch.setattr(journal_file, "RETRY_S", 0.0005)
        folder = Path(name) / "journal"
        journal = Journal(folder, shelf.save)
        try:
            for what, number in steps:
                model.step(journal, shelf, what, number)
            killed, again = Path(name) / "killed", Path(name) / "again"
            copied_as_killed(folder, killed)
            after = Shelf()
            after.rows = dict(shelf.rows)
            tear(killed, model, torn, cut)
            shutil.copytree(killed, again)
            recover(killed, after.save)
            assert after.statuses() == model.expected()
            assert segments(killed) == []
            recover(again, after.save)  # a start that was killed half-way is followed by another one
            assert after.statuses() == model.expected()
        finally:
            shelf.open.set()
            shelf.failing = False
            journal.close()
        assert shelf.statuses() == dict.fromkeys(model.ended, "completed")
        left = len(recovered_ended(folder, model))
        assert recover(folder, shelf.save) == (left, len(model.open))
        assert shelf.statuses() == model.expected()


def recovered_ended(folder: Path, model: Model) -> list[str]:
    """Ended rows that still stand in the last segment: it is kept whole while one call in it is open."""
    content = b"".join(path.read_bytes() for path in segments(folder))
    return [row_id for row_id in model.ended if line("end", row(row_id)) in content]
