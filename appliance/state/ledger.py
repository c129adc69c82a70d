"""Budgets as accounts: reserve the worst case before a call, settle to what was used, each reservation exactly once.

    pending → posted     the call was made; what it used is booked
            → voided     the call was not made; nothing is booked
            → expired    nobody resolved it in time; the net for our own mistakes

Integers only: nano-USD, tokens, requests. Everything here is synchronous, so nothing can come between a check and the
booking. Assertions are for our mistakes and stay on; BudgetExceeded is for everyone else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from appliance.limits import Budget
from appliance.state.periods import window

MAX_OPEN_RESERVATIONS = 200_000
EXPIRE_MS = 6 * 3600 * 1000
"""Longer than any call may take; a reservation this old was lost by a fault of ours."""


@dataclass(frozen=True, slots=True)
class Amount:
    """What a call uses, or may use: nano-USD, tokens, requests."""

    cost: int = 0
    tokens: int = 0
    requests: int = 0

    def __post_init__(self) -> None:
        assert self.cost >= 0
        assert self.tokens >= 0
        assert self.requests >= 0


@dataclass(slots=True)
class Balance:
    """One account in one period. `overrun` is what calls used above what had been reserved for them, in nano-USD."""

    start_ms: int
    end_ms: int
    cost: int = 0
    tokens: int = 0
    requests: int = 0
    pending_cost: int = 0
    pending_tokens: int = 0
    pending_requests: int = 0
    overrun: int = 0
    soft_reached: bool = False
    hard_reached: bool = False

    def posted(self, name: str) -> int:
        value: int = getattr(self, name)
        return value

    def pending(self, name: str) -> int:
        value: int = getattr(self, f"pending_{name}")
        return value


@dataclass(slots=True)
class Account:
    budget: Budget
    balance: Balance
    opened: Balance
    """The balance of the period in which the budget was opened."""


@dataclass(slots=True)
class Reservation:
    """Held in all accounts that apply, each in the period it was made in. `at_ms` never runs backwards."""

    id: int
    subjects: tuple[str, ...]
    amount: Amount
    at_ms: int
    held: list[tuple[Account, Balance]]
    status: Literal["pending", "posted", "voided", "expired"] = "pending"


class BudgetExceeded(Exception):
    """`fits_later`: it would fit once the reservations that are pending now are settled to nothing."""

    def __init__(self, budget: Budget, name: str, resets_ms: int, fits_later: bool) -> None:
        super().__init__(budget.id)
        self.budget = budget
        self.name = name
        self.resets_ms = resets_ms
        self.fits_later = fits_later


Event = Callable[[str, Budget, Balance], None]
"""Told once per period: "budget.soft_limit_reached" and "budget.hard_limit_reached"."""


class Ledger:
    def __init__(self, on_event: Event | None = None) -> None:
        self._accounts: dict[str, Account] = {}
        self._by_subject: dict[str, list[Account]] = {}
        self._open: dict[int, Reservation] = {}
        self._next_id = 1
        self._now_ms = 0
        self._entry = 0
        self._throttling = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._on_event = on_event

    # -- which budgets there are --

    def open(self, budget: Budget, now_ms: int) -> Account:
        """Add a budget. Calls in flight count in it from now on; what was used before comes with `add_opening`."""
        assert budget.id not in self._accounts
        start, end = window(budget.period, budget.timezone, self._forward(now_ms))
        balance = Balance(start, end)
        account = Account(budget, balance, balance)
        self._accounts[budget.id] = account
        self._throttling += budget.hard_action == "throttle"
        self._by_subject.setdefault(budget.subject, []).append(account)
        for reservation in self._open.values():
            if budget.subject in reservation.subjects and reservation.at_ms >= start:
                reservation.held.append((account, account.balance))
                _hold(account.balance, reservation.amount, 1)
        return account

    def add_opening(self, account: Account, used: Amount) -> None:
        """What the subject had used in this period when the budget was opened. It is not told as an event again."""
        balance = account.opened  # the period may have rolled over since
        balance.cost += used.cost
        balance.tokens += used.tokens
        balance.requests += used.requests
        balance.soft_reached = _reached(account, balance, soft=True)
        balance.hard_reached = _reached(account, balance, soft=False)

    def close(self, budget_id: str) -> None:
        """Take a budget away. Reservations that hold something in it are resolved against it all the same."""
        account = self._accounts.pop(budget_id)
        self._throttling -= account.budget.hard_action == "throttle"
        accounts = self._by_subject[account.budget.subject]
        accounts.remove(account)
        if not accounts:
            del self._by_subject[account.budget.subject]
        self._wake()

    def change(self, budget_id: str, budget: Budget) -> None:
        """Other limits, another action or another id for an account: its balance stays, and who waits looks again."""
        account = self._accounts.pop(budget_id)
        old = account.budget
        assert budget.id not in self._accounts
        assert (old.subject, old.period, old.timezone) == (budget.subject, budget.period, budget.timezone)
        self._throttling += (budget.hard_action == "throttle") - (old.hard_action == "throttle")
        account.budget = budget
        self._accounts[budget.id] = account
        balance = account.balance
        balance.soft_reached = balance.soft_reached and _reached(account, balance, soft=True)
        balance.hard_reached = balance.hard_reached and _reached(account, balance, soft=False)
        self._tell(account, balance)
        self._wake()

    def accounts(self, now_ms: int) -> Iterable[Account]:
        for account in self._accounts.values():
            _roll(account, now_ms)
        return self._accounts.values()

    def account(self, budget_id: str, now_ms: int) -> Account | None:
        account = self._accounts.get(budget_id)
        if account:
            _roll(account, now_ms)
        return account

    @property
    def next_entry(self) -> int:
        """The running number that the next posting gets. See `entry` of the usage rows."""
        return self._entry + 1

    def continue_from(self, entry: int) -> None:
        """At start: the highest number that was ever given."""
        assert not self._open
        self._entry = entry

    # -- the life of a reservation --

    def room(self, subjects: Iterable[str], now_ms: int) -> Amount | None:
        """What is left for one more call in every blocking budget; None when none limits anything.

        A kind that no budget limits has more room than any call can use.
        """
        left = {"cost": _UNLIMITED, "tokens": _UNLIMITED, "requests": _UNLIMITED}
        limited = False
        for account in self._applying(subjects, now_ms):
            if account.budget.hard_action != "block":
                continue
            for name, limit in account.budget.limits():
                limited = True
                free = limit - account.balance.posted(name) - account.balance.pending(name)
                left[name] = min(left[name], max(0, free))
        return Amount(**left) if limited else None

    def reserve(self, subjects: tuple[str, ...], amount: Amount, now_ms: int) -> Reservation:
        """Hold the worst case in all budgets that apply, or in none. Raises BudgetExceeded for the first too small."""
        now_ms = self._forward(now_ms)
        accounts = list(self._applying(subjects, now_ms))
        check_room(accounts, amount)
        assert len(self._open) < MAX_OPEN_RESERVATIONS, "reservations are not being resolved"
        held = [(account, account.balance) for account in accounts]
        for _, balance in held:
            _hold(balance, amount, 1)
        reservation = Reservation(self._next_id, subjects, amount, now_ms, held)
        self._next_id += 1
        self._open[reservation.id] = reservation
        return reservation

    def post(self, reservation: Reservation, used: Amount) -> int:
        """Settle to what was used; returns the entry's number. More than was reserved is booked all the same."""
        self._resolve(reservation, "posted")
        self._entry += 1
        for account, balance in reservation.held:
            balance.cost += used.cost
            balance.tokens += used.tokens
            balance.requests += used.requests
            balance.overrun += max(0, used.cost - reservation.amount.cost)
            self._tell(account, balance)
        return self._entry

    def void(self, reservation: Reservation) -> None:
        self._resolve(reservation, "voided")

    def expire(self, now_ms: int) -> int:
        """Give back what nobody resolved. Returns how many there were: more than none is a fault of ours."""
        lost = [reservation for reservation in self._open.values() if reservation.at_ms + EXPIRE_MS <= now_ms]
        for reservation in lost:
            self._resolve(reservation, "expired")
        return len(lost)

    @property
    def open_reservations(self) -> int:
        return len(self._open)

    @property
    def any_throttles(self) -> bool:
        return self._throttling > 0

    def throttled(self, subjects: Iterable[str], now_ms: int) -> bool:
        """A budget that throttles is used up."""
        return any(
            account.budget.hard_action == "throttle" and _reached(account, account.balance, soft=False)
            for account in self._applying(subjects, now_ms)
        )

    def _applying(self, subjects: Iterable[str], now_ms: int) -> Iterable[Account]:
        for subject in subjects:
            for account in self._by_subject.get(subject, ()):
                _roll(account, now_ms)
                yield account

    def _resolve(self, reservation: Reservation, status: Literal["posted", "voided", "expired"]) -> None:
        assert reservation.status == "pending", f"reservation {reservation.id} is {reservation.status} already"
        reservation.status = status
        del self._open[reservation.id]
        for _, balance in reservation.held:
            _hold(balance, reservation.amount, -1)
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def resolved(self) -> asyncio.Future[None]:
        """A future that is done when the next reservation is resolved or a budget changes, which may make room."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def _forward(self, now_ms: int) -> int:
        """A clock that is set back must not book into a period that has been closed."""
        self._now_ms = max(self._now_ms, now_ms)
        return self._now_ms

    def _tell(self, account: Account, balance: Balance) -> None:
        if not balance.soft_reached and _reached(account, balance, soft=True):
            balance.soft_reached = True
            if self._on_event:
                self._on_event("budget.soft_limit_reached", account.budget, balance)
        if not balance.hard_reached and _reached(account, balance, soft=False):
            balance.hard_reached = True
            if self._on_event:
                self._on_event("budget.hard_limit_reached", account.budget, balance)


_UNLIMITED = 1 << 62


def _hold(balance: Balance, amount: Amount, sign: Literal[1, -1]) -> None:
    balance.pending_cost += sign * amount.cost
    balance.pending_tokens += sign * amount.tokens
    balance.pending_requests += sign * amount.requests
    assert balance.pending_cost >= 0
    assert balance.pending_tokens >= 0
    assert balance.pending_requests >= 0


def _roll(account: Account, now_ms: int) -> None:
    """A new period starts with nothing; the old balance lives on in the reservations that were made in it."""
    if now_ms >= account.balance.end_ms:
        start, end = window(account.budget.period, account.budget.timezone, now_ms)
        assert start >= account.balance.end_ms
        account.balance = Balance(start, end)


def check_room(accounts: list[Account], amount: Amount) -> None:
    """Raises for the first budget that is too small; one that does not fit later either comes before those that do."""
    waiting: BudgetExceeded | None = None
    for account in accounts:
        if account.budget.hard_action != "block":
            continue
        balance = account.balance
        for name, limit in account.budget.limits():
            wanted = getattr(amount, name)
            if balance.posted(name) + wanted > limit:
                raise BudgetExceeded(account.budget, name, balance.end_ms, fits_later=False)
            if balance.posted(name) + balance.pending(name) + wanted > limit and waiting is None:
                waiting = BudgetExceeded(account.budget, name, balance.end_ms, fits_later=True)
    if waiting:
        raise waiting


def _reached(account: Account, balance: Balance, *, soft: bool) -> bool:
    share = account.budget.soft_ppm if soft else 1_000_000
    return any(balance.posted(name) * 1_000_000 >= limit * share for name, limit in account.budget.limits())
