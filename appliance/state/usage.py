"""Usage rows in the database: storing, listing, summing up. The sums themselves are made in rollup.py."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import peewee

from appliance.permissions import Scope
from appliance.state import rollup
from appliance.state.budgets import BudgetStore
from appliance.state.ledger import Amount
from appliance.state.periods import NEVER_MS
from appliance.state.rollup import Condition, Span
from appliance.state.store import Store, rows_of
from appliance.state.tables import UsageRow, database

CHUNK_ROWS = 500
"""Rows that an export holds in memory at a time."""

_USAGE_FIELDS = tuple(name for name in UsageRow._meta.sorted_field_names if name != "seq")
_EMPTY_USAGE: dict[str, Any] = {
    name: None if field.null else "" if isinstance(field, peewee.CharField | peewee.TextField) else 0
    for name, field in UsageRow._meta.fields.items()
} | {"charged": 1}
"""What a column holds that an older journal does not know."""

# Only a row that is there already is passed over; OR IGNORE would also swallow one that breaks a rule of the table.
_INSERT_USAGE = (
    f"INSERT INTO usage ({', '.join(_USAGE_FIELDS)}) VALUES ({', '.join('?' * len(_USAGE_FIELDS))}) "
    "ON CONFLICT(id) DO NOTHING"
)
_SUBJECTS = {"partner": "partner_id", "tenant": "tenant_id", "user": "user_id", "key": "key_id"}


class UsageFilter(msgspec.Struct):
    """Which rows: a scope of the caller's, narrowed by the query. Times are Unix milliseconds, end exclusive."""

    scope: Scope
    start_ms: int | None = None
    end_ms: int | None = None
    tenant_id: str = ""
    user_id: str = ""
    key_id: str = ""
    model: str = ""
    backend_id: str = ""
    status: str = ""
    request_id: str = ""


class UsageStore:
    """Also the door to the budgets that are kept beside the rows."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.budgets = BudgetStore(store)
        store.write(rollup.rebuild).result()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Insert finished calls, in the writer's transaction. A row that is already there (by id) is left alone and
        not summed again, so a replay books nothing twice."""
        values = [tuple(row.get(name, _EMPTY_USAGE[name]) for name in _USAGE_FIELDS) for row in rows]
        connection: sqlite3.Connection = database.connection()
        (known,) = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM usage").fetchone()
        connection.executemany(_INSERT_USAGE, values)
        rollup.add(connection, known)

    async def rows(self, where: UsageFilter, limit: int, before_seq: int | None) -> list[dict[str, Any]]:
        """Rows, newest first, with their `seq`."""

        def work() -> list[dict[str, Any]]:
            query = UsageRow.select().where(*_conditions(where)).order_by(UsageRow.seq.desc()).limit(limit)
            if before_seq is not None:
                query = query.where(UsageRow.seq < before_seq)
            if not (where.scope.user_id or where.user_id or where.request_id):  # one person's rows are found faster
                after, last = _seq_bounds(where)
                query = query.from_(_IN_ORDER).where(UsageRow.seq > after, UsageRow.seq <= last)
            return rows_of(query)

        return await self._store.read(work)

    async def chunks(self, where: UsageFilter) -> AsyncIterator[list[dict[str, Any]]]:
        """All rows that were there when it began, oldest first, so many at a time; each chunk is a read of its own."""
        after, last = await self._store.read(lambda: _seq_bounds(where))
        while after < last:
            chunk = await self._store.read(lambda begin=after: _chunk(where, begin, last))  # type: ignore[misc]
            if not chunk:
                return
            yield chunk
            after = chunk[-1]["seq"]

    async def summary(self, where: UsageFilter, group_by: str) -> list[dict[str, Any]]:
        """Sums by group, the dearest first; days in their order."""

        def work() -> list[dict[str, Any]]:
            conditions = _shared(where)
            start_ms, end_ms = where.start_ms or 0, NEVER_MS if where.end_ms is None else where.end_ms
            with database.atomic():
                if where.request_id:
                    conditions.append(Condition("request_id", where.request_id))
                    found = rollup.of_rows(conditions, Span(0, start_ms, end_ms), group_by)
                else:
                    found = rollup.sums(conditions, start_ms, end_ms, group_by)
            groups = [{"group_key": key} | dict(zip(rollup.SUMS, values, strict=True)) for key, values in found.items()]
            if group_by == "day":
                groups.sort(key=lambda group: group["group_key"])
                return [group | {"group_key": _day(group["group_key"])} for group in groups]
            return sorted(groups, key=lambda group: (-group["cost_nano"], group["group_key"]))

        return await self._store.read(work)

    # -- what balances are made of --

    def highest_entry(self) -> int:
        """Called once, at start, after the journal's replay."""
        with database.connection_context():
            return int(UsageRow.select(peewee.fn.MAX(UsageRow.entry)).scalar() or 0)

    def used(self, subject: str, start_ms: int, end_ms: int, before_entry: int) -> Amount:
        """What a budget's subject used in a period, by the calls with lower entries. At start, or in a reader thread.

        Rollups know no entries. So everything is summed, and what was posted since is taken off again: in one
        transaction both see the same rows, so the rest is exact.
        """
        conditions = of_subject(subject)
        with database.atomic():
            total = rollup.sums(conditions, start_ms, end_ms).get("")
            late = rollup.of_rows(conditions, Span(0, start_ms, end_ms), from_entry=before_entry).get("")
        return _amount(total, late)

    async def used_by_now(self, subject: str, start_ms: int, end_ms: int, before_entry: int) -> Amount:
        return await self._store.read(lambda: self.used(subject, start_ms, end_ms, before_entry))

    async def recount(self, periods: Sequence[tuple[str, int, int]], before_entry: int) -> list[Amount]:
        """What `used` should say for each (subject, start, end), by the rows; by rollups only where rows are pruned."""

        def work() -> list[Amount]:
            with database.atomic():
                return [_recounted(*period, before_entry) for period in periods]

        return await self._store.read(work)

    async def differences(self, scope: Scope) -> list[tuple[str, str, int, int]]:
        """Where rollups and rows disagree: (day, name of the sum, kept, by the rows)."""

        def work() -> list[tuple[str, str, int, int]]:
            with database.atomic():
                found = rollup.differences(_shared(UsageFilter(scope)))
            return [(_day(day), name, kept, rows) for day, name, kept, rows in found]

        return await self._store.read(work)


