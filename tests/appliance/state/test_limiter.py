"""The limiter against an exact model (lists of moments): never too much, at most a second late, and honest about when.

The model knows no buckets. SCAIGRID_SEQUENCES sets how many random sequences are played (`make soak` plays more).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from random import Random

import pytest

from appliance.limits import Limits
from appliance.state import limiter as limiter_module
from appliance.state.limiter import WINDOW_S, Grant, Limited, Limiter, throttled

SEQUENCES = int(os.environ.get("SCAIGRID_SEQUENCES", "2000"))
STEPS = 40
LATE_S = 1.0
"""How much later than exactly after 60 s capacity may return: the documented error."""


# -- the exact model --------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Taken:
    """What one call holds: the moment it was admitted, its tokens as they are known now, and whether it still runs."""

    at: float
    subjects: tuple[str, ...]
    tokens: int
    running: bool = True
    more: tuple[float, int] | None = None
    """Tokens above the estimate, and when they became known."""


@dataclass
class Model:
    limits: dict[str, Limits]
    taken: list[Taken] = field(default_factory=list)

    def requests(self, subject: str, now: float, age_s: float) -> int:
        return sum(1 for call in self.taken if subject in call.subjects and now - call.at < age_s)

    def tokens(self, subject: str, now: float, age_s: float) -> int:
        total = 0
        for call in self.taken:
            if subject in call.subjects:
                total += call.tokens if now - call.at < age_s else 0
                total += call.more[1] if call.more and now - call.more[0] < age_s else 0
        return total

    def running(self, subject: str) -> int:
        return sum(1 for call in self.taken if subject in call.subjects and call.running)

    def fits(self, subjects: Sequence[str], tokens: int, now: float, age_s: float) -> bool:
        """Would a further call keep within every limit, if only what is younger than `age_s` counts?"""
        for subject in subjects:
            limits = self.limits[subject]
            wanted = (
                (limits.requests_per_minute, self.requests(subject, now, age_s) + 1),
                (limits.tokens_per_minute, self.tokens(subject, now, age_s) + tokens),
                (limits.concurrent_requests, self.running(subject) + 1),
            )
            if any(limit is not None and amount > limit for limit, amount in wanted):
                return False
        return True


@dataclass
class Played:
    """One random sequence: the limiter, the model, and the calls that run."""

    rng: Random
    limiter: Limiter = field(default_factory=Limiter)
    model: Model = field(default_factory=lambda: Model({}))
    now: float = 5000.0
    running: list[tuple[Grant, Taken]] = field(default_factory=list)

    def wanted(self, subjects: Sequence[str]) -> list[tuple[str, Limits]]:
        return [(subject, self.model.limits[subject]) for subject in subjects]

    def some_subjects(self) -> tuple[str, ...]:
        """One key of one user of the one tenant, as calls have them."""
        return (f"key:{self.rng.randrange(3)}", f"user:{self.rng.randrange(2)}", "tenant:t", "partner:p")

    def take(self) -> None:
        subjects, tokens = self.some_subjects(), self.rng.choice((0, 1, 5, 20, 60))
        try:
            grant = self.limiter.take(self.wanted(subjects), tokens, self.now)
        except Limited as limited:
            assert not self.model.fits(subjects, tokens, self.now, WINDOW_S + LATE_S), "refused although there is room"
            self.check_retry(limited, subjects, tokens)
            return
        assert self.model.fits(subjects, tokens, self.now, WINDOW_S), "more than the limit within 60 s"
        taken = Taken(self.now, subjects, tokens)
        self.model.taken.append(taken)
        self.running.append((grant, taken))

    def check_retry(self, limited: Limited, subjects: tuple[str, ...], tokens: int) -> None:
        """Nobody else comes: the promised moment is the first at which the same call is taken."""
        if limited.retry_after_s is None:
            limit = self.model.limits[limited.subject].tokens_per_minute
            assert limited.kind == "concurrent" or (limit is not None and tokens > limit)
            return
        if not self.could_ever(subjects, tokens):
            return
        later = copy.deepcopy(self.limiter)
        later.take(self.wanted(subjects), tokens, self.now + limited.retry_after_s)
        if limited.retry_after_s > 0.01:
            sooner = copy.deepcopy(self.limiter)
            with pytest.raises(Limited):
                sooner.take(self.wanted(subjects), tokens, self.now + limited.retry_after_s - 0.01)

    def could_ever(self, subjects: tuple[str, ...], tokens: int) -> bool:
        """Waiting alone helps: no limit is smaller than the call, and no slot has to be given back by others."""
        for subject in subjects:
            limits = self.model.limits[subject]
            if limits.tokens_per_minute is not None and tokens > limits.tokens_per_minute:
                return False
            if limits.concurrent_requests is not None and self.model.running(subject) >= limits.concurrent_requests:
                return False
        return True

    def release(self) -> None:
        if not self.running:
            return
        grant, taken = self.running.pop(self.rng.randrange(len(self.running)))
        used = self.rng.choice((0, taken.tokens // 2, taken.tokens, taken.tokens + 7))
        self.limiter.release(grant, used, self.now)
        taken.running = False
        if used > taken.tokens:
            taken.more = (self.now, used - taken.tokens)
        else:
            taken.tokens = used

    def give_back(self) -> None:
        if self.running:
            grant, taken = self.running.pop(self.rng.randrange(len(self.running)))
            self.limiter.give_back(grant, self.now)
            self.model.taken.remove(taken)

    def wait(self) -> None:
        self.now += self.rng.choice((0.0, 0.001, 0.3, 0.999, 1.0, 5.5, 20.0, 59.999, 60.0, 61.0, 200.0))

    def play(self, steps: int) -> None:
        for _ in range(steps):
            actions = (self.take, self.take, self.take, self.release, self.give_back, self.wait, self.wait)
            self.rng.choice(actions)()
        for subject in self.model.limits:
            assert self.limiter.concurrent(subject) == self.model.running(subject)


def some_limits(rng: Random) -> Limits:
    return Limits(
        rng.choice((None, 1, 2, 5, 9)), rng.choice((None, None, 10, 40, 100)), rng.choice((None, None, 1, 3, 6))
    )


def new_sequence(seed: int) -> Played:
    rng = Random(seed)
    subjects = [*(f"key:{number}" for number in range(3)), "user:0", "user:1", "tenant:t", "partner:p"]
    return Played(rng, model=Model({subject: some_limits(rng) for subject in subjects}))


@pytest.mark.timeout(1200)
def test_random_sequences_differ_from_the_exact_model_by_no_more_than_a_second() -> None:
    for seed in range(SEQUENCES):
        try:
            new_sequence(seed).play(STEPS)
        except (AssertionError, Limited) as difference:
            raise AssertionError(f"sequence {seed}") from difference


def test_sweeping_changes_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sequences with a sweep at every take end in the same grants and refusals."""
    for seed in range(SEQUENCES // 10):
        results = []
        for sweep_every in (1, 1_000_000):
            monkeypatch.setattr(limiter_module, "SWEEP_EVERY", sweep_every)
            played = new_sequence(seed)
            played.play(STEPS)
            results.append([astuple(call) for call in played.model.taken])
        assert results[0] == results[1], f"sequence {seed}"


def test_slots_return_to_nothing_when_all_calls_have_ended() -> None:
    for seed in range(SEQUENCES // 10):
        played = new_sequence(seed)
        played.play(STEPS)
        while played.running:
            played.release()
        assert all(played.limiter.concurrent(subject) == 0 for subject in played.model.limits), f"sequence {seed}"


# -- what the sequences would only show by chance ---------------------------------------------------------------------


def test_a_burst_over_the_edge_of_a_minute_gets_no_double_share() -> None:
    limiter, wanted = Limiter(), [("key:1", Limits(requests_per_minute=3))]
    for at in (59.9, 59.95, 59.99):
        limiter.take(wanted, 0, at)
    for at in (60.0, 60.5, 119.8, 119.9):
        with pytest.raises(Limited):
            limiter.take(wanted, 0, at)
    limiter.take(wanted, 0, 121.0)


def test_what_one_limit_refuses_takes_nothing_from_the_others() -> None:
    limiter = Limiter()
    tight, wide = ("user:u", Limits(requests_per_minute=1)), ("tenant:t", Limits(requests_per_minute=3))
    limiter.take([tight, wide], 0, 0.0)
    for _ in range(50):
        with pytest.raises(Limited) as refused:
            limiter.take([wide, tight], 0, 1.0)
        assert refused.value.subject == "user:u"
    for _ in range(2):
        limiter.take([wide], 0, 1.0)
    with pytest.raises(Limited):
        limiter.take([wide], 0, 1.0)


def test_the_longest_wait_of_all_limits_is_told() -> None:
    """Requests are free in a moment, tokens much later: a retry at the first moment would be refused again."""
    limiter = Limiter()
    wanted = [("key:1", Limits(requests_per_minute=2, tokens_per_minute=100))]
    limiter.release(limiter.take(wanted, 0, 0.0), 0, 0.0)
    limiter.release(limiter.take(wanted, 90, 30.0), 90, 30.0)
    with pytest.raises(Limited) as refused:
        limiter.take(wanted, 50, 31.0)
    assert refused.value.retry_after_s is not None
    limiter.take(wanted, 50, 31.0 + refused.value.retry_after_s)


def test_tokens_are_corrected_when_they_are_known() -> None:
    limiter, wanted = Limiter(), [("key:1", Limits(tokens_per_minute=100))]
    grant = limiter.take(wanted, 90, 0.0)
    with pytest.raises(Limited):
        limiter.take(wanted, 20, 1.0)
    limiter.release(grant, 10, 2.0)
    grant = limiter.take(wanted, 90, 3.0)
    limiter.release(grant, 150, 4.0)
    with pytest.raises(Limited):
        limiter.take(wanted, 1, 63.5)


def test_tokens_above_the_estimate_count_also_after_a_call_of_more_than_a_minute() -> None:
    limiter, wanted = Limiter(), [("key:1", Limits(tokens_per_minute=100))]
    grant = limiter.take(wanted, 10, 0.0)
    limiter.release(limiter.take(wanted, 0, 200.0), 0, 200.0)
    limiter.release(grant, 100, 300.0)
    with pytest.raises(Limited):
        limiter.take(wanted, 50, 301.0)


def test_a_grant_is_released_once() -> None:
    limiter = Limiter()
    grant = limiter.take([("key:1", Limits())], 0, 0.0)
    limiter.release(grant, 0, 0.0)
    with pytest.raises(AssertionError):
        limiter.release(grant, 0, 0.0)


def test_a_call_that_was_given_back_never_was() -> None:
    limiter, wanted = Limiter(), [("key:1", Limits(requests_per_minute=1, tokens_per_minute=5, concurrent_requests=1))]
    for _ in range(10):
        limiter.give_back(limiter.take(wanted, 5, 0.0), 0.5)
    limiter.take(wanted, 5, 0.6)


def test_the_headers_tell_the_tightest_limit_and_when_it_is_whole_again() -> None:
    limiter = Limiter()
    wanted = [("key:1", Limits(5)), ("tenant:t", Limits(3)), ("partner:p", Limits())]
    limiter.take(wanted, 0, 100.5)
    grant = limiter.take(wanted, 0, 130.5)
    limit, remaining, reset_s = grant.headers
    assert (limit, remaining) == (3, 1)
    for _ in range(3):  # at the moment that was told, the whole limit is there
        limiter.take([("tenant:t", Limits(3))], 0, 130.5 + reset_s)


def test_memory_follows_the_subjects_of_the_last_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter_module, "SWEEP_EVERY", 100)
    limiter = Limiter()
    for number in range(10_000):
        grant = limiter.take([(f"ip:{number}", Limits(60))], 0, number * 0.1)
        limiter.release(grant, 0, number * 0.1)
    assert len(limiter._subjects) < 1000


@pytest.mark.parametrize(
    ("whole", "tenth"), [(Limits(60, 1000, 30), Limits(6, 100, 3)), (Limits(5), Limits(1)), (Limits(), Limits())]
)
def test_throttling_leaves_a_tenth_and_at_least_one(whole: Limits, tenth: Limits) -> None:
    assert throttled(whole) == tenth
