"""Sums of usage rows, kept per quarter of an hour and per day of UTC, so that a million rows need not be read again.

A rollup is written in the transaction that stores its rows, from those rows only, so a replay cannot count twice. A
span of time is covered by whole days, whole quarters around them, and single rows at its ragged edges: each row is in
exactly one of these parts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from appliance.state.periods import NEVER_MS
from appliance.state.tables import MetaRow, database

QUARTER_MS = 900_000
"""Every time zone of today has its midnight on a quarter of an hour, so a budget's period has no ragged edges."""
DAY_MS = 86_400_000

SUMS = (
    "requests",
    "charged",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_nano",
    "backend_cost_nano",
    "estimated",
    "failed",
)
Sums = tuple[int, ...]
"""In the order of SUMS."""

KEYS = {"model": "model", "user": "user_id", "backend": "backend_id", "tenant": "tenant_id", "key": "key_id"}
GROUPS = (*KEYS, "day")
"""What sums may be grouped by."""

_NAMES = ("partner_id", "tenant_id", "user_id", "key_id", "groups", "model", "backend_id", "status")
_OF_ROW = {"requests": "1", "failed": "usage.status = 'failed'"}
_ROW_SUMS = ", ".join(f"SUM({_OF_ROW.get(name, name)})" for name in SUMS)
_ROLLUP_SUMS = ", ".join(f"SUM({name})" for name in SUMS)
_PRUNED = "usage_pruned_before_ms"

_ADD_SERIES = (
    f"INSERT INTO usage_series ({', '.join(_NAMES)}) SELECT DISTINCT {', '.join(_NAMES)} FROM usage WHERE seq > ? "
    f"ON CONFLICT ({', '.join(_NAMES)}) DO NOTHING"
)
_ADD_ROLLUPS = (
    f"INSERT INTO usage_rollups (series_id, width_ms, start_ms, {', '.join(SUMS)}) "
    "SELECT s.id, w.column1, created_ms - created_ms % w.column1, "
    f"{_ROW_SUMS} "
    f"FROM usage CROSS JOIN usage_series s ON {' AND '.join(f's.{name} = usage.{name}' for name in _NAMES)} "
    f"CROSS JOIN (VALUES ({QUARTER_MS}), ({DAY_MS})) w WHERE seq > ? GROUP BY 1, 2, 3 "
    "ON CONFLICT (series_id, width_ms, start_ms) DO UPDATE SET "
    f"{', '.join(f'{name} = {name} + excluded.{name}' for name in SUMS)}"
)


class Condition(NamedTuple):
    """A test on a column that rows and series have in common."""

    column: str
    value: str
    operator: str = "="


class Span(NamedTuple):
    """A part of a time: `width_ms` says whose sums cover it, 0 stands for the rows themselves. The end is exclusive."""

    width_ms: int
    start_ms: int
    end_ms: int


def add(connection: sqlite3.Connection, after_seq: int) -> None:
    """Count the rows with higher numbers, which this transaction has just stored."""
    connection.execute(_ADD_SERIES, (after_seq,))
    connection.execute(_ADD_ROLLUPS, (after_seq,))


