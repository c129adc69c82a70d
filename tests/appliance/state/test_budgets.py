"""Budgets made at run time: in force at once and with all that was used before; ledger and database agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.errors import GatewayError
from appliance.limits import Budget
from appliance.state import State
from appliance.state.budgets import MadeBudget, add_budget, change_budget, remove_budget
from appliance.state.ledger import Amount, BudgetExceeded, Ledger
from appliance.state.store import Store
from appliance.state.usage import UsageStore
from support.build import usage_row

SUBJECTS = ("partner:reseller", "tenant:acme", "user:acme:alice", "key:apikey_1")


class Gateway:
    """Ledger, store and a journal whose rows reach the database when `flushed` is asked for."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.usage = UsageStore(self.store)
        self.ledger = Ledger()
        self.unstored: list[dict[str, Any]] = []
        self.stuck = False
        self.meanwhile: Any = lambda: None
        state = SimpleNamespace(ledger=self.ledger, usage=self.usage, journal=self)
        self.state = cast(State, state)

    def flushed(self) -> bool:
        if self.stuck:
            return False
        rows, self.unstored = self.unstored, []
        self.store.write(lambda: self.usage.add(rows)).result(10)
        self.meanwhile()
        return True

    def call(self, cost: int) -> None:
        """A whole call, as reserve, settle and record book it."""
        self.finish(self.ledger.reserve(SUBJECTS, Amount(cost, 15, 1), now_ms()), cost)

    def finish(self, reservation: Any, cost: int) -> None:
        entry = self.ledger.post(reservation, Amount(cost, 15, 1))
        self.unstored.append(
            usage_row(f"u{entry}", entry=entry, charged=1, cost_nano=cost, created_ms=reservation.at_ms)
        )

    def cost(self, budget_id: str) -> int:
        account = self.ledger.account(budget_id, now_ms())
        assert account
        return account.balance.cost


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path / "scaigrid.db")
    yield gateway
    gateway.store.close()


def now_ms() -> int:
    return int(time.time() * 1000)


def made(budget_id: str = "budget_1", **changes: Any) -> MadeBudget:
    budget = Budget(budget_id, "tenant", "tenant:acme", "total", **({"cost_limit": 1000} | changes))
    return MadeBudget(budget, "default:admin", 3, 1_700_000_000.0)


async def test_a_new_budget_knows_what_was_used_before_it(gateway: Gateway) -> None:
    for _ in range(3):
        gateway.call(300)
    await add_budget(gateway.state, made())
    assert gateway.cost("budget_1") == 900
    with pytest.raises(BudgetExceeded):
        gateway.call(101)
    gateway.call(100)
    assert gateway.cost("budget_1") == 1000


async def test_calls_that_end_while_it_is_opened_count_once(gateway: Gateway) -> None:
    gateway.call(1)
    running = gateway.ledger.reserve(SUBJECTS, Amount(500, 15, 1), now_ms())

    def meanwhile() -> None:
        gateway.finish(running, 20)
        gateway.call(300)
        rows, gateway.unstored = gateway.unstored, []
        gateway.store.write(lambda: gateway.usage.add(rows)).result(10)
        gateway.meanwhile = lambda: None

    gateway.meanwhile = meanwhile
    await add_budget(gateway.state, made())
    assert gateway.cost("budget_1") == 321
    assert await recounted(gateway) == 321


async def recounted(gateway: Gateway) -> int:
    gateway.flushed()
    (amount,) = await gateway.usage.recount([("tenant:acme", 0, 1 << 62)], gateway.ledger.next_entry)
    return amount.cost


async def test_a_budget_survives_a_restart(gateway: Gateway) -> None:
    budget = made(token_limit=7, soft_ppm=5, hard_action="notify", timezone="Europe/Amsterdam", name="n")
    await add_budget(gateway.state, budget)
    again = UsageStore(gateway.store)
    assert again.budgets.load() == [budget.budget]
    assert again.budgets.made == {"budget_1": budget}


