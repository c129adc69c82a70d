"""Sums of usage rows, kept for spans from a quarter of an hour to a fortnight: a million rows need not be read again.

A rollup is written in the transaction that stores its rows, from those rows only, so a replay cannot count twice. A
span of time is covered by the widest spans that fit, narrower ones around them, and single rows at the ragged edges:
each row is in exactly one of these parts.
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
"""Of UTC."""
WIDTHS_MS = (QUARTER_MS, DAY_MS // 4, DAY_MS, 14 * DAY_MS)

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


class Cube(NamedTuple):
    """A set of series that tell calls apart by these columns only; the others are left empty in them.

    Who called and what was called multiply. Most questions are about one of the two, and then the small cubes answer.
    """

    number: int
    columns: tuple[str, ...]


_EVERYTHING = ("partner_id", "tenant_id", "user_id", "key_id", "groups", "model", "backend_id", "status")
CUBES = (
    Cube(1, ("partner_id", "tenant_id", "model", "backend_id", "status")),
    Cube(2, ("partner_id", "tenant_id", "user_id", "key_id", "groups", "status")),
    Cube(3, _EVERYTHING),
)
"""The smallest first."""

_OF_ROW = {"requests": "1", "failed": "status = 'failed'"}
_ROW_SUMS = ", ".join(f"SUM({_OF_ROW.get(name, name)})" for name in SUMS)
_SUMS = ", ".join(f"SUM({name})" for name in SUMS)
_PRUNED = "usage_pruned_before_ms"


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


# -- writing ----------------------------------------------------------------------------------------------------------


def add(connection: sqlite3.Connection, after_seq: int) -> None:
    """Count the rows with higher numbers, which this transaction has just stored."""
    for statement in _PREPARE:
        connection.execute(statement)
    connection.execute(_COLLECT, (after_seq,))
    for statement in _ADD:
        connection.execute(statement)


def rebuild() -> None:
    """Fill empty rollups from the rows: for a database of a version that had none. In the writer's transaction."""
    connection: sqlite3.Connection = database.connection()
    (has_rollups,) = connection.execute("SELECT EXISTS (SELECT 1 FROM usage_series)").fetchone()
    if not has_rollups:
        add(connection, 0)


_PREPARE = (
    f"CREATE TEMP TABLE IF NOT EXISTS fresh ({', '.join((*_EVERYTHING, 'start_ms', *SUMS))})",
    "DELETE FROM fresh",
)
# Rows of one moment are much alike: they are added up first, and what is left is a few.
_COLLECT = (
    f"INSERT INTO fresh SELECT {', '.join(_EVERYTHING)}, created_ms - created_ms % {QUARTER_MS}, {_ROW_SUMS} "
    f"FROM usage WHERE seq > ? GROUP BY {', '.join(str(n + 1) for n in range(len(_EVERYTHING) + 1))}"
)


def _add_series(cube: Cube) -> str:
    values = ", ".join(name if name in cube.columns else "''" for name in _EVERYTHING)
    return (
        f"INSERT INTO usage_series (cube, {', '.join(_EVERYTHING)}) SELECT DISTINCT {cube.number}, {values} "
        f"FROM fresh WHERE 1 ON CONFLICT (cube, {', '.join(_EVERYTHING)}) DO NOTHING"
    )


def _add_rollups(cube: Cube) -> str:
    same = " AND ".join(f"s.{name} = {f'f.{name}' if name in cube.columns else repr('')}" for name in _EVERYTHING)
    return (
        f"INSERT INTO usage_rollups (series_id, width_ms, start_ms, {', '.join(SUMS)}) "
        f"SELECT s.id, w.column1, start_ms - start_ms % w.column1, {_SUMS} "
        f"FROM fresh f CROSS JOIN usage_series s ON s.cube = {cube.number} AND {same} "
        f"CROSS JOIN (VALUES {', '.join(f'({width})' for width in WIDTHS_MS)}) w WHERE 1 GROUP BY 1, 2, 3 "
        "ON CONFLICT (series_id, width_ms, start_ms) DO UPDATE SET "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
    )


_ADD = tuple(make(cube) for cube in CUBES for make in (_add_series, _add_rollups))


# -- reading ----------------------------------------------------------------------------------------------------------


def sums(conditions: Sequence[Condition], start_ms: int, end_ms: int, group_by: str = "") -> dict[Any, Sums]:
    """Sums by group; days are numbers since 1970. To be called inside one transaction, so that all parts agree.

    Where rows have been pruned, start and end are rounded down to the quarter: there is nothing finer left.
    """
    pruned_ms = pruned_before_ms()
    start_ms, end_ms = (_floor(bound) if bound < pruned_ms else bound for bound in (start_ms, end_ms))
    cube = _cube(conditions, group_by)
    widths_ms = [width for width in WIDTHS_MS if group_by != "day" or width <= DAY_MS]
    found: dict[Any, Sums] = {}
    for span in cover(start_ms, end_ms, widths_ms):
        part = _of_cube(cube, conditions, span, group_by) if span.width_ms else of_rows(conditions, span, group_by)
        for key, values in part.items():
            found[key] = plus(found[key], values) if key in found else values
    return found


