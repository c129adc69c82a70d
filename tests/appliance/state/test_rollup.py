"""Rollups: whatever is asked, they say what the rows say; a replay counts nothing twice; a wrong sum is found."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.permissions import Scope
from appliance.state import rollup
from appliance.state.periods import NEVER_MS
from appliance.state.rollup import DAY_MS, GROUPS, KEYS, QUARTER_MS, SUMS, WIDTHS_MS, cover
from appliance.state.store import Store
from appliance.state.tables import RollupRow, SeriesRow, database
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

ALL = UsageFilter(scope=Scope())
START_MS = 1_700_000_000_000 // WIDTHS_MS[-1] * WIDTHS_MS[-1]


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[UsageStore]:
    store = Store(tmp_path / "scaigrid.db")
    yield UsageStore(store)
    store.close()


def add(usage: UsageStore, *rows: dict[str, Any]) -> None:
    usage._store.write(lambda: usage.add(rows)).result(10)


def execute(usage: UsageStore, statement: str) -> None:
    usage._store.write(lambda: database.execute_sql(statement)).result(10)


# -- which spans cover a time -----------------------------------------------------------------------------------------

MOMENTS = st.integers(0, 60 * DAY_MS) | st.integers(0, 60 * 96).map(lambda quarters: quarters * QUARTER_MS)


@given(MOMENTS, MOMENTS)
def test_spans_cover_a_time_once_and_each_lies_on_its_grid(start_ms: int, end_ms: int) -> None:
    spans = cover(start_ms, end_ms, WIDTHS_MS)
    at = start_ms
    for span in spans:
        assert span.start_ms == at
        assert span.start_ms < span.end_ms
        if span.width_ms:
            assert span.start_ms % span.width_ms == span.end_ms % span.width_ms == 0
        else:
            assert span.end_ms - span.start_ms < 2 * QUARTER_MS, "rows are read at the ragged edges only"
        at = span.end_ms
    assert at == max(start_ms, end_ms) or not spans


def test_a_time_on_the_grid_needs_no_rows() -> None:
    spans = cover(QUARTER_MS, 40 * DAY_MS + QUARTER_MS, WIDTHS_MS)
    assert [span.width_ms for span in spans] == [WIDTHS_MS[n] for n in (0, 1, 2, 3, 2, 0)]


# -- the same as the rows ---------------------------------------------------------------------------------------------

NAMES = {
    "partner_id": ["p", "q"],
    "tenant_id": ["t", "u"],
    "user_id": ["t:a", "t:b"],
    "key_id": ["k", "l"],
    "model": ["m", "n"],
    "backend_id": ["x:1", "y:2"],
    "status": ["completed", "failed"],
    "groups": ["", "|g|", "|g|h|"],
}
CALLS = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in NAMES.items()}
    | {
        "created_ms": MOMENTS.map(lambda moment: START_MS + moment),
        "cost_nano": st.integers(0, 10**15),
        "input_tokens": st.integers(0, 10**9),
        "estimated": st.booleans(),
        "charged": st.integers(0, 1),
    }
)
BOUNDS = st.none() | MOMENTS.map(lambda moment: START_MS + moment)
FILTERED = ("tenant_id", "user_id", "key_id", "model", "backend_id", "status")
FILTERS = st.fixed_dictionaries(
    {name: st.sampled_from(["", "", *NAMES[name]]) for name in FILTERED} | {"start_ms": BOUNDS, "end_ms": BOUNDS}
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CALLS, max_size=25), st.lists(FILTERS, min_size=1, max_size=4), st.integers(1, 8))
def test_summaries_say_what_the_rows_say(
    usage: UsageStore, calls: list[dict[str, Any]], filters: list[dict[str, Any]], batch: int
) -> None:
    for table in ("usage", "usage_series", "usage_rollups"):
        execute(usage, f"DELETE FROM {table}")
    rows = [usage_row(f"u{number}") | call for number, call in enumerate(calls)]
    for first in range(0, len(rows), batch):
        add(usage, *rows[max(0, first - 1) : first + batch])  # the last one of the batch before comes once more
    for chosen in filters:
        where = UsageFilter(scope=Scope(), **chosen)
        kept = [row for row in rows if _passes(row, chosen)]
        for group_by in GROUPS:
            found = asyncio.run(usage.summary(where, group_by))
            assert {group["group_key"]: [group[name] for name in SUMS] for group in found} == _summed(kept, group_by)
    assert asyncio.run(usage.differences(Scope())) == []


def _passes(row: dict[str, Any], chosen: dict[str, Any]) -> bool:
    start_ms, end_ms = chosen["start_ms"], chosen["end_ms"]
    return (
        all(chosen[name] in ("", row[name]) for name in FILTERED)
        and (start_ms is None or row["created_ms"] >= start_ms)
        and (end_ms is None or row["created_ms"] < end_ms)
    )


def _summed(rows: list[dict[str, Any]], group_by: str) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        key = str(row[KEYS[group_by]] if group_by in KEYS else _day(row["created_ms"]))
        sums = found.setdefault(key, [0] * len(SUMS))
        counted = row | {"requests": 1, "failed": row["status"] == "failed"}
        found[key] = [total + int(counted[name]) for total, name in zip(sums, SUMS, strict=True)]
    return found


def _day(created_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(created_ms / 1000, UTC).date().isoformat()


# -- exactly once -----------------------------------------------------------------------------------------------------


async def test_a_replay_counts_nothing_twice(usage: UsageStore) -> None:
    rows = [usage_row(f"u{number}") for number in range(3)]
    add(usage, *rows)
    add(usage, *rows, usage_row("u3"))
    add(usage, usage_row("u4"), usage_row("u4"))
    (group,) = await usage.summary(ALL, "model")
    assert group["requests"] == 5


async def test_a_batch_that_fails_leaves_no_sums(usage: UsageStore) -> None:
    with pytest.raises(Exception, match="NOT NULL"):
        add(usage, usage_row("u1"), usage_row("u2", model=None))
    assert await usage.summary(ALL, "model") == []
    add(usage, usage_row("u1"))
    assert (await usage.summary(ALL, "model"))[0]["requests"] == 1


async def test_calls_that_are_alike_share_their_rollups(usage: UsageStore) -> None:
    add(usage, *(usage_row(f"u{number}", latency_ms=number) for number in range(100)))
    counts = await usage._store.read(lambda: (SeriesRow.select().count(), RollupRow.select().count()))
    assert counts == (3, 3 * len(WIDTHS_MS))


async def test_a_database_without_rollups_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    """As one of an older version has none."""
    store = Store(tmp_path / "old.db")
    usage = UsageStore(store)
    add(usage, *(usage_row(f"u{number}", user_id=f"acme:{number % 3}") for number in range(30)))
    before = await usage.summary(ALL, "user")
    execute(usage, "DELETE FROM usage_rollups")
    execute(usage, "DELETE FROM usage_series")
    store.close()
    store = Store(tmp_path / "old.db")
    usage = UsageStore(store)
    assert await usage.summary(ALL, "user") == before
    assert await usage.differences(Scope()) == []
    UsageStore(store)
    assert await usage.summary(ALL, "user") == before, "once is enough"
    store.close()


# -- what is wrong is found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        "UPDATE usage_rollups SET cost_nano = cost_nano + 1 WHERE width_ms = 900000",
        "UPDATE usage SET cost_nano = cost_nano - 1 WHERE id = 'b'",
        "DELETE FROM usage_rollups WHERE width_ms = 86400000",
        "DELETE FROM usage WHERE id = 'a'",
    ],
)
async def test_a_sum_that_is_wrong_is_named_with_its_day(usage: UsageStore, fault: str) -> None:
    add(usage, usage_row("a"), usage_row("b", user_id="acme:bob"))
    assert await usage.differences(Scope()) == []
    execute(usage, fault)
    found = await usage.differences(Scope())
    assert {day for day, *_ in found} == {"2023-11-14"}
    assert "cost_nano" in {name for _, name, *_ in found}
    assert all(kept != by_rows for *_, kept, by_rows in found)
    assert await usage.differences(Scope("somebody else")) == []


# -- pruned times -----------------------------------------------------------------------------------------------------


async def test_where_rows_are_gone_bounds_are_rounded_to_the_quarter(usage: UsageStore) -> None:
    quarter = 1_700_000_000_000 // QUARTER_MS * QUARTER_MS
    add(usage, usage_row("a", created_ms=quarter + 5), usage_row("b", created_ms=quarter + QUARTER_MS + 5))
    middle = UsageFilter(scope=Scope(), start_ms=quarter + 6, end_ms=quarter + QUARTER_MS + 1)
    assert await usage.summary(middle, "model") == []
    usage._store.write(lambda: rollup.note_pruned(quarter + 2 * QUARTER_MS)).result(10)
    execute(usage, "DELETE FROM usage")
    (group,) = await usage.summary(middle, "model")
    assert group["requests"] == 1
    (group,) = await usage.summary(UsageFilter(scope=Scope(), end_ms=NEVER_MS), "model")
    assert group["requests"] == 2
    assert await usage.differences(Scope()) == [], "what is gone cannot be compared"


async def test_the_mark_of_what_was_pruned_never_goes_back(usage: UsageStore) -> None:
    for mark in (2000, 1000):
        usage._store.write(lambda mark=mark: rollup.note_pruned(mark)).result(10)  # type: ignore[misc]
    assert await usage._store.read(rollup.pruned_before_ms) == 2000
