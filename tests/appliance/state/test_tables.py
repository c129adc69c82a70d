"""Migrations: a database of each older version ends up like a new one, with its rows and their sums."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from appliance.permissions import Scope
from appliance.state.periods import NEVER_MS
from appliance.state.responses import Responses, StoredResponse
from appliance.state.store import Store
from appliance.state.tables import MIGRATIONS, SCHEMA_VERSION
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

BACK: dict[int, tuple[str, ...]] = {
    5: ("DROP TABLE responses", "ALTER TABLE usage DROP COLUMN units"),
    4: tuple(f"DROP TABLE {name}" for name in ("users", "tenants", "partners", "custom_roles")),
    3: tuple(f"DROP TABLE {name}" for name in ("usage_series", "usage_rollups", "budgets")),
    2: (
        "DROP INDEX usagerow_entry",
        *(f"ALTER TABLE usage DROP COLUMN {name}" for name in ("groups", "charged", "reserved_nano", "entry")),
    ),
}
"""What each version brought, taken back."""


def older(path: Path, version: int) -> None:
    """A database with two rows, as that version left it."""
    store = Store(path)
    usage = UsageStore(store)
    store.write(lambda: usage.add([usage_row("a", charged=1), usage_row("b", charged=1, cost_nano=7)])).result(10)
    store.close()
    with sqlite3.connect(path) as database:
        for back in range(SCHEMA_VERSION, version, -1):
            for statement in BACK[back]:
                database.execute(statement)
        database.execute("UPDATE meta SET value = ? WHERE name = 'schema_version'", (str(version),))
    database.close()


def schema(path: Path) -> dict[str, set[str]]:
    with sqlite3.connect(path) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {table: {row[1] for row in database.execute(f"PRAGMA table_info({table})")} for table in tables}
    database.close()
    return found


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_an_old_database_becomes_like_a_new_one(tmp_path: Path, version: int) -> None:
    older(tmp_path / "old.db", version)
    Store(tmp_path / "new.db").close()
    assert schema(tmp_path / "old.db") != schema(tmp_path / "new.db")
    store = Store(tmp_path / "old.db")
    usage = UsageStore(store)
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db")
    assert [row["id"] for row in await usage.rows(UsageFilter(Scope()), 10, None)] == ["b", "a"]
    (group,) = await usage.summary(UsageFilter(Scope()), "model")
    assert (group["requests"], group["cost_nano"]) == (2, 1507)
    assert usage.used("tenant:acme", 0, NEVER_MS, 100).requests == 2, "a call of an older version counts as one"
    assert await usage.differences(Scope()) == []
    store.write(lambda: usage.add([usage_row("c", units='{"images":2}')])).result(10)
    assert [row["units"] for row in await usage.rows(UsageFilter(Scope()), 10, None)] == ['{"images":2}', None, None]
    store.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
async def test_in_an_old_database_answers_can_be_kept(tmp_path: Path, version: int) -> None:
    older(tmp_path / "old.db", version)
    store = Store(tmp_path / "old.db")
    responses = Responses(store, 60)
    await responses.keep(StoredResponse("resp_1", "acme", "acme:alice", "", time.time(), [], {"id": "resp_1"}))
    assert await responses.get("acme", "resp_1")
    store.close()


def test_every_version_has_its_step() -> None:
    assert set(MIGRATIONS) == set(range(2, SCHEMA_VERSION + 1))