def plus(left: Sums, right: Sums) -> Sums:
    return tuple(a + b for a, b in zip(left, right, strict=True))


def cover(start_ms: int, end_ms: int, widths_ms: Sequence[int]) -> list[Span]:
    """The spans, in order of time. `widths_ms` ascend, each a multiple of the one before."""
    if start_ms >= end_ms:
        return []
    if not widths_ms:
        return [Span(0, start_ms, end_ms)]
    *narrower, width = widths_ms
    first, last = -(-start_ms // width) * width, end_ms // width * width
    if first >= last:
        return cover(start_ms, end_ms, narrower)
    return [*cover(start_ms, first, narrower), Span(width, first, last), *cover(last, end_ms, narrower)]


def of_rows(
    conditions: Sequence[Condition], span: Span, group_by: str = "", from_entry: int | None = None
) -> dict[Any, Sums]:
    """The same by the rows alone. `from_entry`: only those with such an entry or a higher one."""
    key = f"created_ms / {DAY_MS}" if group_by == "day" else KEYS.get(group_by, "''")
    tests = [*_tests(conditions), "created_ms >= ?", "created_ms < ?"]
    values: list[Any] = [*(condition.value for condition in conditions), span.start_ms, span.end_ms]
    if from_entry is not None:
        # The plus signs keep SQLite off the other indexes: rows of such late entries are few.
        tests = [*(f"+{test}" for test in tests), "entry >= ?"]
        values.append(from_entry)
    return _grouped(f"SELECT {key}, {_ROW_SUMS} FROM usage WHERE {' AND '.join(tests)} GROUP BY 1", values)


def _cube(conditions: Sequence[Condition], group_by: str) -> Cube:
    wanted = {condition.column for condition in conditions} | ({KEYS[group_by]} if group_by in KEYS else set())
    return next(cube for cube in CUBES if wanted <= set(cube.columns))


def _of_cube(cube: Cube, conditions: Sequence[Condition], span: Span, group_by: str) -> dict[Any, Sums]:
    """Series by series, which is the order they lie in; only the sums of each series are sorted into groups."""
    part = f"start_ms / {DAY_MS}" if group_by == "day" else "series_id"
    query = (
        f"SELECT {part} AS part, {', '.join(f'SUM({name}) AS {name}' for name in SUMS)} FROM usage_rollups "
        f"WHERE series_id IN (SELECT id FROM usage_series WHERE {' AND '.join(['cube = ?', *_tests(conditions)])}) "
        "AND width_ms = ? AND start_ms >= ? AND start_ms < ? GROUP BY 1"
    )
    if group_by in KEYS:
        query = f"SELECT s.{KEYS[group_by]}, {_SUMS} FROM ({query}) JOIN usage_series s ON s.id = part GROUP BY 1"
    elif group_by != "day":
        query = f"SELECT '', {_SUMS} FROM ({query})"
    return _grouped(query, [cube.number, *(condition.value for condition in conditions), *span])


def _tests(conditions: Sequence[Condition]) -> list[str]:
    return [f"{condition.column} {condition.operator} ?" for condition in conditions]


def _grouped(query: str, values: Sequence[Any]) -> dict[Any, Sums]:
    rows = database.execute_sql(query, values).fetchall()
    return {key: tuple(found) for key, *found in rows if found[0]}


# -- checking and pruning ---------------------------------------------------------------------------------------------


def differences(conditions: Sequence[Condition]) -> list[tuple[int, str, int, int]]:
    """Where rollups and rows disagree: (day since 1970, name of the sum, kept, by the rows)."""
    first = -(-pruned_before_ms() // DAY_MS) * DAY_MS
    by_rows = of_rows(conditions, Span(0, first, NEVER_MS), "day")
    nothing = (0,) * len(SUMS)
    found: set[tuple[int, str, int, int]] = set()
    for cube, width_ms in ((cube, width) for cube in CUBES for width in WIDTHS_MS if width <= DAY_MS):
        if not {condition.column for condition in conditions} <= set(cube.columns):
            continue
        kept = _of_cube(cube, conditions, Span(width_ms, first, NEVER_MS), "day")
        for day in kept.keys() | by_rows.keys():
            pairs = zip(SUMS, kept.get(day, nothing), by_rows.get(day, nothing), strict=True)
            found |= {(day, name, left, right) for name, left, right in pairs if left != right}
    return sorted(found)


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
