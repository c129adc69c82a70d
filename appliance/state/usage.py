"""Usage rows in the database: storing, listing, summing. SQL lives here, in store.py and in tables.py only."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec
import peewee

from appliance.permissions import Scope
from appliance.state.ledger import Amount
from appliance.state.store import Store, rows_of
from appliance.state.tables import UsageRow, database

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


class UsageStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert finished calls; a row that is already there (by id) is left alone, so a replay books nothing twice."""
        values = [tuple(row.get(name, _EMPTY_USAGE[name]) for name in _USAGE_FIELDS) for row in rows]
        connection: sqlite3.Connection = database.connection()
        connection.executemany(_INSERT_USAGE, values)

    async def rows(self, where: UsageFilter, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Rows, newest first, with their `seq`."""

        def work() -> list[dict[str, Any]]:
            query = UsageRow.select().where(*_conditions(where)).order_by(UsageRow.seq.desc()).limit(limit)
            if before_seq is not None:
                query = query.where(UsageRow.seq < before_seq)
            return rows_of(query)

        return await self._store.read(work)

    async def summary(self, where: UsageFilter, group_by: str) -> list[dict[str, Any]]:
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
            return rows_of(query)

        return await self._store.read(work)

    # -- what balances are made of --

    def highest_entry(self) -> int:
        """Called once, at start, after the journal's replay."""
        with database.connection_context():
            return int(UsageRow.select(peewee.fn.MAX(UsageRow.entry)).scalar() or 0)

    def used(self, subject: str, start_ms: int, end_ms: int, before_entry: int) -> Amount:
        """What a budget's subject used in a period, by the rows with lower entries. Runs in a reader thread."""
        query = UsageRow.select(
            peewee.fn.SUM(UsageRow.cost_nano),
            peewee.fn.SUM(UsageRow.input_tokens + UsageRow.output_tokens),
            peewee.fn.SUM(UsageRow.charged),
        ).where(
            *_of_subject(subject),
            UsageRow.created_ms >= start_ms,
            UsageRow.created_ms < end_ms,
            UsageRow.entry < before_entry,
        )
        cost, tokens, requests = query.scalar(as_tuple=True)
        return Amount(int(cost or 0), int(tokens or 0), int(requests or 0))


def _of_subject(subject: str) -> list[Any]:
    scope, _, rest = subject.partition(":")
    if scope == "group":
        tenant_id, _, group = rest.partition(":")
        return [UsageRow.tenant_id == tenant_id, UsageRow.groups.contains(f"|{group}|")]
    columns = {
        "partner": UsageRow.partner_id,
        "tenant": UsageRow.tenant_id,
        "user": UsageRow.user_id,
        "key": UsageRow.key_id,
    }
    return [columns[scope] == rest]


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
