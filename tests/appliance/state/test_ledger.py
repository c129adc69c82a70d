"""The ledger against a simple model: a list of posted rows and a list of open reservations, summed anew at every step.

Budgets of all periods and zones over shared subjects; calls, roll-overs, clocks set back, budgets that come and go,
crashes. SCAIGRID_SEQUENCES sets how many random sequences are played (`make soak` plays more).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random

import pytest

from appliance.limits import Budget, HardAction, Period
from appliance.state import ledger as ledger_module
from appliance.state.ledger import EXPIRE_MS, Amount, Balance, BudgetExceeded, Ledger, Reservation
from appliance.state.periods import window

SEQUENCES = int(os.environ.get("SCAIGRID_SEQUENCES", "2000"))
STEPS = 40
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BEGIN_MS = 1_790_000_000_000
"""September 2026: a walk of some weeks from here meets the end of daylight saving."""
SUBJECTS = ("partner:p", "tenant:a", "tenant:b", "user:a:u", "user:a:v", "user:b:w", "group:a:g", "key:1", "key:2")
CALLERS = (
    ("partner:p", "tenant:a", "user:a:u", "key:1"),
    ("partner:p", "tenant:a", "group:a:g", "user:a:v", "key:2"),
    ("partner:p", "tenant:b", "user:b:w"),
)
PERIODS: tuple[Period, ...] = ("daily", "weekly", "monthly", "total")
ACTIONS: tuple[HardAction, ...] = ("block", "block", "block", "notify", "throttle")
ZONES = ("UTC", "Europe/Amsterdam", "Asia/Kathmandu", "America/Sao_Paulo", "Pacific/Apia")
KINDS = ("cost", "tokens", "requests")
known_window = lru_cache(1000)(window)


# -- the model --------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What a usage row says. `entry` is 0 for a call that a crash interrupted."""

    entry: int
    at_ms: int
    subjects: tuple[str, ...]
    used: Amount


@dataclass
class Opening:
    """A budget whose earlier usage is still being summed: rows with lower entries in the window it was opened in."""

    before_entry: int
    balance: Balance


