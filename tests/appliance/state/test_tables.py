"""Migrations: a database of each older version ends up like a new one, with its rows and their sums."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from appliance.permissions import Scope
from appliance.state.periods import NEVER_MS
from appliance.state.store import Store
from appliance.state.tables import MIGRATIONS, SCHEMA_VERSION
from appliance.state.usage import UsageFilter, UsageStore
from support.build import usage_row

BACK_TO_3 = "DROP TABLE people; DROP TABLE tenants; DROP TABLE partners; DROP TABLE custom_roles;"
BACK_TO_2 = "DROP TABLE usage_series; DROP TABLE usage_rollups; DROP TABLE budgets;"
BACK_TO_1 = "DROP INDEX usagerow_entry;" + "".join(
    f"ALTER TABLE usage DROP COLUMN {name};" for name in ("groups", "charged", "reserved_nano", "entry")
)


def older(path: Path, version: int) -> None:
    """A database with two rows, as that version left it."""
    store = Store(path)
    usage = UsageStore(store)
    store.write(lambda: usage.add([usage_row("a", charged=1), usage_row("b", charged=1, cost_nano=7)])).result(10)
    store.close()
    with sqlite3.connect(path) as database:
        added = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        drops = [(BACK_TO_3, 4), (BACK_TO_2, 3), (BACK_TO_1, 2)]
        for statements, since in drops:
            for statement in statements.split(";") if version < since else ():
                if not statement.startswith("DROP TABLE ") or statement.split()[-1] in added:
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
    assert version > 3 or schema(tmp_path / "old.db") != schema(tmp_path / "new.db")
    store = Store(tmp_path / "old.db")
    usage = UsageStore(store)
    assert schema(tmp_path / "old.db") == schema(tmp_path / "new.db")
    assert [row["id"] for row in await usage.rows(UsageFilter(Scope()), 10, None)] == ["b", "a"]
    (group,) = await usage.summary(UsageFilter(Scope()), "model")
    assert (group["requests"], group["cost_nano"]) == (2, 1507)
    assert usage.used("tenant:acme", 0, NEVER_MS, 100).requests == 2, "a call of an older version counts as one"
    assert await usage.differences(Scope()) == []
    store.close()


def test_every_version_has_its_step() -> None:
    assert set(MIGRATIONS) == set(range(2, SCHEMA_VERSION + 1))
