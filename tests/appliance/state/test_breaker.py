"""The breaker step by step, then at random against a model of its own, which it has to equal after every step."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.state.breaker import FAILURES_KEPT, MAX_COOLDOWN_S, PROBE_WAIT_S, UNUSED_S, Breaker, Refused, Rule

RULE = Rule(failures=3, window_s=30.0, cooldown_s=15.0)
LAX = Rule(failures=5, window_s=30.0, cooldown_s=10.0)


def fail(breaker: Breaker, rule: Rule, now: float) -> None:
    lease = breaker.enter(rule, now)
    assert not isinstance(lease, Refused), lease
    breaker.failed(lease, now, now)


def opened(rule: Rule = RULE, now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(rule.failures):
        fail(breaker, rule, now)
    return breaker


def probe(breaker: Breaker, now: float, rule: Rule = RULE, lease_s: float = 60.0) -> int:
    lease = breaker.enter(rule, now, lease_s)
    assert isinstance(lease, int)
    assert lease, "an ordinary call, not a probe"
    return lease


# -- opening ----------------------------------------------------------------------------------------------------------


def test_it_opens_with_the_last_failure_that_the_rule_allows() -> None:
    breaker = Breaker()
    fail(breaker, RULE, 0.0)
    fail(breaker, RULE, 1.0)
    assert breaker.enter(RULE, 2.0) == 0
    fail(breaker, RULE, 2.0)
    assert breaker.enter(RULE, 2.0) == Refused("open", 15.0)
    assert breaker.enter(RULE, 16.0) == Refused("open", 1.0)
    assert breaker.state(16.0) == "open"


def test_failures_outside_of_the_window_do_not_add_up() -> None:
    breaker = Breaker()
    for now in range(0, 300, 15):
        fail(breaker, RULE, float(now))
    assert breaker.state(300.0) == "closed"


def test_successes_between_failures_change_nothing() -> None:
    breaker = Breaker()
    for now in (0.0, 1.0, 2.0):
        assert breaker.enter(RULE, now) == 0
        breaker.succeeded(0, now)
        breaker.failed(0, now, now)
    assert breaker.state(2.0) == "open"


def test_many_failures_can_be_asked_for() -> None:
    many = Rule(FAILURES_KEPT * 3, 30.0, 15.0)
    breaker = opened(many)
    assert breaker.state(0.0) == "open"
    assert breaker.rules(0.0)[0]["failures_in_window"] == FAILURES_KEPT * 3


def test_late_failures_do_not_prolong_the_wait() -> None:
    breaker = opened()
    breaker.failed(0, 0.0, 14.0)
    assert breaker.enter(RULE, 14.0) == Refused("open", 1.0)


# -- probing ----------------------------------------------------------------------------------------------------------


def test_after_the_cooldown_one_call_at_a_time_gets_through() -> None:
    breaker = opened()
    lease = probe(breaker, 15.0)
    assert breaker.state(15.0) == "half_open"
    assert breaker.enter(RULE, 15.0) == Refused("probing", PROBE_WAIT_S)
    breaker.dropped(lease)
    assert probe(breaker, 16.0) != lease


def test_an_answered_probe_closes_and_the_old_failures_are_forgiven() -> None:
    breaker = opened()
    breaker.succeeded(probe(breaker, 15.0), 16.0)
    assert breaker.state(16.0) == "closed"
    fail(breaker, RULE, 17.0)
    fail(breaker, RULE, 17.0)
    assert breaker.state(17.0) == "closed"
    fail(breaker, RULE, 17.0)
    assert breaker.enter(RULE, 17.0) == Refused("open", 15.0)


def test_a_failed_probe_doubles_the_cooldown_up_to_the_limit_and_an_answered_one_resets_it() -> None:
    breaker = opened()
    now, waits = 15.0, []
    for _ in range(7):
        breaker.failed(probe(breaker, now), now, now)
        refused = breaker.enter(RULE, now)
        assert isinstance(refused, Refused)
        waits.append(refused.wait_s)
        now += refused.wait_s
    assert waits == [30.0, 60.0, 120.0, 240.0, MAX_COOLDOWN_S, MAX_COOLDOWN_S, MAX_COOLDOWN_S]
    breaker.succeeded(probe(breaker, now), now)
    for _ in range(3):
        fail(breaker, RULE, now)
    assert breaker.enter(RULE, now) == Refused("open", 15.0)


def test_a_rule_s_own_cooldown_may_be_longer_than_the_limit() -> None:
    slow = Rule(1, 30.0, MAX_COOLDOWN_S * 3)
    breaker = opened(slow)
    now = slow.cooldown_s
    breaker.failed(probe(breaker, now, slow), now, now)
    assert breaker.enter(slow, now) == Refused("open", slow.cooldown_s)


def test_a_probe_that_is_never_heard_of_again_gives_way_when_its_lease_is_over() -> None:
    breaker = opened()
    lost = probe(breaker, 15.0, lease_s=20.0)
    assert breaker.enter(RULE, 34.5) == Refused("probing", 0.5)
    second = probe(breaker, 35.0)
    breaker.succeeded(lost, 36.0)  # too late: the second one is awaited now
    assert breaker.state(36.0) == "half_open"
    breaker.dropped(lost)
    assert breaker.enter(RULE, 36.0) == Refused("probing", PROBE_WAIT_S)
    breaker.succeeded(second, 37.0)
    assert breaker.state(37.0) == "closed"


def test_a_probe_whose_lease_is_over_still_counts_while_nobody_took_its_place() -> None:
    breaker = opened()
    late = probe(breaker, 15.0, lease_s=20.0)
    breaker.succeeded(late, 100.0)
    assert breaker.state(100.0) == "closed"


@pytest.mark.parametrize("end", ["succeeded", "failed"])
def test_a_probe_is_heard_once(end: str) -> None:
    breaker = opened()
    lease = probe(breaker, 15.0)
    breaker.succeeded(lease, 16.0)
    breaker.succeeded(lease, 17.0) if end == "succeeded" else breaker.failed(lease, 16.5, 17.0)
    assert breaker.state(17.0) == "closed"


def test_a_success_that_is_no_probe_does_not_close() -> None:
    breaker = opened()
    breaker.succeeded(0, 20.0)
    assert breaker.state(20.0) == "half_open"


def test_time_outs_of_calls_that_began_in_the_outage_do_not_open_it_again() -> None:
    breaker = opened()
    breaker.succeeded(probe(breaker, 15.0), 16.0)
    for _ in range(50):
        breaker.failed(0, 5.0, 20.0)
    assert breaker.state(20.0) == "closed"
    for _ in range(3):
        breaker.failed(0, 16.0, 20.0)
    assert breaker.state(20.0) == "open"


# -- several rules ----------------------------------------------------------------------------------------------------


def test_each_rule_judges_the_same_failures_by_itself() -> None:
    breaker = Breaker()
    for now in (0.0, 1.0, 2.0):
        fail(breaker, LAX, now)
    assert breaker.enter(LAX, 3.0) == 0
    assert breaker.enter(RULE, 3.0) == Refused("open", 14.0), "a rule that comes late knows what happened before"
    fail(breaker, LAX, 4.0)
    fail(breaker, LAX, 5.0)
    assert breaker.enter(LAX, 5.0) == Refused("open", 10.0)
    assert breaker.enter(RULE, 5.0) == Refused("open", 12.0)


def test_one_probe_tries_for_all_rules_whose_cooldown_is_over() -> None:
    breaker = opened(LAX)
    assert isinstance(breaker.enter(RULE, 0.0), Refused)
    lease = probe(breaker, 20.0, LAX)
    assert breaker.enter(RULE, 20.0) == Refused("probing", PROBE_WAIT_S)
    breaker.succeeded(lease, 21.0)
    assert breaker.enter(RULE, 21.0) == 0
    assert breaker.enter(LAX, 21.0) == 0


def test_a_probe_says_nothing_to_a_rule_that_was_not_due_when_it_was_sent() -> None:
    breaker = opened(LAX)
    assert isinstance(breaker.enter(RULE, 0.0), Refused)
    lease = probe(breaker, 12.0, LAX)
    breaker.succeeded(lease, 16.0)
    assert breaker.enter(LAX, 16.0) == 0
    assert probe(breaker, 16.0, RULE)


def test_failures_that_were_known_when_it_closed_are_forgiven_though_no_time_passed() -> None:
    breaker = opened(Rule(1, 30.0, 15.0))
    lease = probe(breaker, 15.0, Rule(1, 30.0, 15.0))
    breaker.failed(0, 15.0, 15.0)
    breaker.succeeded(lease, 15.0)
    assert breaker.rules(15.0)[0]["failures_in_window"] == 0
    assert breaker.enter(Rule(1, 60.0, 15.0), 15.0) == 0


def test_a_new_rule_does_not_hold_an_old_outage_against_the_backend() -> None:
    breaker = opened()
    breaker.succeeded(probe(breaker, 15.0), 16.0)
    assert breaker.enter(Rule(1, 60.0, 15.0), 17.0) == 0


def test_a_rule_of_a_policy_that_is_gone_is_forgotten_once_others_are_used() -> None:
    breaker = opened()
    assert breaker.state(10 * UNUSED_S) == "half_open", "nobody asked since: still not proven"
    assert breaker.enter(LAX, 10 * UNUSED_S) == 0
    assert breaker.state(10 * UNUSED_S) == "closed"
    assert [row["failures"] for row in breaker.rules(10 * UNUSED_S)] == [LAX.failures]


def test_a_rule_is_not_forgotten_before_its_cooldown_is_over() -> None:
    patient = Rule(1, 30.0, 4 * UNUSED_S)
    breaker = opened(patient)
    assert breaker.enter(LAX, 2 * UNUSED_S) == 0
    assert breaker.state(2 * UNUSED_S) == "open"


def test_looking_takes_nothing() -> None:
    breaker = opened()
    assert breaker.look(RULE, 1.0) == Refused("open", 14.0)
    assert breaker.look(RULE, 15.0) is None
    assert breaker.look(RULE, 15.0) is None
    lease = probe(breaker, 15.0)
    assert breaker.look(RULE, 15.0) == Refused("probing", PROBE_WAIT_S)
    breaker.dropped(lease)
    assert breaker.look(RULE, 15.0) is None


def test_what_people_are_told() -> None:
    assert opened().rules(5.0) == [
        {
            "failures": 3,
            "window_s": 30.0,
            "cooldown_s": 15.0,
            "state": "open",
            "failures_in_window": 3,
            "open_for_s": 10.0,
        }
    ]


# -- at random --------------------------------------------------------------------------------------------------------

RULES = (Rule(1, 10.0, 4.0), Rule(3, 30.0, 16.0), Rule(4, 8.0, 200.0))
LEASE_S = 32.0
EDGES = {
    "time": {("open", "half_open")},
    "answered": {("half_open", "closed")},
    "failed": {("closed", "open"), ("half_open", "open")},
    "nothing": set[tuple[str, str]](),
}
"""What has happened → the ways on which a circuit's state may change with it."""