@dataclass
class Played:
    """One random sequence: the ledger, and what a bookkeeper with pencil and paper would have."""

    rng: Random
    now_ms: int = BEGIN_MS
    seen_ms: int = 0
    """The latest moment that the ledger was told of."""
    rows: list[Row] = field(default_factory=list)
    pending: list[Reservation] = field(default_factory=list)
    budgets: dict[str, Budget] = field(default_factory=dict)
    openings: dict[str, Opening] = field(default_factory=dict)
    told: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    numbered: int = 0
    ledger: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.note_event)
        for _ in range(self.rng.randint(1, 5)):
            self.open(at_once=True)

    def note_event(self, event: str, budget: Budget, balance: Balance) -> None:
        self.told[event, budget.id, balance.start_ms] += 1
        assert self.told[event, budget.id, balance.start_ms] == 1, f"{event} twice in a period"

    # -- what the bookkeeper says --

    def window_of(self, budget: Budget) -> tuple[int, int]:
        return known_window(budget.period, budget.timezone, self.seen_ms)

    def posted(self, budget: Budget) -> dict[str, int]:
        start, end = self.window_of(budget)
        opening = self.openings.get(budget.id)
        rows = [row.used for row in self.rows if budget.subject in row.subjects and start <= row.at_ms < end]
        if opening:  # what was there before it was opened is not known to it yet
            known = opening.before_entry
            rows = [
                row.used
                for row in self.rows
                if budget.subject in row.subjects and start <= row.at_ms < end and row.entry >= known
            ]
        return summed(rows)

    def held(self, budget: Budget) -> dict[str, int]:
        start, end = self.window_of(budget)
        return summed(
            each.amount for each in self.pending if budget.subject in each.subjects and start <= each.at_ms < end
        )

    def applying(self, subjects: Iterable[str]) -> list[Budget]:
        return [budget for budget in self.budgets.values() if budget.subject in subjects]

    def too_small(self, subjects: tuple[str, ...], amount: Amount) -> list[tuple[str, str]]:
        """The blocking budgets, and their limits, that do not cover a further amount."""
        found = []
        for budget in self.applying(subjects):
            if budget.hard_action != "block":
                continue
            posted, held = self.posted(budget), self.held(budget)
            for kind, limit in budget.limits():
                if posted[kind] + held[kind] + getattr(amount, kind) > limit:
                    found.append((budget.id, kind))
        return found

    # -- steps --

    def see(self) -> None:
        self.seen_ms = max(self.seen_ms, self.now_ms)

    def reserve(self) -> None:
        subjects = self.rng.choice(CALLERS)
        amount = Amount(self.rng.randint(0, 40), self.rng.randint(0, 40), 1)
        self.see()
        self.check_room(subjects)
        expected = self.too_small(subjects, amount)
        try:
            reservation = self.ledger.reserve(subjects, amount, self.now_ms)
        except BudgetExceeded as exceeded:
            self.check_refusal(exceeded, amount, expected)
            return
        assert expected == [], "admitted beyond a limit"
        assert reservation.at_ms == self.seen_ms
        self.pending.append(reservation)

    def check_room(self, subjects: tuple[str, ...]) -> None:
        """What `room` says is exactly what fits, and one more of it does not."""
        room = self.ledger.room(subjects, self.seen_ms)
        blocking = [budget for budget in self.applying(subjects) if budget.hard_action == "block"]
        if room is None:
            assert blocking == []
            return
        for kind in KINDS:
            free = [
                max(0, limit - self.posted(budget)[kind] - self.held(budget)[kind])
                for budget in blocking
                for name, limit in budget.limits()
                if name == kind
            ]
            assert getattr(room, kind) == min(free, default=getattr(room, kind))
            assert free or getattr(room, kind) >= 1 << 60

    def check_refusal(self, exceeded: BudgetExceeded, amount: Amount, expected: list[tuple[str, str]]) -> None:
        assert (exceeded.budget.id, exceeded.name) in expected
        limit = dict(exceeded.budget.limits())[exceeded.name]
        fits_alone = self.posted(exceeded.budget)[exceeded.name] + getattr(amount, exceeded.name) <= limit
        assert exceeded.fits_later == fits_alone
        assert exceeded.resets_ms == self.window_of(exceeded.budget)[1]

    def post(self) -> None:
        if not self.pending:
            return
        reservation = self.pending.pop(self.rng.randrange(len(self.pending)))
        most = reservation.amount
        used = Amount(self.rng.randint(0, most.cost), self.rng.randint(0, most.tokens), self.rng.choice((0, 1)))
        if self.rng.random() < 0.05:  # an upstream that does not honour its cap
            used = Amount(most.cost + self.rng.randint(1, 30), most.tokens, 1)
        entry = self.ledger.next_entry
        assert self.ledger.post(reservation, used) == entry
        self.rows.append(Row(entry, reservation.at_ms, reservation.subjects, used))

    def void(self) -> None:
        if self.pending:
            self.ledger.void(self.pending.pop(self.rng.randrange(len(self.pending))))

    def expire(self) -> None:
        limit_ms = self.now_ms - EXPIRE_MS
        lost = [each for each in self.pending if each.at_ms <= limit_ms]
        assert self.ledger.expire(self.now_ms) == len(lost)
        self.pending = [each for each in self.pending if each.at_ms > limit_ms]

    def wait(self) -> None:
        self.now_ms += self.rng.choice((1, 1000, HOUR_MS, 5 * HOUR_MS, DAY_MS, 3 * DAY_MS, 9 * DAY_MS))

    def set_back(self) -> None:
        self.now_ms -= self.rng.choice((1, 1000, HOUR_MS, DAY_MS))

    def open(self, *, at_once: bool = False) -> None:
        budget = some_budget(self.rng, self.numbered)
        self.numbered += 1
        self.see()
        account = self.ledger.open(budget, self.now_ms)
        self.budgets[budget.id] = budget
        self.openings[budget.id] = Opening(self.ledger.next_entry, account.balance)
        if at_once:
            self.finish_opening()

    def finish_opening(self) -> None:
        """The rows below the entry number of the opening have been summed, however long that took."""
        if not self.openings:
            return
        budget_id = self.rng.choice(sorted(self.openings))
        opening = self.openings.pop(budget_id)
        budget = self.budgets[budget_id]
        start, end = opening.balance.start_ms, opening.balance.end_ms
        account = self.ledger.account(budget_id, self.seen_ms)
        assert account
        self.ledger.add_opening(account, self.before(budget, start, end, opening.before_entry))

    def before(self, budget: Budget, start: int, end: int, entry: int) -> Amount:
        rows = (row for row in self.rows if budget.subject in row.subjects and row.entry < entry)
        return Amount(**summed(row.used for row in rows if start <= row.at_ms < end))

    def close(self) -> None:
        if self.budgets:
            budget_id = self.rng.choice(sorted(self.budgets))
            self.ledger.close(budget_id)
            del self.budgets[budget_id]
            self.openings.pop(budget_id, None)

    def crash(self) -> None:
        """The process is killed. What was in flight is booked as an estimate; balances are made of the rows alone.

        The clock is right again at the start: rows of a time to come would not be seen when their period begins.
        """
        for reservation in self.pending:
            most = reservation.amount
            estimate = Amount(self.rng.randint(0, most.cost), self.rng.randint(0, most.tokens), 1)
            self.rows.append(Row(0, reservation.at_ms, reservation.subjects, estimate))
        self.pending.clear()
        self.openings.clear()
        self.told.clear()
        self.now_ms = max(self.now_ms, self.seen_ms)
        self.seen_ms = self.now_ms if self.budgets else 0
        self.ledger = Ledger(self.note_event)
        self.ledger.continue_from(max((row.entry for row in self.rows), default=0))
        for budget in self.budgets.values():
            account = self.ledger.open(budget, self.now_ms)
            balance = account.balance
            entry = self.ledger.next_entry
            self.ledger.add_opening(account, self.before(budget, balance.start_ms, balance.end_ms, entry))

    # -- after each step --

    def check(self) -> None:
        assert self.ledger.open_reservations == len(self.pending)
        accounts = {account.budget.id: account for account in self.ledger.accounts(self.seen_ms)}
        assert accounts.keys() == self.budgets.keys()
        for budget in self.budgets.values():
            balance = accounts[budget.id].balance
            assert (balance.start_ms, balance.end_ms) == self.window_of(budget)
            posted, held = self.posted(budget), self.held(budget)
            assert {kind: balance.posted(kind) for kind in KINDS} == posted
            assert {kind: balance.pending(kind) for kind in KINDS} == held
            assert balance.hard_reached == any(posted[kind] >= limit for kind, limit in budget.limits())
            share = budget.soft_ppm
            assert balance.soft_reached == any(posted[kind] * 10**6 >= n * share for kind, n in budget.limits())

    def play(self) -> None:
        steps = (
            *[self.reserve] * 8,
            *[self.post] * 5,
            self.void,
            self.expire,
            *[self.wait] * 3,
            self.set_back,
            self.open,
            *[self.finish_opening] * 2,
            self.close,
            self.crash,
        )
        for _ in range(STEPS):
            self.rng.choice(steps)()
            self.check()


