"""Who asked to be spared, who may be asked, and what each outcome says about a backend."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from appliance.exchange import FailureKind
from appliance.state.breaker import PROBE_WAIT_S, Refused, Rule
from appliance.state.health import MAX_SPARED_S, Health, Outcome, Permit, Status

RULE = Rule(failures=3, window_s=30.0, cooldown_s=15.0)
STRICT = Rule(2, 20.0, 8.0)
B = "one:a"


def permit(health: Health, now: float, backend: str = B, rule: Rule | None = RULE) -> Permit:
    given = health.permit(backend, rule, now)
    assert isinstance(given, Permit), given
    return given


def call(health: Health, outcome: Outcome, now: float, *, backend: str = B, took_s: float = 0.0) -> None:
    given = permit(health, now, backend)
    health.started(given, now)
    health.finished(given, outcome, now + took_s)


def failed(outcome: Outcome = "server_error", times: int = 3, now: float = 100.0) -> Health:
    health = Health()
    for _ in range(times):
        call(health, outcome, now)
    return health


# -- sparing ----------------------------------------------------------------------------------------------------------


def test_nobody_is_spared_at_first() -> None:
    assert Health().wait_s("one:a", 100.0) == 0.0


def test_a_backend_is_spared_until_its_time_is_over() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:a", 100.0) == 30.0
    assert health.wait_s("one:a", 129.0) == 1.0
    assert health.wait_s("one:a", 130.0) == 0.0
    assert health.wait_s("one:a", 131.0) == 0.0


def test_one_backend_s_wait_is_not_another_s() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:b", 100.0) == 0.0
    assert health.wait_s("two:a", 100.0) == 0.0


@pytest.mark.parametrize("waits", [(30.0, 5.0), (5.0, 30.0)])
def test_of_two_waits_the_later_end_holds(waits: tuple[float, float]) -> None:
    health = Health()
    for wait in waits:
        health.spare("one:a", 100.0, wait)
    assert health.wait_s("one:a", 100.0) == 30.0


def test_nobody_is_spared_longer_than_the_limit() -> None:
    health = Health()
    health.spare("one:a", 100.0, 1e12)
    assert health.wait_s("one:a", 100.0) == MAX_SPARED_S


def test_after_the_wait_a_new_one_may_begin() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:a", 200.0) == 0.0
    health.spare("one:a", 200.0, 10.0)
    assert health.wait_s("one:a", 200.0) == 10.0


def test_who_is_spared_is_asked_only_when_nobody_else_can_serve() -> None:
    health = Health()
    health.spare(B, 100.0, 30.0)
    assert health.look(B, RULE, 110.0) == health.permit(B, RULE, 110.0) == Refused("spared", 20.0)
    assert health.look(B, RULE, 110.0, spared_too=True) is None
    assert isinstance(health.permit(B, RULE, 110.0, spared_too=True), Permit)


# -- what outcomes mean -----------------------------------------------------------------------------------------------

COUNTED: set[Outcome] = {"connect", "timeout", "server_error", "operator", "quota"}
OUTCOMES: tuple[Outcome, ...] = ("ok", *get_args(FailureKind))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_which_outcomes_open_the_breaker(outcome: Outcome) -> None:
    health = failed(outcome)
    if outcome in COUNTED:
        assert health.permit(B, RULE, 100.0) == Refused("open", 15.0)
        assert health.breaker_state(B, 100.0) == "open"
    else:
        assert isinstance(health.permit(B, RULE, 100.0), Permit)
        assert health.breaker_state(B, 100.0) == "closed"


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_a_probe_s_outcome_does(outcome: Outcome) -> None:
    health = failed()
    call(health, outcome, 115.0)
    after = health.permit(B, RULE, 115.0)
    if outcome == "ok":
        assert isinstance(after, Permit)
        assert not after.lease
    elif outcome in COUNTED:
        assert after == Refused("open", 30.0)
    else:  # it told nothing of the target: the next call is the probe
        assert isinstance(after, Permit)
        assert after.lease


def test_a_probe_that_is_never_made_frees_its_place() -> None:
    health = failed()
    given = permit(health, 115.0)
    assert health.permit(B, RULE, 115.0) == Refused("probing", PROBE_WAIT_S)
    health.finished(given, "canceled", 115.0)
    assert permit(health, 115.0).lease
    assert health.in_flight(B) == 0


def test_a_streamed_probe_has_shown_what_it_had_to_with_its_first_content() -> None:
    health = failed()
    given = permit(health, 115.0)
    health.started(given, 115.0)
    health.answered(given, 116.0, 1.0)
    assert health.breaker_state(B, 116.0) == "closed"
    health.finished(given, "canceled", 400.0)
    assert health.breaker_state(B, 400.0) == "closed"


def test_a_stream_that_breaks_off_after_its_first_content_counts() -> None:
    once = Rule(1, 30.0, 15.0)
    health = Health()
    for begin in (100.0, 120.0):
        given = permit(health, begin, rule=once)
        health.started(given, begin)
        health.answered(given, begin + 1)
        health.finished(given, "server_error", begin + 2)
        assert health.permit(B, once, begin + 2) == Refused("open", 15.0)


def test_time_outs_from_before_the_recovery_do_not_count() -> None:
    health = Health()
    slow = [permit(health, 100.0) for _ in range(5)]
    for given in slow:
        health.started(given, 100.0)
    for _ in range(3):
        call(health, "connect", 100.0)
    call(health, "ok", 115.0)
    for given in slow:
        health.finished(given, "timeout", 120.0)
    assert health.breaker_state(B, 120.0) == "closed"


def test_without_a_rule_nothing_holds_a_call_back_but_failures_are_kept() -> None:
    health = Health()
    for _ in range(3):
        given = permit(health, 100.0, rule=None)
        health.started(given, 100.0)
        health.finished(given, "server_error", 100.0)
    permit(health, 100.0, rule=None)
    assert health.permit(B, RULE, 100.0) == Refused("open", 15.0)


def test_one_backend_s_failures_are_not_another_s() -> None:
    health = failed()
    assert isinstance(health.permit("one:b", RULE, 100.0), Permit)
    assert health.status("one:b", 100.0) == "healthy"


# -- counting and timing ----------------------------------------------------------------------------------------------


def test_calls_are_in_flight_from_start_to_end_and_end_once() -> None:
    health = Health()
    first, second = permit(health, 0.0), permit(health, 0.0)
    assert health.in_flight(B) == 0
    health.started(first, 0.0)
    health.started(second, 0.0)
    assert health.in_flight(B) == 2
    health.finished(first, "ok", 1.0)
    health.finished(first, "server_error", 1.0)
    assert health.in_flight(B) == 1
    assert health.diagnostics(B, 1.0)["failures_last_minute"] == 0
    health.finished(second, "canceled", 1.0)
    assert health.in_flight(B) == 0
    assert health.in_flight("one:unknown") == 0


def test_times_of_answers_are_kept_and_of_failures_not() -> None:
    health = Health()
    given = permit(health, 0.0)
    health.started(given, 0.0)
    health.answered(given, 0.5, 0.5)
    assert health.latency(B).first_token.percentile(0.5, 0.5) == 0.5
    health.finished(given, "ok", 8.0, 0.5)
    assert health.latency(B).first_token.count(8.0) == 1
    assert health.latency(B).total.count(8.0) == 0, "a stream's length says nothing of unstreamed calls"
    call(health, "ok", 8.0, took_s=3.0)
    assert health.latency(B).total.percentile(0.5, 11.0) == 3.0
    call(health, "timeout", 11.0, took_s=60.0)
    assert health.latency(B).total.count(71.0) == 1


def test_a_question_that_costs_nothing_is_not_timed() -> None:
    health = Health()
    given = permit(health, 0.0)
    given.timed = False
    health.started(given, 0.0)
    health.finished(given, "ok", 0.1)
    assert health.latency(B).total.count(0.1) == 0


# -- status -----------------------------------------------------------------------------------------------------------


def test_states_in_the_order_of_an_outage() -> None:
    health = Health()
    assert health.status(B, 100.0) == "healthy"
    call(health, "server_error", 100.0)
    assert health.status(B, 100.0) == "healthy", "one failure is nothing yet"
    call(health, "server_error", 100.0)
    assert health.status(B, 100.0) == "degraded"
    call(health, "server_error", 100.0)
    assert health.status(B, 100.0) == "unhealthy"
    assert health.status(B, 115.0) == "unhealthy", "half-open is not proven"
    call(health, "ok", 115.0)
    assert health.status(B, 115.0) == "degraded"
    assert health.status(B, 161.0) == "healthy"


def test_few_failures_among_many_calls_are_healthy() -> None:
    health = Health()
    for _ in range(100):
        call(health, "ok", 100.0)
    for _ in range(2):
        call(health, "server_error", 100.0)
    assert health.status(B, 100.0) == "healthy"


def test_who_limits_us_is_degraded_with_or_without_retry_after() -> None:
    health = failed("rate_limited", 2)
    assert health.status(B, 100.0) == "degraded"
    health = Health()
    health.spare(B, 100.0, 5.0)
    assert health.status(B, 104.0) == "degraded"
    assert health.status(B, 105.0) == "healthy"


def test_bad_requests_of_callers_and_hang_ups_leave_it_healthy() -> None:
    health = failed("caller", 50)
    for _ in range(50):
        call(health, "canceled", 100.0)
    assert health.status(B, 100.0) == "healthy"


def test_what_cannot_be_used_is_unavailable_whatever_was() -> None:
    assert failed().status(B, 100.0, usable=False) == "unavailable"
    assert Health().status(B, 100.0, usable=False) == "unavailable"


def test_changes_are_told_once_each() -> None:
    told: list[tuple[str, Status, Status]] = []
    health = Health()
    health.watchers.append(lambda backend, old, new: told.append((backend, old, new)))
    for _ in range(3):
        call(health, "server_error", 100.0)
    assert told == [(B, "healthy", "degraded"), (B, "degraded", "unhealthy")]
    given = permit(health, 115.0)
    health.started(given, 115.0)
    health.answered(given, 116.0)
    assert told[2:] == [(B, "unhealthy", "degraded")]
    health.finished(given, "ok", 117.0)
    call(health, "ok", 300.0)
    call(health, "ok", 300.0)
    assert told[3:] == [(B, "degraded", "healthy")]
    health.spare(B, 300.0, 10.0)
    assert told[4:] == [(B, "healthy", "degraded")]
    permit(health, 310.0)
    assert told[5:] == [(B, "degraded", "healthy")]


def test_diagnostics() -> None:
    health = failed("timeout", 2)
    given = permit(health, 100.0)
    health.started(given, 100.0)
    health.finished(given, "quota", 104.0)
    going = permit(health, 104.0, rule=None)
    health.started(going, 104.0)
    health.spare(B, 104.0, 7.0)
    told = health.diagnostics(B, 105.0)
    assert told.pop("rules")[0]["failures_in_window"] == 3
    assert told == {
        "breaker": "open",
        "open_for_s": 14.0,
        "spared_for_s": 6.0,
        "calls_last_minute": 3,
        "failures_last_minute": 3,
        "last_error": "quota",
        "last_error_s_ago": 1.0,
        "in_flight": 1,
        "first_token_ms_p50": None,
        "first_token_ms_p95": None,
        "total_ms_p50": None,
        "total_ms_p95": None,
    }


def test_diagnostics_of_a_backend_that_was_never_asked() -> None:
    told = Health().diagnostics("one:new", 5.0)
    assert (told["breaker"], told["last_error"], told["last_error_s_ago"], told["rules"]) == ("closed", None, None, [])


def test_looking_at_backends_leaves_nothing_behind() -> None:
    health = Health()
    for number in range(100):
        name = f"one:{number}"
        health.look(name, RULE, 0.0)
        health.status(name, 0.0)
        health.wait_s(name, 0.0)
        health.diagnostics(name, 0.0)
    assert not health._backends


# -- probes beside the calls ------------------------------------------------------------------------------------------


def probe(health: Health, outcome: Outcome, now: float, *rules: Rule, took_s: float = 0.0) -> Permit:
    given = health.permit_probe(B, rules or (RULE,), now, 10.0)
    health.finished(given, outcome, now + took_s)
    return given


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_failed_probe_counts_like_a_call_that_failed(outcome: Outcome) -> None:
    health = Health()
    for _ in range(RULE.failures):
        probe(health, outcome, 100.0)
    assert (health.breaker_state(B, 100.0) == "open") == (outcome in COUNTED)


def test_a_failed_probe_counts_once_whatever_number_of_rules_there_are() -> None:
    health = Health()
    probe(health, "connect", 100.0, RULE, STRICT)
    assert health.breaker_state(B, 100.0) == "closed"
    assert health.diagnostics(B, 100.0)["failures_last_minute"] == 1
    probe(health, "connect", 100.0, RULE, STRICT)
    assert health.permit(B, STRICT, 100.0) == Refused("open", STRICT.cooldown_s)
    assert isinstance(health.permit(B, RULE, 100.0), Permit)


def test_a_probe_closes_a_circuit_whose_cooldown_is_over_and_no_other() -> None:
    health = failed()
    assert not probe(health, "ok", 114.0).lease
    assert health.permit(B, RULE, 114.0) == Refused("open", 1.0)
    assert probe(health, "ok", 115.0).lease
    assert health.breaker_state(B, 115.0) == "closed"


def test_a_failed_probe_opens_a_half_open_circuit_for_twice_as_long() -> None:
    health = failed()
    probe(health, "timeout", 115.0, took_s=5.0)
    assert health.permit(B, RULE, 120.0) == Refused("open", 30.0)


def test_a_probe_that_began_during_the_cooldown_closes_nothing() -> None:
    health = failed()
    probe(health, "ok", 114.0, took_s=5.0)
    assert health.breaker_state(B, 119.0) == "half_open"


def test_one_probe_tries_for_every_rule_whose_cooldown_is_over() -> None:
    health = failed()
    health.look(B, STRICT, 100.0)
    assert health.permit(B, STRICT, 100.0) == Refused("open", 8.0)
    probe(health, "ok", 110.0, RULE, STRICT)
    assert isinstance(health.permit(B, STRICT, 110.0), Permit)
    assert health.permit(B, RULE, 110.0) == Refused("open", 5.0)
    for rule_asked in (RULE, STRICT):
        health = failed()
        health.look(B, STRICT, 100.0)
        probe(health, "ok", 120.0, RULE, STRICT)
        given = health.permit(B, rule_asked, 120.0)
        assert isinstance(given, Permit)
        assert not given.lease


def test_calls_and_probes_share_the_one_place() -> None:
    health = failed()
    given = health.permit_probe(B, [RULE], 115.0, 10.0)
    assert health.permit(B, RULE, 115.0) == Refused("probing", PROBE_WAIT_S)
    health.finished(given, "canceled", 116.0)
    assert permit(health, 116.0).lease
    assert not health.permit_probe(B, [RULE], 116.0, 10.0).lease


def test_a_probe_is_no_call_under_way_and_its_time_no_call_s_time() -> None:
    health = Health()
    given = health.permit_probe(B, [RULE], 100.0, 10.0)
    assert health.in_flight(B) == 0
    health.finished(given, "ok", 109.0)
    told = health.diagnostics(B, 109.0)
    assert (told["in_flight"], told["calls_last_minute"], told["failures_last_minute"]) == (0, 1, 0)
    assert health.latency(B).total.count(109.0) == health.latency(B).first_token.count(109.0) == 0


def test_who_asked_to_be_spared_is_probed_and_stays_spared() -> None:
    health = Health()
    health.spare(B, 100.0, 30.0)
    probe(health, "ok", 100.0)
    assert health.wait_s(B, 100.0) == 30.0


def test_without_a_rule_a_probe_s_failures_are_kept() -> None:
    health = Health()
    for _ in range(3):
        given = health.permit_probe(B, [], 100.0, 10.0)
        health.finished(given, "connect", 100.0)
    assert health.breaker_state(B, 100.0) == "closed"
    assert health.permit(B, RULE, 100.0) == Refused("open", 15.0)


# -- what changes with time alone -------------------------------------------------------------------------------------


def test_a_change_with_time_alone_is_told_when_health_is_refreshed() -> None:
    told: list[tuple[str, Status, Status]] = []
    health = Health()
    health.watchers.append(lambda backend, old, new: told.append((backend, old, new)))
    health.spare("one:a", 100.0, 10.0)
    health.spare("one:b", 100.0, 20.0)
    call(health, "ok", 100.0, backend="one:c")
    told.clear()
    health.refresh(109.0)
    assert told == []
    health.refresh(110.0)
    assert told == [("one:a", "degraded", "healthy")]
    health.refresh(120.0)
    health.refresh(121.0)
    assert told == [("one:a", "degraded", "healthy"), ("one:b", "degraded", "healthy")]


def test_changes_are_counted_by_what_a_backend_became() -> None:
    health = failed()
    health.refresh(114.0)
    call(health, "ok", 115.0)
    health.refresh(200.0)
    assert health.changes == {(B, "degraded"): 2, (B, "unhealthy"): 1, (B, "healthy"): 1}


# -- at random --------------------------------------------------------------------------------------------------------


class HealthMachine(RuleBasedStateMachine):
    """Calls in any order of any fate, over two backends: the books agree with a list of what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.health = Health()
        self.told: dict[str, Status] = {}
        self.health.watchers.append(self._heard)
        self.now = 1000.0
        self.permits: list[Permit] = []

    def _heard(self, backend: str, old: Status, new: Status) -> None:
        assert old != new
        assert self.told.get(backend, "healthy") == old
        self.told[backend] = new

    @rule(seconds=st.integers(0, 40))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(
        backend=st.sampled_from(["one:a", "one:b"]),
        by=st.sampled_from([RULE, STRICT, None]),
        spared_too=st.booleans(),
        starts=st.booleans(),
    )
    def asks(self, backend: str, by: Rule | None, spared_too: bool, starts: bool) -> None:
        looked = self.health.look(backend, by, self.now, spared_too=spared_too)
        given = self.health.permit(backend, by, self.now, spared_too=spared_too)
        if isinstance(given, Refused):
            assert looked == given
            assert given.wait_s > 0
            return
        assert looked is None
        self.permits.append(given)
        if starts:
            self.health.started(given, self.now)

    @rule(backend=st.sampled_from(["one:a", "one:b"]), by=st.lists(st.sampled_from([RULE, STRICT]), unique=True))
    def probes(self, backend: str, by: list[Rule]) -> None:
        held_back = {one: self.health.look(backend, one, self.now, spared_too=True) for one in by}
        state = self.health.breaker_state(backend, self.now)
        given = self.health.permit_probe(backend, by, self.now, 60.0)
        if state == "closed":
            assert not given.lease
        if given.lease:
            assert any(refused is None for refused in held_back.values())
        self.permits.append(given)

    @rule()
    def time_is_looked_at(self) -> None:
        self.health.refresh(self.now)

    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), answered=st.booleans())
    def ends(self, data: st.DataObject, outcome: Outcome, answered: bool) -> None:
        if not self.permits:
            return
        given = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        if given.started_at is not None and answered:
            self.health.answered(given, self.now, 0.5)
        self.health.finished(given, outcome, self.now)

    @rule(backend=st.sampled_from(["one:a", "one:b"]), seconds=st.integers(1, 60))
    def spares(self, backend: str, seconds: int) -> None:
        before = self.health.wait_s(backend, self.now)
        self.health.spare(backend, self.now, float(seconds))
        assert self.health.wait_s(backend, self.now) == max(before, seconds)

    @invariant()
    def the_books_agree(self) -> None:
        flying = Counter(given.backend for given in self.permits if given.started_at is not None)
        probes = Counter(given.backend for given in self.permits if given.lease and given.since > self.now - 60.0)
        for backend in ("one:a", "one:b"):
            assert self.health.in_flight(backend) == flying[backend]
            assert probes[backend] <= 1
            status = self.health.status(backend, self.now)
            assert status == self.told.get(backend, "healthy")
            assert (status == "unhealthy") == (self.health.breaker_state(backend, self.now) != "closed")
            if status == "healthy":
                assert self.health.look(backend, RULE, self.now) is None


TestHealth = HealthMachine.TestCase
TestHealth.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