@dataclass
class Judged:
    """The model's idea of one rule: None is closed, else (until when it is open, the cooldown that this was)."""

    rule: Rule
    open: tuple[float, float] | None = None
    closed_at: float = -math.inf
    forgiven: int = 0
    """How many failures were known when it closed."""

    def state(self, now: float) -> str:
        return "closed" if self.open is None else "open" if now < self.open[0] else "half_open"


@dataclass
class Call:
    lease: int
    since: float
    """It tells of the time from here on: since it began, or since it was answered."""
    began: float
    until: float


@dataclass
class Model:
    """Keeps every failure and counts anew each time."""

    judged: dict[Rule, Judged] = field(default_factory=dict)
    failures: list[tuple[float, float]] = field(default_factory=list)
    probe: Call | None = None
    """The one that is awaited, also when its lease is over and nobody has taken its place."""

    def count(self, judged: Judged, now: float) -> int:
        after = self.failures[judged.forgiven :]
        return sum(now - at < judged.rule.window_s and since >= judged.closed_at for at, since in after)

    def tried(self, judged: Judged, call: Call) -> bool:
        """The call was sent to try the backend for this rule, among others."""
        return call is self.probe and judged.open is not None and judged.open[0] <= call.began

    def refusal(self, rule: Rule, now: float) -> Refused | None:
        judged = self.judged[rule]
        if judged.open is None:
            return None
        if now < judged.open[0]:
            return Refused("open", judged.open[0] - now)
        if self.probe and now < self.probe.until:
            return Refused("probing", min(PROBE_WAIT_S, self.probe.until - now))
        return None

    def answered(self, call: Call, now: float) -> None:
        for judged in self.judged.values():
            if self.tried(judged, call):
                judged.open, judged.closed_at, judged.forgiven = None, now, len(self.failures)
        self.over(call)

    def failed(self, call: Call, now: float) -> None:
        self.failures.append((now, call.since))
        for judged in self.judged.values():
            if self.tried(judged, call):
                assert judged.open
                wait = min(judged.open[1] * 2, MAX_COOLDOWN_S)
                judged.open = (now + wait, wait)
            elif judged.open is None and self.count(judged, now) >= judged.rule.failures:
                judged.open = (now + judged.rule.cooldown_s, judged.rule.cooldown_s)
        self.over(call)

    def over(self, call: Call) -> None:
        if call is self.probe:
            self.probe = None


