"""The YAML's budgets over a reload: those that stay keep their balance, new ones open with what the rows say.

Until `put_in_force` nothing of it limits anybody: new accounts count along under another id, without limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from appliance.limits import Budget
from appliance.state import State
from appliance.state.budgets import NEXT, flushed
from appliance.state.ledger import Account, Amount, Ledger

SLICE = 200
"""Accounts that are opened before other tasks get their turn."""


@dataclass(slots=True)
class BudgetPlan:
    """Ids of budgets that end; those that stay with other settings; those that are new, or count another period."""

    closed: list[str] = field(default_factory=list)
    changed: list[Budget] = field(default_factory=list)
    opened: list[Budget] = field(default_factory=list)


async def prepare(state: State, wanted: Iterable[Budget]) -> BudgetPlan:
    """Sums up what is new. Raises JOURNAL_UNAVAILABLE when that cannot be done now. Only with `changing` held."""
    assert state.usage.budgets.changing.locked()
    plan = _plan(state.ledger, {budget.id: budget for budget in wanted})
    accounts: list[tuple[Account, int]] = []
    try:
        for position, budget in enumerate(plan.opened):
            if position % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            account = state.ledger.open(_silent(budget), _now_ms())
            accounts.append((account, state.ledger.next_entry))
        if accounts:
            await flushed(state)
            for (account, _), used in zip(accounts, await _used(state, accounts), strict=True):
                state.ledger.add_opening(account, used)
    except BaseException:
        for account, _ in accounts:
            state.ledger.close(account.budget.id)
        raise
    return plan


def put_in_force(ledger: Ledger, plan: BudgetPlan) -> None:
    ledger.accounts(_now_ms())  # rolls them all to the period of now
    for budget_id in plan.closed:
        ledger.close(budget_id)
    for budget in plan.changed:
        ledger.change(budget.id, budget)
    for budget in plan.opened:
        ledger.change(budget.id + NEXT, budget)


def abandon(ledger: Ledger, plan: BudgetPlan) -> None:
    for budget in plan.opened:
        ledger.close(budget.id + NEXT)


def _plan(ledger: Ledger, wanted: dict[str, Budget]) -> BudgetPlan:
    plan = BudgetPlan()
    kept: set[str] = set()
    for account in ledger.accounts(_now_ms()):
        known = account.budget
        if not known.declared:
            continue  # made over the API
        following = wanted.get(known.id)
        if following is None or _window(following) != _window(known):
            plan.closed.append(known.id)
            continue
        kept.add(known.id)
        if following != known:
            plan.changed.append(following)
    plan.opened = [budget for budget in wanted.values() if budget.id not in kept]
    return plan


def _window(budget: Budget) -> tuple[str, str, str]:
    """What a balance depends on."""
    return budget.subject, budget.period, budget.timezone


def _silent(budget: Budget) -> Budget:
    return replace(
        budget,
        id=budget.id + NEXT,
        cost_limit=None,
        token_limit=None,
        request_limit=None,
        hard_action="notify",
    )


async def _used(state: State, accounts: list[tuple[Account, int]]) -> list[Amount]:
    """In the period that each was opened in, by the calls before it was opened."""
    asked = [(account.budget.subject, account.opened, before_entry) for account, before_entry in accounts]

    def work() -> list[Amount]:
        return [
            state.usage.used(subject, balance.start_ms, balance.end_ms, before_entry)
            for subject, balance, before_entry in asked
        ]

    return await state.store.read(work)


def _now_ms() -> int:
    return int(time.time() * 1000)
