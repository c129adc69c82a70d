"""Another configuration takes the place of the one that serves: whole, one at a time, or not at all."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import config
from appliance import declared_budgets
from appliance.errors import GatewayError
from appliance.exchange import Principal
from appliance.people import Tenant
from appliance.people_admin import PeopleAdmin
from appliance.reload import Configuration
from appliance.state import State
from appliance.state.directory import Directory
from appliance.state.ledger import Ledger
from appliance.state.people import Change, PeopleStore
from appliance.state.store import Store
from appliance.state.usage import UsageStore
from support.build import Clock, make_key

ALICES = "sgk_key-of-alice-for-the-tests"
PLAIN = """version: 1
providers: {d: {type: demo}}
models:
  m: {price: free, route: [{backend: "d:x"}]}
partners:
  north:
    tenants:
      acme: {users: {alice: {roles: [tenant_admin]}}}
"""
EXTRA = '  extra: {price: free, route: [{backend: "d:y"}]}\n'


class House:
    """A Configuration over a real database and files in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "scaigrid.yaml"
        self.path.write_text(PLAIN)
        self.store = Store(folder / "scaigrid.db")
        self.directory = Directory(Clock())
        self.kept: list[Any] = []
        self.stuck = False
        self.ledger = Ledger()
        loaded = config.load(self.path)
        self.keys = [make_key(ALICES, "acme:alice", "k1")]
        self.people = PeopleAdmin(loaded, PeopleStore(self.store), self.directory, self.keys)
        state = SimpleNamespace(
            ledger=self.ledger,
            usage=UsageStore(self.store),
            store=self.store,
            pools=self,
            journal=SimpleNamespace(flushed=lambda: not self.stuck),
        )
        self.configuration = Configuration(self.path, loaded, cast(State, state), self.people, lambda: self.keys)

    async def keep_only(self, used: Any) -> None:
        self.kept.append(used)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    def add(self, model: str = EXTRA) -> None:
        self.write(PLAIN.replace("models:\n", f"models:\n{model}"))

    @property
    def models(self) -> set[str]:
        return set(self.people.holder.current.grid.models)

    @property
    def alice(self) -> Principal:
        return self.directory.principal(ALICES)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    await made.configuration.settled()
    made.store.close()


async def test_what_is_new_serves_and_is_told(house: House) -> None:
    before = house.configuration.loaded_unix
    house.add()
    outcome = await house.configuration.reload("test")
    assert (outcome.generation, outcome.changed, outcome.changes) == (2, True, ["model extra added"])
    assert house.models == {"m", "extra"}
    assert house.configuration.generation == 2
    assert house.configuration.loaded_unix > before
    assert (house.configuration.changes, house.configuration.changed_by) == (outcome.changes, "test")


async def test_the_same_again_changes_nothing(house: House) -> None:
    grid, loaded = house.people.holder.current.grid, house.configuration.loaded
    outcome = await house.configuration.reload("test")
    assert (outcome.generation, outcome.changed, outcome.changes) == (1, False, [])
    assert house.people.holder.current.grid is grid
    assert house.configuration.loaded is loaded


async def test_what_is_broken_is_refused_until_it_is_good_again(house: House) -> None:
    house.write("version: 1\nmodles: {}\n")
    with pytest.raises(config.ConfigError):
        await house.configuration.reload("test")
    assert [problem.line for problem in house.configuration.problems] == [2]
    assert house.configuration.failures == 1
    assert house.models == {"m"}
    house.write(PLAIN)
    await house.configuration.reload("test")
    assert house.configuration.problems == ()
    assert house.configuration.failures == 1


async def test_what_somebody_has_loaded_already_is_applied(house: House) -> None:
    house.add()
    outcome = await house.configuration.apply(config.load(house.path), "acme:alice")
    assert outcome.changes == ["model extra added"]
    assert house.models == {"m", "extra"}
    assert not (await house.configuration.reload("watcher")).changed


async def test_usage_that_cannot_be_summed_up_refuses_it_whole(house: House) -> None:
    budgets = "budgets: [{period: daily, request_limit: 1}], users:"
    house.stuck = True
    house.write(PLAIN.replace("users:", budgets).replace("models:\n", f"models:\n{EXTRA}"))
    with pytest.raises(GatewayError) as caught:
        await house.configuration.reload("test")
    assert caught.value.code == "JOURNAL_UNAVAILABLE"
    assert "usage rows" in house.configuration.problems[0].message
    assert list(house.ledger.accounts(0)) == []
    assert house.models == {"m"}
    house.stuck = False
    await house.configuration.reload("test")
    assert [account.budget.id for account in house.ledger.accounts(0)] == ["tenant:acme:daily"]


