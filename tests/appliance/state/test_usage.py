"""Usage rows: one is booked once, a page stays right while rows arrive, balances are exact to the entry."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest

from appliance.permissions import Scope
from appliance.state import usage as module
from appliance.state.ledger import Amount
from appliance.state.periods import NEVER_MS
from appliance.state.rollup import GROUPS
from appliance.state.store import Store
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

ALL = UsageFilter(scope=Scope())
NOON_MS = 1_700_000_000_000


@pytest.fixture
def usage(tmp_path: Path) -> Iterator[UsageStore]:
    store = Store(tmp_path / "scaigrid.db")
    yield UsageStore(store)
    store.close()


def row_of(row_id: str, **changes: Any) -> dict[str, Any]:
    return usage_row(row_id) | {"groups": "", "charged": 1, "reserved_nano": 0, "entry": 0} | changes


def add(usage: UsageStore, *rows: dict[str, Any]) -> None:
    usage._store.write(lambda: usage.add(rows)).result(10)


async def ids(
    usage: UsageStore, where: UsageFilter = ALL, limit: int = 1000, before_seq: int | None = None
) -> list[str]:
    return [row["id"] for row in await usage.rows(where, limit, before_seq)]


# -- usage ------------------------------------------------------------------------------------------------------------


async def test_a_row_comes_back_as_it_went_in(usage: UsageStore) -> None:
    row = row_of(
        "u1",
        metadata='{"note":"é"}',
        ttft_ms=7,
        stream=True,
        estimated=True,
        cost_nano=2**62,
        attempts='[{"backend":"one:a"}]',
        status="cancelled",
    )
    add(usage, row)
    (found,) = await usage.rows(ALL, 10, None)
    assert found.pop("seq") == 1
    assert found == row


async def test_a_row_is_booked_once_and_the_first_one_stays(usage: UsageStore) -> None:
    add(usage, row_of("u1", status="completed", cost_nano=5))
    add(usage, row_of("u1", status="interrupted", cost_nano=9), row_of("u2"))
    rows = await usage.rows(ALL, 10, None)
    assert [(row["id"], row["status"], row["cost_nano"]) for row in rows] == [
        ("u2", "completed", 1500),
        ("u1", "completed", 5),
    ]


async def test_the_same_id_twice_in_one_batch_is_booked_once(usage: UsageStore) -> None:
    add(usage, row_of("u1", cost_nano=5), row_of("u1", cost_nano=9))
    (row,) = await usage.rows(ALL, 10, None)
    assert row["cost_nano"] == 5


async def test_a_row_that_cannot_be_stored_is_refused_aloud_and_with_it_its_batch(usage: UsageStore) -> None:
    """OR IGNORE would also drop rows that break NOT NULL, without a word: money that nobody books."""
    with pytest.raises((sqlite3.IntegrityError, peewee.IntegrityError)):
        add(usage, row_of("u1"), row_of("u2", model=None))
    assert await ids(usage) == []
    add(usage, row_of("u3"))
    assert await ids(usage) == ["u3"]


async def test_rows_come_newest_first_and_by_the_limit(usage: UsageStore) -> None:
    add(usage, *(row_of(f"u{number}") for number in range(5)))
    assert await ids(usage, limit=3) == ["u4", "u3", "u2"]


async def test_pages_are_whole_while_rows_arrive(usage: UsageStore) -> None:
    add(usage, *(row_of(f"u{number}") for number in range(10)))
    seen: list[str] = []
    before: int | None = None
    while page := await usage.rows(ALL, 3, before):
        seen += [row["id"] for row in page]
        before = page[-1]["seq"]
        add(usage, row_of(f"late{len(seen)}", created_ms=1))
    assert seen == [f"u{number}" for number in reversed(range(10))]


FILTERS: dict[str, tuple[UsageFilter, set[str]]] = {
    "everything": (ALL, {"a", "b", "c", "d"}),
    "partner scope": (UsageFilter(scope=Scope("reseller")), {"a", "b", "c"}),
    "tenant scope": (UsageFilter(scope=Scope("reseller", "acme")), {"a", "b"}),
    "user scope": (UsageFilter(scope=Scope("reseller", "acme", "acme:bob")), {"b"}),
    "tenant": (UsageFilter(scope=Scope(), tenant_id="zeta"), {"c"}),
    "tenant outside the scope": (UsageFilter(scope=Scope("reseller", "acme"), tenant_id="zeta"), set()),
    "user": (UsageFilter(scope=Scope(), user_id="acme:alice"), {"a"}),
    "user outside the scope": (UsageFilter(scope=Scope("x", "y", "y:z"), user_id="acme:alice"), set()),
    "key": (UsageFilter(scope=Scope(), key_id="apikey_2"), {"c"}),
    "model": (UsageFilter(scope=Scope(), model="other"), {"b"}),
    "model and user": (UsageFilter(scope=Scope(), model="other", user_id="acme:bob"), {"b"}),
    "backend": (UsageFilter(scope=Scope(), backend_id="two:b"), {"c"}),
    "status": (UsageFilter(scope=Scope(), status="failed"), {"d"}),
    "request id": (UsageFilter(scope=Scope(), request_id="req_b"), {"b"}),
    "start is inclusive": (UsageFilter(scope=Scope(), start_ms=2000), {"b", "c", "d"}),
    "end is exclusive": (UsageFilter(scope=Scope(), end_ms=2000), {"a"}),
    "a span": (UsageFilter(scope=Scope(), start_ms=2000, end_ms=4000), {"b", "c"}),
    "from the beginning of time": (UsageFilter(scope=Scope(), start_ms=0), {"a", "b", "c", "d"}),
    "two at once": (UsageFilter(scope=Scope(), status="completed", tenant_id="acme"), {"a", "b"}),
}


@pytest.mark.parametrize(("where", "expected"), FILTERS.values(), ids=FILTERS)
async def test_filters(usage: UsageStore, where: UsageFilter, expected: set[str]) -> None:
    add_four(usage)
    assert set(await ids(usage, where)) == expected
    for group_by in GROUPS:
        assert sum(group["requests"] for group in await usage.summary(where, group_by)) == len(expected)


def add_four(usage: UsageStore) -> None:
    add(
        usage,
        row_of("a", created_ms=1000),
        row_of("b", created_ms=2000, user_id="acme:bob", model="other"),
        row_of("c", created_ms=3000, tenant_id="zeta", user_id="zeta:zoe", key_id="apikey_2", backend_id="two:b"),
        row_of("d", created_ms=4000, partner_id="p2", tenant_id="t2", user_id="t2:u", status="failed"),
    )


async def test_a_filter_is_a_value_and_never_sql(usage: UsageStore) -> None:
    add(usage, row_of("a"))
    assert await ids(usage, UsageFilter(scope=Scope(), model="m' OR '1'='1")) == []


# -- sums -------------------------------------------------------------------------------------------------------------


async def test_a_summary_adds_up_each_group_dearest_first(usage: UsageStore) -> None:
    add(
        usage,
        row_of("a", model="cheap", cost_nano=1, input_tokens=1, output_tokens=2, backend_cost_nano=3, charged=0),
        row_of("b", model="dear", cost_nano=50, input_tokens=10, output_tokens=20, backend_cost_nano=30),
        row_of("c", model="dear", cost_nano=60, input_tokens=100, output_tokens=200, estimated=True, status="failed"),
    )
    dear, cheap = await usage.summary(ALL, "model")
    assert dear == {
        "group_key": "dear",
        "requests": 2,
        "charged": 2,
        "input_tokens": 110,
        "output_tokens": 220,
        "cached_input_tokens": 8,
        "cache_write_tokens": 0,
        "reasoning_tokens": 4,
        "cost_nano": 110,
        "backend_cost_nano": 730,
        "estimated": 1,
        "failed": 1,
    }
    assert (cheap["group_key"], cheap["requests"], cheap["charged"], cheap["failed"]) == ("cheap", 1, 0, 0)


@pytest.mark.parametrize(
    ("group_by", "expected"),
    [
        ("model", "m"),
        ("user", "acme:alice"),
        ("backend", "one:a"),
        ("tenant", "acme"),
        ("key", "apikey_1"),
        ("day", "2023-11-14"),
    ],
)
async def test_every_group_has_its_key(usage: UsageStore, group_by: str, expected: str) -> None:
    add(usage, row_of("a"))
    assert [group["group_key"] for group in await usage.summary(ALL, group_by)] == [expected]


def test_the_groups_above_are_all_groups() -> None:
    assert set(GROUPS) == {"model", "user", "backend", "tenant", "key", "day"}


async def test_a_day_ends_at_midnight_utc_and_days_come_in_order(usage: UsageStore) -> None:
    midnight = 1_699_920_000_000
    add(usage, row_of("a", created_ms=midnight - 1, cost_nano=1), row_of("b", created_ms=midnight, cost_nano=2))
    groups = await usage.summary(ALL, "day")
    assert [group["group_key"] for group in groups] == ["2023-11-13", "2023-11-14"]


async def test_a_summary_of_nothing_is_empty(usage: UsageStore) -> None:
    assert await usage.summary(ALL, "model") == []


# -- exports ----------------------------------------------------------------------------------------------------------


async def exported(usage: UsageStore, where: UsageFilter = ALL) -> list[list[str]]:
    return [[row["id"] for row in chunk] async for chunk in usage.chunks(where)]


async def test_an_export_comes_oldest_first_in_chunks(usage: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    add(usage, *(row_of(f"u{number}", created_ms=NOON_MS - number) for number in range(5)))
    assert await exported(usage) == [["u0", "u1"], ["u2", "u3"], ["u4"]]


async def test_rows_that_arrive_during_an_export_are_left_to_the_next(
    usage: UsageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    add(usage, *(row_of(f"u{number}") for number in range(4)))
    seen = []
    async for chunk in usage.chunks(ALL):
        seen += [row["id"] for row in chunk]
        add(usage, row_of(f"late{len(seen)}"))
    assert seen == ["u0", "u1", "u2", "u3"]


@pytest.mark.parametrize(("where", "expected"), FILTERS.values(), ids=FILTERS)
async def test_an_export_takes_the_same_filters(
    usage: UsageStore, where: UsageFilter, expected: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_ROWS", 1)
    add_four(usage)
    assert {row_id for chunk in await exported(usage, where) for row_id in chunk} == expected


# -- balances ---------------------------------------------------------------------------------------------------------


def booked(usage: UsageStore) -> None:
    add(
        usage,
        row_of("a", entry=1, cost_nano=1, groups="|sales|"),
        row_of("b", entry=2, cost_nano=10, groups="|research|sales|", charged=0),
        row_of("c", entry=3, cost_nano=100, user_id="acme:bob", key_id="apikey_2"),
        row_of("d", entry=4, cost_nano=1000, tenant_id="zeta", user_id="zeta:alice", key_id="apikey_3"),
        row_of("e", entry=0, cost_nano=10_000, status="interrupted", groups="|sales-eu|"),
        row_of("f", entry=5, cost_nano=100_000, created_ms=NOON_MS + 7 * 86_400_000),
    )


@pytest.mark.parametrize(
    ("subject", "cost"),
    [
        ("partner:reseller", 111_111),
        ("tenant:acme", 110_111),
        ("user:acme:alice", 110_011),
        ("user:acme:bob", 100),
        ("key:apikey_3", 1000),
        ("group:acme:sales", 11),
        ("group:acme:research", 10),
        ("group:zeta:sales", 0),
        ("user:acme:nobody", 0),
    ],
)
async def test_what_a_subject_used(usage: UsageStore, subject: str, cost: int) -> None:
    booked(usage)
    assert (await usage.used_by_now(subject, 0, NEVER_MS, 100)).cost == cost
    assert [amount.cost for amount in await usage.recount([(subject, 0, NEVER_MS)], 100)] == [cost]


@pytest.mark.parametrize(("bound", "cost"), [(1, 10_000), (2, 10_001), (4, 10_111), (5, 11_111), (6, 111_111)])
async def test_calls_from_the_bound_on_are_not_counted(usage: UsageStore, bound: int, cost: int) -> None:
    """Those the ledger counts itself, because the budget was open already when they were posted."""
    booked(usage)
    assert (await usage.used_by_now("partner:reseller", 0, NEVER_MS, bound)).cost == cost
    assert (await usage.recount([("partner:reseller", 0, NEVER_MS)], bound))[0].cost == cost


async def test_a_balance_counts_cost_tokens_and_charged_requests(usage: UsageStore) -> None:
    booked(usage)
    assert await usage.used_by_now("group:acme:sales", 0, NEVER_MS, 100) == Amount(11, 30, 1)


@pytest.mark.parametrize(
    ("start_ms", "end_ms", "cost"),
    [
        (NOON_MS, NOON_MS + 1, 10_111),
        (NOON_MS + 1, NEVER_MS, 100_000),
        (0, NOON_MS, 0),
        (NOON_MS - 1, NOON_MS + 8 * 86_400_000, 110_111),
    ],
)
async def test_a_period_has_sharp_ends(usage: UsageStore, start_ms: int, end_ms: int, cost: int) -> None:
    booked(usage)
    assert (await usage.used_by_now("tenant:acme", start_ms, end_ms, 100)).cost == cost
    assert (await usage.recount([("tenant:acme", start_ms, end_ms)], 100))[0].cost == cost


async def test_the_highest_entry_is_remembered(usage: UsageStore) -> None:
    assert usage.highest_entry() == 0
    booked(usage)
    assert usage.highest_entry() == 5
