"""Budgets that are made while the appliance runs: kept in the database, opened and closed in the ledger.

A change runs to its end even when its caller hangs up, and one at a time, so that ledger and database agree.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from appliance.errors import GatewayError
from appliance.limits import Budget
from appliance.state.ledger import Account, Amount
from appliance.state.store import Store, rows_of
from appliance.state.tables import BudgetRow, database

if TYPE_CHECKING:
    from appliance.state import State

T = TypeVar("T")

FLUSH_TRIES = 4
NEXT = "~next"
"""Ends the id of an account that counts already for a budget that is being changed."""


@dataclass(frozen=True, slots=True)
class MadeBudget:
    """`made_in` is how far up its maker could manage people: 0 himself, 1 a tenant, 2 a partner, 3 everything."""

    budget: Budget
    made_by: str
    made_in: int
    created_unix: float


class BudgetStore:
    """What the database holds, also in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.made: dict[str, MadeBudget] = {}
        self.changing = asyncio.Lock()
        """Held while a budget is opened, changed or closed: until then its balance may lack what was used before."""

    def load(self) -> list[Budget]:
        """Called once, at start."""
        with database.connection_context():
            self.made = {row["id"]: _made(row) for row in rows_of(BudgetRow.select())}
        return [made.budget for made in self.made.values()]

    def save(self, made: MadeBudget) -> Future[None]:
        def work() -> None:
            BudgetRow.insert(**_row(made)).on_conflict_replace().execute()

        return self._store.write(work)

    def delete(self, budget_id: str) -> Future[None]:
        def work() -> None:
            BudgetRow.delete().where(BudgetRow.id == budget_id).execute()

        return self._store.write(work)


async def add_budget(state: State, made: MadeBudget) -> None:
    """Enforced and on disk when it returns."""

    async def work() -> None:
        account = await _opened(state, made.budget)
        try:
            await asyncio.wrap_future(state.usage.budgets.save(made))
        except BaseException:
            state.ledger.close(account.budget.id)
            raise
        state.usage.budgets.made[made.budget.id] = made

    await _alone(state, work)


async def change_budget(state: State, budget_id: str, changed: Callable[[MadeBudget], MadeBudget]) -> None:
    """The old budget holds until the new one has been summed up, then one takes the other's place at once."""

    async def work() -> None:
        ledger = state.ledger
        made = changed(_known(state, budget_id))
        following = await _opened(state, replace(made.budget, id=budget_id + NEXT))
        try:
            await asyncio.wrap_future(state.usage.budgets.save(made))
            now_ms = _now_ms()
            ledger.close(budget_id)
            account = ledger.open(made.budget, now_ms)
            # Both looks at the clock give one period: the ledger has rolled the other account to it by now.
            current = ledger.account(following.budget.id, account.balance.start_ms)
            assert current
            if current.balance.start_ms == account.balance.start_ms:
                ledger.add_opening(account, _posted(current))
        finally:
            ledger.close(following.budget.id)
        state.usage.budgets.made[budget_id] = made

    await _alone(state, work)


async def remove_budget(state: State, budget_id: str) -> None:
    async def work() -> None:
        _known(state, budget_id)
        await asyncio.wrap_future(state.usage.budgets.delete(budget_id))
        state.ledger.close(budget_id)
        del state.usage.budgets.made[budget_id]

    await _alone(state, work)


async def flushed(state: State) -> None:
    """Until every row noted so far is in the database; the sums would lack it otherwise."""
    for _ in range(FLUSH_TRIES):
        if await asyncio.to_thread(state.journal.flushed):
            return
    raise GatewayError("JOURNAL_UNAVAILABLE", "usage rows wait for the database, so nothing can be summed up now")


async def _opened(state: State, budget: Budget) -> Account:
    """Calls count in it from the first line on; what was posted before is in the rows with lower entries."""
    account = state.ledger.open(budget, _now_ms())
    bound, balance = state.ledger.next_entry, account.balance
    try:
        await flushed(state)
        used = await state.usage.used_by_now(budget.subject, balance.start_ms, balance.end_ms, bound)
    except BaseException:
        state.ledger.close(budget.id)
        raise
    state.ledger.add_opening(account, used)
    return account


async def _alone(state: State, work: Callable[[], Awaitable[T]]) -> T:
    async def locked() -> T:
        async with state.usage.budgets.changing:
            return await work()

    return await asyncio.shield(locked())


def _known(state: State, budget_id: str) -> MadeBudget:
    """Two callers may delete the same budget; the second waits for the lock and finds it gone."""
    made = state.usage.budgets.made.get(budget_id)
    if made is None:
        raise GatewayError("NOT_FOUND", f"the budget {budget_id} does not exist any more")
    return made


def _posted(account: Account) -> Amount:
    return Amount(account.balance.cost, account.balance.tokens, account.balance.requests)


def _now_ms() -> int:
    return int(time.time() * 1000)


_FIELDS = (
    "id",
    "scope",
    "subject",
    "name",
    "period",
    "timezone",
    "cost_limit",
    "token_limit",
    "request_limit",
    "soft_ppm",
    "hard_action",
)


def _row(made: MadeBudget) -> dict[str, Any]:
    row = {name: getattr(made.budget, name) for name in _FIELDS}
    return row | {"made_by": made.made_by, "made_in": made.made_in, "created_unix": made.created_unix}


def _made(row: dict[str, Any]) -> MadeBudget:
    budget = Budget(**{name: row[name] for name in _FIELDS})
    return MadeBudget(budget, row["made_by"], row["made_in"], row["created_unix"])