async def test_a_fault_of_ours_leaves_everything_as_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    house.add()
    with monkeypatch.context() as patched:
        patched.setattr(house.people, "follow", broken)
        with pytest.raises(RuntimeError):
            await house.configuration.reload("test")
    assert "a bug" in house.configuration.problems[0].message
    assert house.configuration.failures == 1
    assert house.models == {"m"}
    assert any(record.exc_info for record in caplog.records)
    await house.configuration.reload("test")
    assert house.models == {"m", "extra"}


async def test_budgets_that_were_prepared_for_nothing_are_closed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.write(PLAIN.replace("users:", "budgets: [{period: daily, request_limit: 1}], users:"))
    monkeypatch.setattr(house.people, "follow", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await house.configuration.reload("test")
    assert list(house.ledger.accounts(0)) == []


async def test_reloads_wait_for_each_other_and_the_last_file_counts(house: House) -> None:
    first = asyncio.ensure_future(house.configuration.reload("one"))
    await asyncio.sleep(0)
    house.add()
    outcomes = await asyncio.gather(first, house.configuration.reload("two"), house.configuration.reload("three"))
    assert house.models == {"m", "extra"}
    assert sum(outcome.changed for outcome in outcomes) == 1


async def test_whoever_hangs_up_does_not_stop_it(house: House) -> None:
    house.add()
    caller = asyncio.ensure_future(house.configuration.reload("test"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await house.configuration.settled()
    assert house.models == {"m", "extra"}


async def test_a_change_of_people_waits_and_then_builds_on_the_newest(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant that is made while a configuration is compiled is in the next generation, and so is that."""
    compiling, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        compiling.set()
        await go_on.wait()
        return await declared_budgets.prepare(*arguments)

    monkeypatch.setattr("appliance.reload.prepare", slow)
    house.add()
    reload = asyncio.ensure_future(house.configuration.reload("test"))
    await compiling.wait()
    change = Change(1.0, tenants=[Tenant("globex", "north")])
    saved = asyncio.ensure_future(house.people.alone(house.alice, lambda: house.people.save(change)))
    await asyncio.sleep(0.02)
    assert not saved.done()
    go_on.set()
    await asyncio.gather(reload, saved)
    grid = house.people.holder.current.grid
    assert grid.generation == 3
    assert set(grid.models) == {"m", "extra"}
    assert "globex" in grid.tenants


async def test_a_static_key_waits_for_the_next_start_and_is_named_until_then(house: House) -> None:
    server = "server: {body_limit: 1MB, drain_timeout: 5s, unauthenticated_rate_limits: {requests_per_minute: 7}}\n"
    house.write(PLAIN + server)
    outcome = await house.configuration.reload("test")
    assert outcome.restart_needed == ["server.body_limit"]
    serving = house.configuration.loaded.document.server
    assert serving.body_limit == 20_000_000
    assert serving.drain_timeout == 5.0
    grid = house.people.holder.current.grid
    assert (grid.body_limit, grid.unauthenticated.requests_per_minute) == (20_000_000, 7)
    house.write(PLAIN + server + "# again\n")
    assert (await house.configuration.reload("test")).restart_needed == ["server.body_limit"]
    house.write(PLAIN)
    assert (await house.configuration.reload("test")).restart_needed == []


async def test_an_old_grid_is_let_go_after_its_last_request(house: House) -> None:
    inside = house.people.holder.enter()
    house.write(PLAIN.replace("{d: {type: demo}}", "{d: {type: demo}, e: {type: demo}}"))
    await house.configuration.reload("test")
    house.write(PLAIN)
    await house.configuration.reload("test")
    await house.configuration.settled()
    assert [{name for name, _ in used} for used in house.kept] == [{"d"}]
    inside.leave()
    await house.configuration.settled()
    assert len(house.kept) == 2


async def test_the_collector_runs_again_afterwards(house: House) -> None:
    house.write("")
    with pytest.raises(config.ConfigError):
        await house.configuration.reload("test")
    assert gc.isenabled()


async def test_the_log_says_what_changed_or_what_is_wrong(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "scaigrid")
    house.add("".join(EXTRA.replace("extra", f"extra{number}") for number in range(30)))
    await house.configuration.reload("SIGHUP")
    assert "generation 2 serves (SIGHUP): model extra0 added; " in caplog.text
    assert "; and 10 more" in caplog.text
    house.write("version: 3\n")
    house.configuration.reload_soon("SIGHUP")
    await house.configuration.settled()
    assert "configuration refused (SIGHUP), generation 2 serves on; problems: 1" in caplog.text
    assert f"{house.path}:1:10: " in caplog.text