async def test_a_changed_budget_keeps_its_balance_and_counts_calls_meanwhile(gateway: Gateway) -> None:
    await add_budget(gateway.state, made())
    gateway.call(400)
    running = gateway.ledger.reserve(SUBJECTS, Amount(100, 15, 1), now_ms())

    def meanwhile() -> None:
        gateway.meanwhile = lambda: None
        gateway.call(50)
        with pytest.raises(BudgetExceeded):
            gateway.call(451)  # the old limit holds until the new one takes its place

    gateway.meanwhile = meanwhile
    await change_budget(gateway.state, "budget_1", lambda old: made(cost_limit=2000))
    assert gateway.cost("budget_1") == 450
    gateway.finish(running, 7)
    gateway.call(1500)
    assert gateway.cost("budget_1") == 1957 == await recounted(gateway)
    assert [account.budget.id for account in gateway.ledger.accounts(now_ms())] == ["budget_1"]
    account = gateway.ledger.account("budget_1", now_ms())
    assert account
    assert account.balance.pending_cost == 0
    assert UsageStore(gateway.store).budgets.load()[0].cost_limit == 2000


async def test_another_period_is_summed_up_anew(gateway: Gateway) -> None:
    gateway.unstored.append(usage_row("old", created_ms=1000, cost_nano=77, charged=1))
    await add_budget(gateway.state, made())
    assert gateway.cost("budget_1") == 77
    gateway.call(5)
    await change_budget(
        gateway.state, "budget_1", lambda old: replace(old, budget=replace(old.budget, period="monthly"))
    )
    assert gateway.cost("budget_1") == 5


async def test_a_removed_budget_limits_nothing_any_more(gateway: Gateway) -> None:
    await add_budget(gateway.state, made(cost_limit=1))
    with pytest.raises(BudgetExceeded):
        gateway.call(2)
    await remove_budget(gateway.state, "budget_1")
    gateway.call(2)
    assert UsageStore(gateway.store).budgets.load() == []
    with pytest.raises(GatewayError, match="does not exist any more"):
        await remove_budget(gateway.state, "budget_1")
    with pytest.raises(GatewayError, match="does not exist any more"):
        await change_budget(gateway.state, "budget_1", lambda old: old)


@pytest.mark.parametrize("fault", ["rows wait", "disk"])
async def test_what_cannot_be_summed_up_or_kept_is_not_in_force(
    gateway: Gateway, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_budget(gateway.state, made("budget_0"))
    gateway.stuck = fault == "rows wait"
    if fault == "disk":
        monkeypatch.setattr(gateway.usage.budgets, "save", lambda made: gateway.store.write(_fail))
    with pytest.raises((GatewayError, OSError)):
        await add_budget(gateway.state, made())
    with pytest.raises((GatewayError, OSError)):
        await change_budget(gateway.state, "budget_0", lambda old: made("budget_0", cost_limit=5))
    assert [account.budget for account in gateway.ledger.accounts(now_ms())] == [made("budget_0").budget]
    assert list(gateway.usage.budgets.made) == ["budget_0"]


def _fail() -> None:
    raise OSError("the disk is full")


async def test_a_caller_who_leaves_does_not_stop_the_change(gateway: Gateway) -> None:
    task = asyncio.ensure_future(add_budget(gateway.state, made()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(5):
        while "budget_1" not in gateway.usage.budgets.made:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    assert UsageStore(gateway.store).budgets.load() == [made().budget]


async def test_changes_come_one_after_the_other(gateway: Gateway) -> None:
    await add_budget(gateway.state, made())
    limits = [2000, 3000, 4000]
    await asyncio.gather(
        *(change_budget(gateway.state, "budget_1", lambda old, to=to: made(cost_limit=to)) for to in limits)  # type: ignore[misc]
    )
    account = gateway.ledger.account("budget_1", now_ms())
    assert account
    assert (
        account.budget == gateway.usage.budgets.made["budget_1"].budget == UsageStore(gateway.store).budgets.load()[0]
    )