def summed(amounts: Iterable[Amount]) -> dict[str, int]:
    total = dict.fromkeys(KINDS, 0)
    for amount in amounts:
        for kind in KINDS:
            total[kind] += getattr(amount, kind)
    return total


def some_budget(rng: Random, number: int) -> Budget:
    limits = {f"{name}_limit": rng.choice((1, 30, 100, 300)) for name in rng.sample(("cost", "token", "request"), 2)}
    return Budget(
        id=f"budget_{number}",
        scope="user",
        subject=rng.choice(SUBJECTS),
        period=rng.choice(PERIODS),
        timezone=rng.choice(ZONES),
        soft_ppm=rng.choice((1, 500_000, 800_000, 1_000_000)),
        hard_action=rng.choice(ACTIONS),
        cost_limit=limits.get("cost_limit"),
        token_limit=limits.get("token_limit"),
        request_limit=limits.get("request_limit"),
    )


@pytest.mark.timeout(1200)
def test_random_sequences_differ_in_nothing_from_the_rows() -> None:
    for seed in range(SEQUENCES):
        try:
            Played(Random(seed)).play()
        except AssertionError as difference:
            raise AssertionError(f"sequence {seed}: {difference}") from difference


# -- what the sequences would only show by chance ---------------------------------------------------------------------


