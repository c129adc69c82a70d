"""The database: schema, migrations, writes in one thread, reads in others. The only file with SQL.

SQLite in WAL mode with synchronous=FULL; writes are BEGIN IMMEDIATE, because a deferred transaction that turns from
reading to writing fails at once under load and busy_timeout does not help it.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import peewee

from appliance.exchange import Key
from appliance.state.tables import MIGRATIONS, SCHEMA_VERSION, TABLES, ApiKeyRow, MetaRow, database

T = TypeVar("T")

READERS = 4
_PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 5000, "foreign_keys": 1, "cache_size": -16384}


class SchemaMismatch(Exception):
    """The database was written by another version than this one can serve."""


class Store:
    """One writer thread, a few reader threads; the event loop only waits for futures."""

    def __init__(self, path: Path) -> None:
        self._database = peewee.SqliteDatabase(str(path), pragmas=_PRAGMAS)
        database.initialize(self._database)
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, "store-read")
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        with self._database:
            self._migrate()
        self._writer.start()

    def _migrate(self) -> None:
        with self._database.atomic("IMMEDIATE"):
            self._database.create_tables([MetaRow])
            row = MetaRow.get_or_none(MetaRow.name == "schema_version")
            found = int(row.value) if row else 0
            if found > SCHEMA_VERSION:
                raise SchemaMismatch(
                    f"the database has schema {found}, this version knows {SCHEMA_VERSION}: "
                    "start the newer version again, or restore a backup made by this one"
                )
            for version in range(found + 1, SCHEMA_VERSION + 1) if found else ():
                for statement in MIGRATIONS[version]:
                    self._database.execute_sql(statement)  # type: ignore[no-untyped-call]
            self._database.create_tables(TABLES)
            if found < SCHEMA_VERSION:
                MetaRow.insert(name="schema_version", value=str(SCHEMA_VERSION)).on_conflict_replace().execute()

    # -- threads --

    def _write_loop(self) -> None:
        self._database.connect(reuse_if_open=True)
        while (job := self._jobs.get()) is not None:
            work, future = job
            if not future.set_running_or_notify_cancel():
                continue  # whoever asked hung up before it began; from here on it cannot be cancelled any more
            try:
                with self._database.atomic("IMMEDIATE"):
                    result = work()
                future.set_result(result)
            except Exception as error:  # handed to whoever waits; the thread must live on
                future.set_exception(error)
        self._database.close()

    def write(self, work: Callable[[], T]) -> Future[T]:
        """Run `work` in the writer thread inside one IMMEDIATE transaction; callable from any thread."""
        future: Future[T] = Future()
        self._jobs.put((work, future))
        return future

    async def read(self, work: Callable[[], T]) -> T:
        def connected() -> T:
            with self._database.connection_context():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._readers, connected)

    async def ping(self) -> None:
        await self.read(lambda: MetaRow.select().count())

    def close(self) -> None:
        self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown()

    # -- keys --

    def keys(self) -> list[Key]:
        """All keys made at run time, revoked ones too. Called once, at start."""
        with self._database.connection_context():
            return [Key(**row) for row in rows_of(ApiKeyRow.select())]

    def save_key(self, key: Key) -> Future[None]:
        def work() -> None:
            ApiKeyRow.insert(
                id=key.id,
                digest=key.digest,
                user_id=key.user_id,
                name=key.name,
                prefix=key.prefix,
                created_unix=key.created_unix,
                expires_unix=key.expires_unix,
                revoked_unix=key.revoked_unix,
            ).on_conflict_replace().execute()

        return self.write(work)


def rows_of(query: Any) -> list[dict[str, Any]]:
    return list(query.dicts())