def of_subject(subject: str) -> list[Condition]:
    scope, _, rest = subject.partition(":")
    if scope == "group":
        tenant_id, _, group = rest.partition(":")
        return [Condition("tenant_id", tenant_id), Condition("groups", f"*|{group}|*", "GLOB")]
    return [Condition(_SUBJECTS[scope], rest)]


def _recounted(subject: str, start_ms: int, end_ms: int, before_entry: int) -> Amount:
    conditions = of_subject(subject)
    kept_from = min(max(start_ms, rollup.pruned_before_ms()), end_ms)
    pruned = rollup.sums(conditions, start_ms, kept_from).get("") if start_ms < kept_from else None
    by_rows = rollup.of_rows(conditions, Span(0, kept_from, end_ms)).get("")
    late = rollup.of_rows(conditions, Span(0, kept_from, end_ms), from_entry=before_entry).get("")
    total = rollup.plus(pruned, by_rows) if pruned and by_rows else pruned or by_rows
    return _amount(total, late)


def _amount(total: rollup.Sums | None, late: rollup.Sums | None) -> Amount:
    all_of_it, off = (dict(zip(rollup.SUMS, sums or (0,) * len(rollup.SUMS), strict=True)) for sums in (total, late))
    left = {name: all_of_it[name] - off[name] for name in rollup.SUMS}
    return Amount(left["cost_nano"], left["input_tokens"] + left["output_tokens"], left["charged"])


def _wanted(where: UsageFilter) -> list[tuple[str, str]]:
    pairs = [
        ("partner_id", where.scope.partner_id),
        ("tenant_id", where.scope.tenant_id),
        ("user_id", where.scope.user_id),
        ("tenant_id", where.tenant_id),
        ("user_id", where.user_id),
        ("key_id", where.key_id),
        ("model", where.model),
        ("backend_id", where.backend_id),
        ("status", where.status),
    ]
    return [(name, value) for name, value in pairs if value]


def _shared(where: UsageFilter) -> list[Condition]:
    """The conditions that rollups can answer too."""
    return [Condition(name, value) for name, value in _wanted(where)]


def _conditions(where: UsageFilter) -> list[Any]:
    conditions: list[Any] = [getattr(UsageRow, name) == value for name, value in _wanted(where)]
    if where.request_id:
        conditions.append(UsageRow.request_id == where.request_id)
    if where.start_ms is not None:
        conditions.append(UsageRow.created_ms >= where.start_ms)
    if where.end_ms is not None:
        conditions.append(UsageRow.created_ms < where.end_ms)
    return conditions or [UsageRow.seq > 0]


# The rows' own order: what any other index finds would be sorted anew for every page.
_IN_ORDER = peewee.SQL('"usage" AS "t1" NOT INDEXED')


def _seq_bounds(where: UsageFilter) -> tuple[int, int]:
    """(the number before the first row of the time, the last one's): rows lie nearly in the order of their times."""
    if where.start_ms is None and where.end_ms is None:
        return 0, UsageRow.select(peewee.fn.MAX(UsageRow.seq)).scalar() or 0
    timed = _conditions(UsageFilter(Scope(), start_ms=where.start_ms, end_ms=where.end_ms))
    numbers = UsageRow.select(peewee.fn.MIN(UsageRow.seq), peewee.fn.MAX(UsageRow.seq)).where(*timed)
    first, last = numbers.scalar(as_tuple=True)
    return (first - 1, last) if first else (0, 0)


def _chunk(where: UsageFilter, after: int, last: int) -> list[dict[str, Any]]:
    numbered = (UsageRow.seq > after) & (UsageRow.seq <= last)
    query = UsageRow.select().from_(_IN_ORDER).where(numbered, *_conditions(where))
    return rows_of(query.order_by(UsageRow.seq).limit(CHUNK_ROWS))


def _day(number: int) -> str:
    return datetime.fromtimestamp(number * rollup.DAY_MS / 1000, UTC).strftime("%Y-%m-%d")
