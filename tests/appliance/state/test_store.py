"""The database: keys come back, another version's schema is refused, readers see whole transactions."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from appliance.exchange import Key
from appliance.permissions import Scope
from appliance.state.journal import Journal, recover
from appliance.state.store import SchemaMismatch, Store
from appliance.state.tables import SCHEMA_VERSION
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

ALL = UsageFilter(scope=Scope())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scaigrid.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


async def ids(usage: UsageStore) -> list[str]:
    return [row["id"] for row in await usage.rows(ALL, 1000, None)]


# -- keys -------------------------------------------------------------------------------------------------------------


def test_a_key_comes_back_after_a_restart(path: Path) -> None:
    key = Key("apikey_1", "d1", "acme:alice", "läptop", "sgk_abcd", 1.5, 2.5, None)
    revoked = Key("apikey_2", "d2", "acme:bob", "old", "sgk_efgh", 1.0, None, 3.25)
    store = Store(path)
    store.save_key(key).result(10)
    store.save_key(revoked).result(10)
    store.close()
    store = Store(path)
    assert sorted(store.keys(), key=lambda found: found.id) == [key, revoked]
    store.close()


def test_saving_a_key_again_changes_it(store: Store) -> None:
    key = Key("apikey_1", "d1", "acme:alice")
    store.save_key(key).result(10)
    key.revoked_unix = 9.0
    store.save_key(key).result(10)
    assert store.keys() == [key]


# -- the schema -------------------------------------------------------------------------------------------------------


def _set_version(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (str(version),))
    connection.commit()
    connection.close()


def test_a_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    _set_version(path, SCHEMA_VERSION + 1)
    before = path.read_bytes()
    with pytest.raises(SchemaMismatch, match=f"schema {SCHEMA_VERSION + 1}, this version knows {SCHEMA_VERSION}"):
        Store(path)
    assert path.read_bytes() == before


async def test_opening_again_keeps_what_is_there(path: Path) -> None:
    store = Store(path)
    usage = UsageStore(store)
    store.write(lambda: usage.add([usage_row("a")])).result(10)
    store.close()
    store = Store(path)
    assert await ids(UsageStore(store)) == ["a"]
    store.close()


def test_a_file_that_is_no_database_is_an_error(path: Path) -> None:
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(Exception, match="not a database"):
        Store(path)


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_reads_see_whole_batches_while_others_are_written(store: Store) -> None:
    """Each batch is ten rows in one transaction: no reader may ever see a part of one."""
    futures = []
    usage = UsageStore(store)

    async def write() -> None:
        for batch in range(20):
            rows = [usage_row(f"u{batch}.{number}") for number in range(10)]
            futures.append(store.write(partial(usage.add, rows)))
            await asyncio.sleep(0.001)

    async def read() -> list[int]:
        return [len(await ids(usage)) for _ in range(15)]

    _, *counts = await asyncio.gather(write(), *(read() for _ in range(4)))
    for future in futures:
        future.result(10)
    assert all(count % 10 == 0 for seen in counts if seen for count in seen)
    assert all(seen == sorted(seen) for seen in counts if seen)
    assert len(await ids(usage)) == 200


async def test_a_write_that_fails_is_told_to_its_caller_and_the_next_one_works(store: Store) -> None:
    def broken() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await asyncio.wrap_future(store.write(broken))
    assert await asyncio.wrap_future(store.write(lambda: 7)) == 7


async def test_ping_answers(store: Store) -> None:
    await store.ping()


async def test_what_a_killed_process_left_in_the_journal_is_booked_once(path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "journal"

    def never(rows: object) -> None:
        raise OSError("the database is away")

    journal = Journal(folder, never)
    journal.begin(usage_row("a", status="interrupted"))
    journal.begin(usage_row("b", status="interrupted"))
    journal.end(usage_row("a"))
    left = {file.name: file.read_bytes() for file in folder.iterdir()}
    journal.close()
    store = Store(path)
    usage = UsageStore(store)
    for _ in range(2):
        for name, content in left.items():
            (folder / name).write_bytes(content)
        recover(folder, lambda rows: store.write(lambda: usage.add(rows)).result(10))
    assert {row["id"]: row["status"] for row in await usage.rows(ALL, 10, None)} == {
        "a": "completed",
        "b": "interrupted",
    }
    store.close()


async def test_a_writer_whose_asker_hung_up_lives_on(store: Store) -> None:
    started, go_on = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(5)

    busy = store.write(work)
    assert started.wait(5)
    waiting = asyncio.ensure_future(asyncio.wrap_future(store.write(lambda: "never wanted")))
    running = asyncio.ensure_future(asyncio.wrap_future(busy))
    await asyncio.sleep(0)
    waiting.cancel()
    running.cancel()
    await asyncio.sleep(0)
    go_on.set()
    assert await asyncio.wrap_future(store.write(lambda: "still here")) == "still here"
