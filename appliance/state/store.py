"""The database: schema, migrations, writes in one thread, reads in others. The only file with SQL.

SQLite in WAL mode with synchronous=FULL; writes are BEGIN IMMEDIATE, because a deferred transaction that turns from
reading to writing fails at once under load and busy_timeout does not help it.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import peewee

from appliance.exchange import Key
from appliance.permissions import Scope

T = TypeVar("T")

SCHEMA_VERSION = 1
READERS = 4
_PRAGMAS = {"journal_mode": "wal", "synchronous": "full", "busy_timeout": 5000, "foreign_keys": 1, "cache_size": -16384}

_database = peewee.Proxy()


class _Table(peewee.Model):
    class Meta:
        database = _database


class MetaRow(_Table):
    name = peewee.CharField(primary_key=True)
    value = peewee.TextField()

    class Meta:
        table_name = "meta"


class ApiKeyRow(_Table):
    id = peewee.CharField(primary_key=True)
    digest = peewee.CharField(unique=True)
    user_id = peewee.CharField(index=True)
    name = peewee.TextField()
    prefix = peewee.CharField()
    created_unix = peewee.DoubleField()
    expires_unix = peewee.DoubleField(null=True)
    revoked_unix = peewee.DoubleField(null=True)

    class Meta:
        table_name = "api_keys"


class UsageRow(_Table):
    """One finished call. `seq` rises with every row, so a cursor over it stays right while rows arrive."""

    seq = peewee.AutoField()
    id = peewee.CharField(unique=True)
    request_id = peewee.CharField(index=True)
    created_ms = peewee.BigIntegerField(index=True)
    partner_id = peewee.CharField()
    tenant_id = peewee.CharField()
    user_id = peewee.CharField()
    key_id = peewee.CharField()
    model = peewee.CharField()
    backend_id = peewee.CharField()
    provider = peewee.CharField()
    surface = peewee.CharField()
    operation = peewee.CharField()
    stream = peewee.BooleanField()
    status = peewee.CharField()
    estimated = peewee.BooleanField()
    input_tokens = peewee.BigIntegerField()
    output_tokens = peewee.BigIntegerField()
    cached_input_tokens = peewee.BigIntegerField()
    cache_write_tokens = peewee.BigIntegerField()
    reasoning_tokens = peewee.BigIntegerField()
    cost_nano = peewee.BigIntegerField()
    backend_cost_nano = peewee.BigIntegerField()
    latency_ms = peewee.IntegerField()
    ttft_ms = peewee.IntegerField(null=True)
    finish_reason = peewee.CharField()
    error_code = peewee.CharField()
    attempts = peewee.TextField()
    price = peewee.TextField()
    metadata = peewee.TextField(null=True)

    class Meta:
        table_name = "usage"
        indexes = ((("tenant_id", "created_ms"), False), (("user_id", "created_ms"), False))


_USAGE_FIELDS = tuple(name for name in UsageRow._meta.sorted_field_names if name != "seq")
_EMPTY_USAGE: dict[str, Any] = {
    name: None if field.null else "" if isinstance(field, peewee.CharField | peewee.TextField) else 0
    for name, field in UsageRow._meta.fields.items()
}
"""What a column holds that an older journal does not know."""

# Only a row that is there already is passed over; OR IGNORE would also swallow one that breaks a rule of the table.
_INSERT_USAGE = (
    f"INSERT INTO usage ({', '.join(_USAGE_FIELDS)}) VALUES ({', '.join('?' * len(_USAGE_FIELDS))}) "
    "ON CONFLICT(id) DO NOTHING"
)

GROUPS: dict[str, Any] = {
    "model": UsageRow.model,
    "user": UsageRow.user_id,
    "backend": UsageRow.backend_id,
    "tenant": UsageRow.tenant_id,
    "key": UsageRow.key_id,
    "day": peewee.fn.strftime("%Y-%m-%d", UsageRow.created_ms / 1000, "unixepoch"),
}


class SchemaMismatch(Exception):
    """The database was written by another version than this one can serve."""


class UsageFilter(msgspec.Struct):
    """Which rows: a scope of the caller's, narrowed by the query. Times are Unix milliseconds, end exclusive."""

    scope: Scope
    start_ms: int | None = None
    end_ms: int | None = None
    tenant_id: str = ""
    user_id: str = ""
    model: str = ""
    backend_id: str = ""
    status: str = ""
    request_id: str = ""


class Store:
    """One writer thread, a few reader threads; the event loop only waits for futures."""

    def __init__(self, path: Path) -> None:
        self._database = peewee.SqliteDatabase(str(path), pragmas=_PRAGMAS)
        _database.initialize(self._database)
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
            if found < SCHEMA_VERSION:
                self._database.create_tables([ApiKeyRow, UsageRow])
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

    # -- usage --

    def add_usage(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert finished calls; a row that is already there (by id) is left alone, so a replay books nothing twice."""
        values = [tuple(row.get(name, _EMPTY_USAGE[name]) for name in _USAGE_FIELDS) for row in rows]
        connection: sqlite3.Connection = self._database.connection()  # type: ignore[no-untyped-call]
        connection.executemany(_INSERT_USAGE, values)

    async def usage(self, where: UsageFilter, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Rows, newest first, with their `seq`."""

        def work() -> list[dict[str, Any]]:
            query = UsageRow.select().where(*_conditions(where)).order_by(UsageRow.seq.desc()).limit(limit)
            if before_seq is not None:
                query = query.where(UsageRow.seq < before_seq)
            return _rows(query)

        return await self.read(work)

    async def usage_summary(self, where: UsageFilter, group_by: str) -> list[dict[str, Any]]:
        key = GROUPS[group_by]
        total = peewee.fn.SUM

        def work() -> list[dict[str, Any]]:
            query = (
                UsageRow.select(
                    key.alias("group_key"),
                    peewee.fn.COUNT(UsageRow.seq).alias("request_count"),
                    total(UsageRow.input_tokens).alias("input_tokens"),
                    total(UsageRow.output_tokens).alias("output_tokens"),
                    total(UsageRow.cost_nano).alias("cost_nano"),
                    total(UsageRow.backend_cost_nano).alias("backend_cost_nano"),
                )
                .where(*_conditions(where))
                .group_by(key)
                .order_by(total(UsageRow.cost_nano).desc(), key)
            )
            return _rows(query)

        return await self.read(work)

    # -- keys --

    def keys(self) -> list[Key]:
        """All keys made at run time, revoked ones too. Called once, at start."""
        with self._database.connection_context():
            return [Key(**row) for row in _rows(ApiKeyRow.select())]

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


def _rows(query: Any) -> list[dict[str, Any]]:
    return list(query.dicts())


def _conditions(where: UsageFilter) -> list[Any]:
    wanted = [
        (UsageRow.partner_id, where.scope.partner_id),
        (UsageRow.tenant_id, where.scope.tenant_id),
        (UsageRow.user_id, where.scope.user_id),
        (UsageRow.tenant_id, where.tenant_id),
        (UsageRow.user_id, where.user_id),
        (UsageRow.model, where.model),
        (UsageRow.backend_id, where.backend_id),
        (UsageRow.status, where.status),
        (UsageRow.request_id, where.request_id),
    ]
    conditions: list[Any] = [column == value for column, value in wanted if value]
    if where.start_ms is not None:
        conditions.append(UsageRow.created_ms >= where.start_ms)
    if where.end_ms is not None:
        conditions.append(UsageRow.created_ms < where.end_ms)
    return conditions or [UsageRow.seq > 0]
