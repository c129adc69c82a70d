"""Budgets of the YAML over a reload: what stays keeps its balance, what is new knows what was used before."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.declared_budgets import abandon, prepare, put_in_force
from appliance.errors import GatewayError
from appliance.limits import Budget
from appliance.state import State
from appliance.state.ledger import Amount, Balance, BudgetExceeded, Ledger
from appliance.state.store import Store
from appliance.state.usage import UsageStore
from support.build import usage_row

SUBJECTS = ("partner:reseller", "tenant:acme", "user:acme:alice", "key:apikey_1")
ONE = Amount(5, 10, 1)


class World:
    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.usage = UsageStore(self.store)
        self.ledger = Ledger()
        self.stuck = False
        self.unstored: list[dict[str, Any]] = []
        self.meanwhile: Any = lambda: None
        state = SimpleNamespace(ledger=self.ledger, usage=self.usage, store=self.store, journal=self)
        self.state = cast(State, state)

    def flushed(self) -> bool:
        rows, self.unstored = self.unstored, []
        self.store.write(lambda: self.usage.add(rows)).result(10)
        self.meanwhile()
        return not self.stuck

    def call(self) -> None:
        at_ms = int(time.time() * 1000)
        entry = self.ledger.post(self.ledger.reserve(SUBJECTS, ONE, at_ms), ONE)
        row = usage_row(f"u{entry}", entry=entry, charged=1, cost_nano=5, created_ms=at_ms)
        self.unstored.append(row | {"input_tokens": 4, "output_tokens": 6})

    async def reload(self, *wanted: Budget) -> None:
        async with self.usage.budgets.changing:
            put_in_force(self.ledger, await prepare(self.state, wanted))

    def balance(self, budget_id: str = "tenant:acme:daily") -> Balance:
        account = self.ledger.account(budget_id, int(time.time() * 1000))
        assert account
        return account.balance

    @property
    def ids(self) -> set[str]:
        return {account.budget.id for account in self.ledger.accounts(int(time.time() * 1000))}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path / "scaigrid.db")
    yield made
    made.store.close()


def daily(limit: int | None = 10, **changes: Any) -> Budget:
    known = {"id": "tenant:acme:daily", "scope": "tenant", "subject": "tenant:acme", "period": "daily"}
    return Budget(**cast(Any, known | {"request_limit": limit, "declared": "scaigrid.yaml:9"} | changes))


async def test_a_new_budget_knows_what_was_used_before_and_meanwhile(world: World) -> None:
    world.call()
    world.meanwhile = world.call
    await world.reload(daily())
    world.meanwhile = lambda: None
    balance = world.balance()
    assert (balance.requests, balance.cost, balance.tokens) == (2, 10, 20)


async def test_nobody_is_limited_by_a_budget_that_is_only_prepared(world: World) -> None:
    world.call()
    async with world.usage.budgets.changing:
        plan = await prepare(world.state, [daily(1, hard_action="block")])
        world.call()
        put_in_force(world.ledger, plan)
    with pytest.raises(BudgetExceeded):
        world.call()
    assert world.ids == {"tenant:acme:daily"}


async def test_a_budget_that_stays_keeps_balance_and_what_calls_hold(world: World) -> None:
    await world.reload(daily())
    world.call()
    held = world.ledger.reserve(SUBJECTS, ONE, int(time.time() * 1000))
    await world.reload(daily(20, hard_action="throttle"))
    assert world.ledger.any_throttles
    assert (world.balance().requests, world.balance().pending_requests) == (1, 1)
    world.ledger.post(held, ONE)
    assert (world.balance().requests, world.balance().pending_requests) == (2, 0)


async def test_what_waits_for_room_looks_again_when_the_limit_rises(world: World) -> None:
    await world.reload(daily(1))
    waiting = world.ledger.resolved()
    await world.reload(daily(1))
    assert not waiting.done()
    await world.reload(daily(2))
    assert waiting.done()


async def test_another_period_is_summed_up_anew(world: World) -> None:
    world.call()
    await world.reload(daily(id="tenant:acme:mine"))
    world.call()
    await world.reload(daily(id="tenant:acme:mine", period="total"))
    assert world.balance("tenant:acme:mine").requests == 2
    assert world.ids == {"tenant:acme:mine"}


async def test_a_budget_that_goes_is_settled_by_those_who_hold_it(world: World) -> None:
    await world.reload(daily())
    held = world.ledger.reserve(SUBJECTS, ONE, int(time.time() * 1000))
    await world.reload()
    assert world.ids == set()
    world.ledger.post(held, ONE)
    assert world.ledger.open_reservations == 0


async def test_budgets_made_over_the_api_are_left_alone(world: World) -> None:
    world.ledger.open(daily(id="budget_1", declared=""), int(time.time() * 1000))
    await world.reload()
    assert world.ids == {"budget_1"}


async def test_what_cannot_be_summed_up_opens_nothing(world: World) -> None:
    await world.reload(daily(3))
    world.stuck = True
    async with world.usage.budgets.changing:
        with pytest.raises(GatewayError):
            await prepare(world.state, [daily(4), daily(id="tenant:acme:weekly", period="weekly")])
    assert world.ids == {"tenant:acme:daily"}
    account = world.ledger.account("tenant:acme:daily", int(time.time() * 1000))
    assert account
    assert account.budget.request_limit == 3


async def test_a_plan_can_be_given_up(world: World) -> None:
    async with world.usage.budgets.changing:
        abandon(world.ledger, await prepare(world.state, [daily()]))
    assert world.ids == set()