class BreakerMachine(RuleBasedStateMachine):
    """Times are multiples of a quarter second, so nothing is rounded. Each rule stays in use, so none is forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 1000.0
        self.model = Model()
        self.calls: list[Call] = []
        self.happened = "nothing"
        self.states: dict[Rule, str] = {}
        for each in RULES:
            assert self.breaker.enter(each, self.now) == 0
            self.model.judged[each] = Judged(each)
            self.states[each] = "closed"

    @rule(quarters=st.integers(0, 200))
    def time_passes(self, quarters: int) -> None:
        self.now += quarters / 4
        self.happened = "time"
        self.every_rule_is_in_use()

    @rule(which=st.sampled_from(RULES))
    def time_passes_to_the_moment_when_the_circuit_may_be_tried(self, which: Rule) -> None:
        judged = self.model.judged[which]
        if judged.open:
            self.now = max(self.now, judged.open[0])
        self.happened = "time"
        self.every_rule_is_in_use()

    def every_rule_is_in_use(self) -> None:
        for each in RULES:
            self.breaker.look(each, self.now)

    @rule(which=st.sampled_from(RULES), often=st.integers(1, 3))
    def asks(self, which: Rule, often: int) -> None:
        for _ in range(often):
            expected = self.model.refusal(which, self.now)
            answer = self.breaker.enter(which, self.now, LEASE_S)
            if expected:
                assert answer == expected
            elif self.model.judged[which].open is None:
                assert answer == 0
                self.calls.append(Call(0, self.now, self.now, math.inf))
            else:
                assert isinstance(answer, int)
                assert answer > 0
                assert answer not in [call.lease for call in self.calls], "two probes with one lease"
                self.model.probe = Call(answer, self.now, self.now, self.now + LEASE_S)
                self.calls.append(self.model.probe)

    def take(self, data: Any) -> Call | None:
        if not self.calls:
            return None
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    @rule(data=st.data())
    def a_call_succeeds(self, data: Any) -> None:
        if call := self.take(data):
            self.breaker.succeeded(call.lease, self.now)
            self.model.answered(call, self.now)
            self.happened = "answered"

    @rule(data=st.data())
    def a_call_is_answered_and_goes_on(self, data: Any) -> None:
        """A stream has begun: it may fail yet, and then tells of the time from here on."""
        if call := self.take(data):
            self.breaker.succeeded(call.lease, self.now)
            self.model.answered(call, self.now)
            call.since = self.now
            self.calls.append(call)
            self.happened = "answered"

    @rule(data=st.data())
    def a_call_fails(self, data: Any) -> None:
        if call := self.take(data):
            self.breaker.failed(call.lease, call.since, self.now)
            self.model.failed(call, self.now)
            self.happened = "failed"

    @rule(data=st.data())
    def a_call_is_cancelled(self, data: Any) -> None:
        if call := self.take(data):
            self.breaker.dropped(call.lease)
            self.model.over(call)

    @rule(which=st.sampled_from(RULES))
    def the_rule_is_asked_until_it_lets_somebody_through(self, which: Rule) -> None:
        """Nothing keeps a backend out for ever, whatever became of its probes."""
        self.happened = "time"
        for _ in range(100):
            refused = self.breaker.look(which, self.now)
            if refused is None:
                return
            assert refused.wait_s > 0
            self.now += refused.wait_s
            self.every_rule_is_in_use()
        raise AssertionError("still refused after a hundred honest waits")

    @invariant()
    def every_rule_says_what_the_model_says(self) -> None:
        told = {Rule(r["failures"], r["window_s"], r["cooldown_s"]): r for r in self.breaker.rules(self.now)}
        states = []
        for each, judged in self.model.judged.items():
            expected = judged.state(self.now)
            states.append(expected)
            count = self.model.count(judged, self.now)
            assert told[each] == {
                "failures": each.failures,
                "window_s": each.window_s,
                "cooldown_s": each.cooldown_s,
                "state": expected,
                "failures_in_window": min(count, each.failures),
                "open_for_s": max(0.0, judged.open[0] - self.now) if judged.open else 0.0,
            }
            assert expected != "closed" or count < each.failures, "closed, though too many failed"
            assert self.breaker.look(each, self.now) == self.model.refusal(each, self.now)
        worst = "open" if "open" in states else "half_open" if "half_open" in states else "closed"
        assert self.breaker.state(self.now) == worst

    @invariant()
    def states_change_along_the_edges_only(self) -> None:
        for each in self.breaker.rules(self.now):
            known = Rule(each["failures"], each["window_s"], each["cooldown_s"])
            before, self.states[known] = self.states[known], each["state"]
            if before != each["state"]:
                assert (before, each["state"]) in EDGES[self.happened], f"{known} after: {self.happened}"
        self.happened = "nothing"


TestBreaker = BreakerMachine.TestCase
TestBreaker.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