def cover(start_ms: int, end_ms: int) -> list[Span]:
    first, last = -(-start_ms // QUARTER_MS) * QUARTER_MS, end_ms // QUARTER_MS * QUARTER_MS
    if first >= last:
        return [Span(0, start_ms, end_ms)] if start_ms < end_ms else []
    first_day, last_day = -(-first // DAY_MS) * DAY_MS, last // DAY_MS * DAY_MS
    if first_day >= last_day:
        middle = [Span(QUARTER_MS, first, last)]
    else:
        middle = [
            Span(QUARTER_MS, first, first_day),
            Span(DAY_MS, first_day, last_day),
            Span(QUARTER_MS, last_day, last),
        ]
    spans = [Span(0, start_ms, first), *middle, Span(0, last, end_ms)]
    return [span for span in spans if span.start_ms < span.end_ms]


def sums(conditions: Sequence[Condition], start_ms: int, end_ms: int, group_by: str = "") -> dict[Any, Sums]:
    """Sums by group; days are numbers since 1970. To be called inside one transaction, so that all parts agree.

    Where rows have been pruned, start and end are rounded down to the quarter: there is nothing finer left.
    """
    pruned_ms = pruned_before_ms()
    start_ms, end_ms = (_floor(bound) if bound < pruned_ms else bound for bound in (start_ms, end_ms))
    found: dict[Any, Sums] = {}
    for span in cover(start_ms, end_ms):
        part = _of_rollups(conditions, span, group_by) if span.width_ms else of_rows(conditions, span, group_by)
        for key, values in part.items():
            found[key] = plus(found[key], values) if key in found else values
    return found


def plus(left: Sums, right: Sums) -> Sums:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def of_rows(
    conditions: Sequence[Condition], span: Span, group_by: str = "", from_entry: int | None = None
) -> dict[Any, Sums]:
    """The same by the rows alone. `from_entry`: only those with such an entry or a higher one."""
    key = "created_ms / 86400000" if group_by == "day" else KEYS.get(group_by, "''")
    tests = [*_tests(conditions), "created_ms >= ?", "created_ms < ?"]
    values: list[Any] = [*(condition.value for condition in conditions), span.start_ms, span.end_ms]
    if from_entry is not None:
        # The plus signs keep SQLite off the other indexes: rows of such late entries are few.
        tests = [*(f"+{test}" for test in tests), "entry >= ?"]
        values.append(from_entry)
    return _grouped(f"SELECT {key}, {_ROW_SUMS} FROM usage WHERE {' AND '.join(tests)} GROUP BY 1", values)


def _of_rollups(conditions: Sequence[Condition], span: Span, group_by: str) -> dict[Any, Sums]:
    """Series by series, which is the order they lie in; only the sums of each series are sorted into groups."""
    chosen = " AND ".join(_tests(conditions)) or "1"
    inner = "start_ms / 86400000" if group_by == "day" else "series_id"
    query = (
        f"SELECT {inner} AS part, {', '.join(f'SUM({name}) AS {name}' for name in SUMS)} FROM usage_rollups "
        f"WHERE series_id IN (SELECT id FROM usage_series WHERE {chosen}) "
        "AND width_ms = ? AND start_ms >= ? AND start_ms < ? GROUP BY 1"
    )
    if group_by in KEYS:
        query = f"SELECT d.{KEYS[group_by]}, {_ROLLUP_SUMS} FROM ({query}) s JOIN usage_series d ON d.id = part GROUP BY 1"
    elif group_by != "day":
        query = f"SELECT '', {_ROLLUP_SUMS} FROM ({query})"
    return _grouped(query, [*(condition.value for condition in conditions), *span])


def _tests(conditions: Sequence[Condition]) -> list[str]:
    return [f"{condition.column} {condition.operator} ?" for condition in conditions]


def _grouped(query: str, values: Sequence[Any]) -> dict[Any, Sums]:
    rows = database.execute_sql(query, values).fetchall()
    return {key: tuple(found) for key, *found in rows if found[0]}


def differences(conditions: Sequence[Condition]) -> list[tuple[int, str, int, int]]:
    """Where rollups and rows disagree: (day since 1970, name of the sum, kept, by the rows)."""
    first = -(-pruned_before_ms() // DAY_MS) * DAY_MS
    by_rows = of_rows(conditions, Span(0, first, NEVER_MS), "day")
    found: list[tuple[int, str, int, int]] = []
    for width_ms in (QUARTER_MS, DAY_MS):
        kept = _of_rollups(conditions, Span(width_ms, first, NEVER_MS), "day")
        nothing = (0,) * len(SUMS)
        for day in sorted(kept.keys() | by_rows.keys()):
            pairs = zip(SUMS, kept.get(day, nothing), by_rows.get(day, nothing), strict=True)
            found += [(day, name, left, right) for name, left, right in pairs if left != right]
    return found


def pruned_before_ms() -> int:
    """Rows of earlier calls have been deleted; only their rollups are left."""
    row = MetaRow.get_or_none(MetaRow.name == _PRUNED)
    return int(row.value) if row else 0


def note_pruned(before_ms: int) -> None:
    """In the writer's thread, before the first row goes."""
    mark = max(before_ms, pruned_before_ms())
    MetaRow.insert(name=_PRUNED, value=str(mark)).on_conflict_replace().execute()


def _floor(moment_ms: int) -> int:
    return moment_ms // QUARTER_MS * QUARTER_MS