def budget(limit: int = 100, **changes: object) -> Budget:
    known: dict[str, object] = {"id": "b", "scope": "tenant", "subject": "tenant:a", "period": "total"}
    return Budget(**(known | {"cost_limit": limit} | changes))  # type: ignore[arg-type]


def opened(*budgets: Budget, now_ms: int = BEGIN_MS) -> Ledger:
    ledger = Ledger()
    for each in budgets:
        ledger.open(each, now_ms)
    return ledger


def balance_of(ledger: Ledger, budget_id: str = "b", now_ms: int = BEGIN_MS) -> Balance:
    account = ledger.account(budget_id, now_ms)
    assert account
    return account.balance


CALLER = ("partner:p", "tenant:a", "user:a:u")


def test_calls_that_keep_within_what_was_reserved_never_pass_a_blocking_limit() -> None:
    rng = Random(7)
    for _ in range(200):
        ledger = opened(budget(100))
        pending: list[Reservation] = []
        for _ in range(100):
            if pending and rng.random() < 0.5:
                reservation = pending.pop(rng.randrange(len(pending)))
                ledger.post(reservation, Amount(rng.randint(0, reservation.amount.cost)))
            else:
                try:
                    pending.append(ledger.reserve(CALLER, Amount(rng.randint(1, 30)), BEGIN_MS))
                except BudgetExceeded:
                    continue
            assert balance_of(ledger).cost + balance_of(ledger).pending_cost <= 100


def test_all_budgets_are_held_or_none() -> None:
    wide, narrow = budget(100, id="w", subject="partner:p"), budget(5, id="n", subject="user:a:u")
    ledger = opened(wide, narrow)
    with pytest.raises(BudgetExceeded) as refused:
        ledger.reserve(CALLER, Amount(6, 0, 1), BEGIN_MS)
    assert refused.value.budget is narrow
    assert balance_of(ledger, "w").pending_cost == 0
    ledger.reserve(CALLER, Amount(5, 0, 1), BEGIN_MS)
    assert [balance_of(ledger, name).pending_cost for name in "wn"] == [5, 5]


def test_a_budget_that_never_fits_is_told_before_one_that_fits_later() -> None:
    """Otherwise the caller waits for the one, only to be refused by the other."""
    ledger = opened(budget(10, id="later", subject="partner:p"), budget(3, id="never", subject="user:a:u"))
    ledger.reserve(("partner:p",), Amount(9), BEGIN_MS)
    with pytest.raises(BudgetExceeded) as refused:
        ledger.reserve(CALLER, Amount(5), BEGIN_MS)
    assert (refused.value.budget.id, refused.value.fits_later) == ("never", False)


