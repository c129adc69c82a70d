"""The database: a row is booked once, a page stays right while rows arrive, another version's schema is refused."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peewee
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.exchange import Key
from appliance.permissions import Scope
from appliance.state.journal import Journal, recover
from appliance.state.store import GROUPS, SCHEMA_VERSION, SchemaMismatch, Store, UsageFilter
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


def add(store: Store, *rows: dict[str, Any]) -> None:
    store.write(lambda: store.add_usage(rows)).result(10)


async def ids(store: Store, where: UsageFilter = ALL, limit: int = 1000, before_seq: int | None = None) -> list[str]:
    return [row["id"] for row in await store.usage(where, limit, before_seq)]


# -- usage ------------------------------------------------------------------------------------------------------------


async def test_a_row_comes_back_as_it_went_in(store: Store) -> None:
    row = usage_row(
        "u1",
        metadata='{"note":"é"}',
        ttft_ms=7,
        stream=True,
        estimated=True,
        cost_nano=2**62,
        attempts='[{"backend":"one:a"}]',
        status="cancelled",
    )
    add(store, row)
    (found,) = await store.usage(ALL, 10, None)
    assert found.pop("seq") == 1
    assert found == row


async def test_a_row_is_booked_once_and_the_first_one_stays(store: Store) -> None:
    add(store, usage_row("u1", status="completed", cost_nano=5))
    add(store, usage_row("u1", status="interrupted", cost_nano=9), usage_row("u2"))
    rows = await store.usage(ALL, 10, None)
    assert [(row["id"], row["status"], row["cost_nano"]) for row in rows] == [
        ("u2", "completed", 1500),
        ("u1", "completed", 5),
    ]


async def test_the_same_id_twice_in_one_batch_is_booked_once(store: Store) -> None:
    add(store, usage_row("u1", cost_nano=5), usage_row("u1", cost_nano=9))
    (row,) = await store.usage(ALL, 10, None)
    assert row["cost_nano"] == 5


async def test_a_row_that_cannot_be_stored_is_refused_aloud_and_with_it_its_batch(store: Store) -> None:
    """OR IGNORE would also drop rows that break NOT NULL, without a word: money that nobody books."""
    with pytest.raises((sqlite3.IntegrityError, peewee.IntegrityError)):
        add(store, usage_row("u1"), usage_row("u2", model=None))
    assert await ids(store) == []
    add(store, usage_row("u3"))
    assert await ids(store) == ["u3"]


async def test_rows_come_newest_first_and_by_the_limit(store: Store) -> None:
    add(store, *(usage_row(f"u{number}") for number in range(5)))
    assert await ids(store, limit=3) == ["u4", "u3", "u2"]


async def test_pages_are_whole_while_rows_arrive(store: Store) -> None:
    add(store, *(usage_row(f"u{number}") for number in range(10)))
    seen: list[str] = []
    before: int | None = None
    while page := await store.usage(ALL, 3, before):
        seen += [row["id"] for row in page]
        before = page[-1]["seq"]
        add(store, usage_row(f"late{len(seen)}", created_ms=1))
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
    "model": (UsageFilter(scope=Scope(), model="other"), {"b"}),
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
async def test_filters(store: Store, where: UsageFilter, expected: set[str]) -> None:
    add(
        store,
        usage_row("a", created_ms=1000),
        usage_row("b", created_ms=2000, user_id="acme:bob", model="other"),
        usage_row("c", created_ms=3000, tenant_id="zeta", user_id="zeta:zoe", backend_id="two:b"),
        usage_row("d", created_ms=4000, partner_id="p2", tenant_id="t2", user_id="t2:u", status="failed"),
    )
    assert set(await ids(store, where)) == expected
    summary = await store.usage_summary(where, "model")
    assert sum(group["request_count"] for group in summary) == len(expected)


async def test_a_filter_is_a_value_and_never_sql(store: Store) -> None:
    add(store, usage_row("a"))
    assert await ids(store, UsageFilter(scope=Scope(), model="m' OR '1'='1")) == []


# -- sums -------------------------------------------------------------------------------------------------------------


async def test_a_summary_adds_up_each_group_dearest_first(store: Store) -> None:
    add(
        store,
        usage_row("a", model="cheap", cost_nano=1, input_tokens=1, output_tokens=2, backend_cost_nano=3),
        usage_row("b", model="dear", cost_nano=50, input_tokens=10, output_tokens=20, backend_cost_nano=30),
        usage_row("c", model="dear", cost_nano=60, input_tokens=100, output_tokens=200, backend_cost_nano=300),
    )
    assert await store.usage_summary(ALL, "model") == [
        {
            "group_key": "dear",
            "request_count": 2,
            "input_tokens": 110,
            "output_tokens": 220,
            "cost_nano": 110,
            "backend_cost_nano": 330,
        },
        {
            "group_key": "cheap",
            "request_count": 1,
            "input_tokens": 1,
            "output_tokens": 2,
            "cost_nano": 1,
            "backend_cost_nano": 3,
        },
    ]


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
async def test_every_group_has_its_key(store: Store, group_by: str, expected: str) -> None:
    add(store, usage_row("a"))
    assert [group["group_key"] for group in await store.usage_summary(ALL, group_by)] == [expected]


def test_the_groups_above_are_all_groups() -> None:
    assert set(GROUPS) == {"model", "user", "backend", "tenant", "key", "day"}


async def test_a_day_ends_at_midnight_utc(store: Store) -> None:
    midnight = 1_699_920_000_000
    add(store, usage_row("a", created_ms=midnight - 1), usage_row("b", created_ms=midnight))
    groups = await store.usage_summary(ALL, "day")
    assert {group["group_key"] for group in groups} == {"2023-11-13", "2023-11-14"}


async def test_a_summary_of_nothing_is_empty(store: Store) -> None:
    assert await store.usage_summary(ALL, "model") == []


ROWS = st.lists(
    st.tuples(st.sampled_from(["m", "n", "o"]), st.integers(0, 10**15), st.integers(0, 10**9)), min_size=1, max_size=30
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS)
def test_sums_are_exact_integers(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int, int]]) -> None:
    store = Store(tmp_path_factory.mktemp("sums") / "scaigrid.db")
    try:
        add(
            store,
            *(
                usage_row(f"u{n}", model=model, cost_nano=cost, input_tokens=tokens)
                for n, (model, cost, tokens) in enumerate(rows)
            ),
        )
        groups = asyncio.run(store.usage_summary(ALL, "model"))
    finally:
        store.close()
    assert {group["group_key"]: (group["cost_nano"], group["input_tokens"]) for group in groups} == {
        model: (
            sum(cost for name, cost, _ in rows if name == model),
            sum(tokens for name, _, tokens in rows if name == model),
        )
        for model in {name for name, _, _ in rows}
    }


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
    add(store, usage_row("a"))
    store.close()
    store = Store(path)
    assert await ids(store) == ["a"]
    store.close()


def test_a_file_that_is_no_database_is_an_error(path: Path) -> None:
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(Exception, match="not a database"):
        Store(path)


# -- threads ----------------------------------------------------------------------------------------------------------


async def test_reads_see_whole_batches_while_others_are_written(store: Store) -> None:
    """Each batch is ten rows in one transaction: no reader may ever see a part of one."""
    futures = []

    async def write() -> None:
        for batch in range(20):
            rows = [usage_row(f"u{batch}.{number}") for number in range(10)]
            futures.append(store.write(lambda rows=rows: store.add_usage(rows)))  # type: ignore[misc]
            await asyncio.sleep(0.001)

    async def read() -> list[int]:
        return [len(await store.usage(ALL, 1000, None)) for _ in range(15)]

    _, *counts = await asyncio.gather(write(), *(read() for _ in range(4)))
    for future in futures:
        future.result(10)
    assert all(count % 10 == 0 for seen in counts if seen for count in seen)
    assert all(seen == sorted(seen) for seen in counts if seen)
    assert len(await store.usage(ALL, 1000, None)) == 200


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
    for _ in range(2):
        for name, content in left.items():
            (folder / name).write_bytes(content)
        recover(folder, lambda rows: store.write(lambda: store.add_usage(rows)).result(10))
    assert {row["id"]: row["status"] for row in await store.usage(ALL, 10, None)} == {
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
