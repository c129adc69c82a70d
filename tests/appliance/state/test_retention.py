"""Pruning: old rows go in small batches, sums stay, and what a running budget counts is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.limits import Budget
from appliance.permissions import Scope
from appliance.state import retention
from appliance.state.ledger import Ledger
from appliance.state.periods import NEVER_MS
from appliance.state.retention import YOUNGEST_MS, latest_ms, prune
from appliance.state.rollup import QUARTER_MS
from appliance.state.store import Store
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

ALL = UsageFilter(scope=Scope())
START_MS = 1_700_000_000_000 // QUARTER_MS * QUARTER_MS
NOW_MS = START_MS + 100 * 86_400_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "scaigrid.db")
    yield opened
    opened.close()


@pytest.fixture
def usage(store: Store) -> UsageStore:
    """Twenty rows, one a quarter of an hour."""
    usage = UsageStore(store)
    rows = [usage_row(f"u{n}", created_ms=START_MS + n * QUARTER_MS, entry=n + 1) for n in range(20)]
    store.write(lambda: usage.add(rows)).result(10)
    return usage


async def left(usage: UsageStore) -> list[str]:
    return [row["id"] for row in await usage.rows(ALL, 1000, None)]


async def test_old_rows_go_and_every_sum_stays(store: Store, usage: UsageStore) -> None:
    before = {group: await usage.summary(ALL, group) for group in ("model", "user", "day")}
    used = await usage.used_by_now("tenant:acme", 0, NEVER_MS, 1000)
    assert await prune(store, START_MS + 12 * QUARTER_MS) == (12, True)
    assert await left(usage) == [f"u{n}" for n in range(19, 11, -1)]
    assert {group: await usage.summary(ALL, group) for group in before} == before
    assert await usage.used_by_now("tenant:acme", 0, NEVER_MS, 1000) == used
    assert await usage.recount([("tenant:acme", 0, NEVER_MS)], 1000) == [used]


async def test_a_time_inside_a_quarter_keeps_the_whole_quarter(store: Store, usage: UsageStore) -> None:
    assert await prune(store, START_MS + 3 * QUARTER_MS + 77) == (3, True)


async def test_it_goes_in_batches_and_says_whether_more_is_left(
    store: Store, usage: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH_ROWS", 4)
    sizes: list[Any] = []
    write = store.write

    def counted(work: Any) -> Any:
        future = write(work)
        sizes.append(future.result(10))
        return future

    monkeypatch.setattr(store, "write", counted)
    assert await prune(store, START_MS + 10 * QUARTER_MS, max_batches=2) == (8, False)
    assert await prune(store, START_MS + 10 * QUARTER_MS, max_batches=2) == (2, True)
    assert sizes == [None, 4, 4, None, 2]


async def test_new_rows_are_counted_once_after_all_old_ones_are_gone(store: Store, usage: UsageStore) -> None:
    """Numbers of rows begin anew in an empty table."""
    await prune(store, NOW_MS)
    assert await left(usage) == []
    store.write(lambda: usage.add([usage_row("new", created_ms=NOW_MS)])).result(10)
    (group,) = await usage.summary(ALL, "model")
    assert group["requests"] == 21


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        ([], (NOW_MS - YOUNGEST_MS, "")),
        ([Budget("d", "tenant", "tenant:t", "daily", cost_limit=1)], (NOW_MS - YOUNGEST_MS, "")),
        ([Budget("t", "tenant", "tenant:t", "total", cost_limit=1)], (0, "t")),
        (
            [
                Budget("w", "tenant", "tenant:t", "weekly", cost_limit=1),
                Budget("m", "tenant", "tenant:t", "monthly", cost_limit=1),
            ],
            (1_706_745_600_000, "m"),
        ),
    ],
)
def test_the_oldest_running_period_holds_the_rows(budgets: list[Budget], expected: tuple[int, str]) -> None:
    ledger = Ledger()
    for budget in budgets:
        ledger.open(budget, NOW_MS)
    assert latest_ms(ledger.accounts(NOW_MS), NOW_MS) == expected