@pytest.mark.parametrize("first", ["post", "void", "expire"])
@pytest.mark.parametrize("second", ["post", "void"])
def test_a_reservation_is_resolved_exactly_once(first: str, second: str) -> None:
    ledger = opened(budget())
    reservation = ledger.reserve(CALLER, Amount(5, 5, 1), BEGIN_MS)
    resolve(ledger, reservation, first)
    before = [getattr(balance_of(ledger), name) for name in ("cost", "pending_cost", "requests")]
    with pytest.raises(AssertionError):
        resolve(ledger, reservation, second)
    assert [getattr(balance_of(ledger), name) for name in ("cost", "pending_cost", "requests")] == before
    assert ledger.open_reservations == 0


def resolve(ledger: Ledger, reservation: Reservation, how: str) -> None:
    if how == "post":
        ledger.post(reservation, Amount(3, 3, 1))
    elif how == "void":
        ledger.void(reservation)
    else:
        assert ledger.expire(BEGIN_MS + EXPIRE_MS) == 1


def test_an_overrun_is_booked_and_shown() -> None:
    ledger = opened(budget(100))
    ledger.post(ledger.reserve(CALLER, Amount(10, 10, 1), BEGIN_MS), Amount(130, 10, 1))
    assert (balance_of(ledger).cost, balance_of(ledger).overrun) == (130, 120)
    with pytest.raises(BudgetExceeded) as refused:
        ledger.reserve(CALLER, Amount(0, 0, 1), BEGIN_MS)
    assert not refused.value.fits_later


def test_a_call_is_booked_into_the_period_it_was_reserved_in() -> None:
    ledger = opened(budget(100, period="daily"))
    end = balance_of(ledger).end_ms
    reservation = ledger.reserve(CALLER, Amount(60), end - 1)
    old = balance_of(ledger, now_ms=end - 1)
    other = ledger.reserve(CALLER, Amount(60), end)
    ledger.post(reservation, Amount(50))
    ledger.post(other, Amount(20))
    assert (old.cost, balance_of(ledger, now_ms=end).cost) == (50, 20)


def test_a_clock_set_back_does_not_open_a_period_again() -> None:
    ledger = opened(budget(100, period="daily"))
    end = balance_of(ledger).end_ms
    ledger.post(ledger.reserve(CALLER, Amount(60), end), Amount(60))
    late = ledger.reserve(CALLER, Amount(30), end - HOUR_MS)
    assert late.at_ms == end
    with pytest.raises(BudgetExceeded):
        ledger.reserve(CALLER, Amount(30), end - HOUR_MS)


def test_the_opening_of_a_period_that_is_over_does_not_count_in_the_next() -> None:
    """Summing the rows took until after midnight."""
    ledger = Ledger()
    account = ledger.open(budget(100, period="daily"), BEGIN_MS)
    balance = account.balance
    ledger.reserve(CALLER, Amount(1), balance.end_ms)
    ledger.add_opening(account, Amount(99))
    assert balance_of(ledger, now_ms=balance.end_ms).cost == 0


def test_an_opening_sum_is_not_told_as_an_event_and_what_follows_is() -> None:
    told: list[str] = []
    ledger = Ledger(lambda event, budget, balance: told.append(f"{event} {budget.id}"))
    ledger.add_opening(ledger.open(budget(100), BEGIN_MS), Amount(90))
    assert told == []
    ledger.post(ledger.reserve(CALLER, Amount(5), BEGIN_MS), Amount(5))
    assert told == []
    ledger.post(ledger.reserve(CALLER, Amount(5), BEGIN_MS), Amount(5))
    assert told == ["budget.hard_limit_reached b"]


def test_only_a_used_up_throttling_budget_throttles() -> None:
    ledger = opened(budget(10, id="t", hard_action="throttle"), budget(10, id="n", hard_action="notify"))
    ledger.post(ledger.reserve(CALLER, Amount(9), BEGIN_MS), Amount(9))
    assert not ledger.throttled(CALLER, BEGIN_MS)
    ledger.post(ledger.reserve(CALLER, Amount(9), BEGIN_MS), Amount(9))  # neither of them blocks
    assert ledger.throttled(CALLER, BEGIN_MS)
    assert not ledger.throttled(("tenant:other",), BEGIN_MS)
    ledger.close("t")
    assert not ledger.throttled(CALLER, BEGIN_MS)


def test_whether_any_budget_throttles_is_known_without_looking() -> None:
    ledger = opened(budget(hard_action="notify"), budget(id="t", hard_action="throttle"))
    before = ledger.any_throttles
    ledger.close("t")
    assert (before, ledger.any_throttles) == (True, False)


def test_an_amount_is_never_negative() -> None:
    for amounts in ((-1, 0, 0), (0, -1, 0), (0, 0, -1)):
        with pytest.raises(AssertionError):
            Amount(*amounts)


def test_open_reservations_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "MAX_OPEN_RESERVATIONS", 3)
    ledger = opened(budget())
    for _ in range(3):
        ledger.reserve(CALLER, Amount(), BEGIN_MS)
    with pytest.raises(AssertionError, match="not being resolved"):
        ledger.reserve(CALLER, Amount(), BEGIN_MS)


async def test_who_waits_is_told_when_a_reservation_is_resolved_whatever_way() -> None:
    ledger = opened(budget())
    for how in ("post", "void", "expire"):
        reservation = ledger.reserve(CALLER, Amount(5), BEGIN_MS)
        patient, gone = ledger.resolved(), ledger.resolved()
        gone.cancel()
        await asyncio.sleep(0)
        assert not patient.done()
        resolve(ledger, reservation, how)
        assert patient.done()


async def test_who_waits_looks_again_when_a_budget_changes_or_goes() -> None:
    ledger = opened(budget())
    waiting = ledger.resolved()
    ledger.change("b", budget(200))
    assert waiting.done()
    again = ledger.resolved()
    ledger.close("b")
    assert again.done()


def test_a_changed_budget_keeps_its_balance_under_its_new_id() -> None:
    ledger = opened(budget(100))
    ledger.post(ledger.reserve(("tenant:a",), Amount(60), BEGIN_MS), Amount(60))
    held = ledger.reserve(("tenant:a",), Amount(30), BEGIN_MS)
    ledger.change("b", budget(200, id="c", hard_action="throttle"))
    assert ledger.account("b", BEGIN_MS) is None
    balance = balance_of(ledger, "c")
    assert (balance.cost, balance.pending_cost) == (60, 30)
    throttles = [ledger.any_throttles]
    ledger.change("c", budget(200, id="c"))
    assert [*throttles, ledger.any_throttles] == [True, False]
    ledger.void(held)
    assert ledger.room(("tenant:a",), BEGIN_MS) == Amount(140, 1 << 62, 1 << 62)


def test_a_limit_that_is_lowered_below_what_is_used_is_told_and_a_raised_one_can_be_reached_again() -> None:
    told: list[str] = []
    ledger = Ledger(lambda event, _, __: told.append(event))
    ledger.open(budget(1000), BEGIN_MS)
    ledger.post(ledger.reserve(("tenant:a",), Amount(100), BEGIN_MS), Amount(100))
    assert told == []
    ledger.change("b", budget(100))
    assert told == ["budget.soft_limit_reached", "budget.hard_limit_reached"]
    ledger.change("b", budget(100))
    assert len(told) == 2
    ledger.change("b", budget(200))
    ledger.post(ledger.reserve(("tenant:a",), Amount(100), BEGIN_MS), Amount(100))
    assert told[2:] == ["budget.soft_limit_reached", "budget.hard_limit_reached"]


def test_whose_and_which_period_a_budget_counts_cannot_be_changed() -> None:
    for other in (budget(subject="tenant:b"), budget(period="daily"), budget(timezone="Europe/Amsterdam")):
        with pytest.raises(AssertionError):
            opened(budget()).change("b", other)
