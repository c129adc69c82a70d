"""Which target next? The attempts of one call: the policy's order, the attempt budget, the deadline, who may be asked.

It looks at an attempt's failure only after `call` has set it, so each next attempt sees the world as it is then.
"""

from __future__ import annotations

from collections.abc import Iterator

from appliance.exchange import Attempt, Exchange, Failure
from appliance.grid.grid import Policy, Target
from appliance.grid.strategies import decide
from appliance.pipeline.facts import Measured, facts_of
from appliance.state import State
from appliance.state.breaker import Rule
from appliance.state.health import Permit

BACKOFF_S = 0.1
BACKOFF_FACTOR = 2.0
MAX_WAIT_S = 2.0
"""The longest a caller is kept waiting before a target is asked again; a longer Retry-After is handed to the caller."""
LEAST_TIME_S = 0.005
"""With less time than this no further attempt is begun. Timers count in milliseconds, so one that was to end at the
deadline may fire a moment before it."""


class Route:
    """Iterate: attempts until one succeeds (the caller stops), the budget is spent, or nobody is left to ask."""

    def __init__(self, exchange: Exchange, state: State) -> None:
        assert exchange.model
        self._exchange = exchange
        self._state = state
        self._policy = exchange.model.policy
        self._rule = rule_of(self._policy)
        facts, measured = facts_of(exchange), Measured(state.health)
        exchange.decisions = decide(self._policy, state.rng, facts, measured, exchange.clock())
        self._candidates = [decision.target for decision in exchange.decisions if decision.taken]
        self._again: list[Target] = []
        """Those that failed in a way that may pass."""
        self._rounds = 0
        self._backoff_s = 0.0
        self._out: list[Attempt] = []
        """Attempts that were handed out and not judged yet: one, or two with a hedge."""

    def __iter__(self) -> Iterator[Attempt]:
        exchange = self._exchange
        while self._has_budget():
            if not self._candidates and not self._next_round():
                return
            waited = bool(exchange.attempts or exchange.busy)
            if waited and not self._has_time():
                return
            attempt = self._take()
            if attempt is None:
                self._candidates = []  # none of them may be asked now; those that failed before may be, after a pause
                continue
            try:
                yield attempt
            finally:
                self._let_go()
            if not self._judge():
                return

    def beside(self) -> Attempt | None:
        """An attempt to be made beside the one that is under way: the next target, if it is well and has room."""
        exchange, state, now = self._exchange, self._state, self._exchange.clock()
        if not self._has_budget() or not self._has_time():
            return None
        for target in self._candidates:
            endpoint = target.endpoint
            queue = exchange.grid.queues[endpoint.name]
            full = state.pools.queue(endpoint.name, queue.at_once, queue.size, exchange.grid.generation).locked()
            if full or state.health.status(target.backend, now) == "unhealthy":
                continue
            permit = state.health.permit(target.backend, self._rule, now)
            if isinstance(permit, Permit):
                self._candidates.remove(target)
                attempt = Attempt(len(exchange.attempts) + 1, target, permit=permit, hedge=True)
                self._out.append(attempt)
                return attempt
        return None

    def _has_budget(self) -> bool:
        return len(self._exchange.attempts) < self._exchange.most_attempts

    def _has_time(self) -> bool:
        return self._exchange.clock() + LEAST_TIME_S < self._exchange.deadline_at

    def _next_round(self) -> bool:
        """Everybody was asked once. Those that may recover are asked again, after a pause."""
        self._candidates, self._again = self._again, []
        self._rounds += 1
        self._backoff_s = BACKOFF_S * BACKOFF_FACTOR ** (self._rounds - 1) * (0.5 + self._state.rng.random())
        return bool(self._candidates)

    def _take(self) -> Attempt | None:
        """The next attempt; None when nobody may be asked now."""
        while self._candidates and (found := self._next()):
            target, permit = found
            self._candidates.remove(target)
            delay_s = self._pause(target) if self._rounds else 0.0
            if delay_s is not None:
                self._backoff_s = 0.0
                attempt = Attempt(len(self._exchange.attempts) + 1, target, delay_s, permit=permit)
                self._out = [attempt]
                return attempt
            self._state.health.finished(permit, "canceled", self._exchange.clock())
        return None

    def _next(self) -> tuple[Target, Permit] | None:
        """The first that may be asked; of those that asked to be spared, while others can serve, the one with the
        shortest wait. None: a breaker holds all of them back, and `exchange.held_back_s` says for how long."""
        exchange, health, now = self._exchange, self._state.health, self._exchange.clock()
        waits: list[float] = []
        for spared_too in (False, True):
            order = self._candidates
            if spared_too:
                order = sorted(order, key=lambda target: health.wait_s(target.backend, now))
            for target in order:
                endpoint = target.endpoint
                lease_s = endpoint.connect_s + endpoint.first_byte_s + exchange.grid.queues[endpoint.name].wait_s
                permit = health.permit(target.backend, self._rule, now, spared_too=spared_too, lease_s=lease_s)
                if isinstance(permit, Permit):
                    return target, permit
                waits.append(permit.wait_s)
        exchange.held_back_s = min(waits, default=0.0)
        return None

    def _pause(self, target: Target) -> float | None:
        """Seconds to wait before asking the target again, or None when that is too long for this caller."""
        now = self._exchange.clock()
        wait = max(self._backoff_s, self._state.health.wait_s(target.backend, now))
        return wait if wait <= MAX_WAIT_S and now + wait < self._exchange.deadline_at else None

    def _let_go(self) -> None:
        """Attempts that were not made (the target cannot take the request, or the caller is gone) say nothing of it."""
        for attempt in self._out:
            if not attempt.dispatched and attempt.permit:
                self._state.health.finished(attempt.permit, "canceled", self._exchange.clock())

    def _judge(self) -> bool:
        """May there be a further attempt after these failed? One that was not made costs nothing."""
        may = True
        for attempt in self._out:
            if not attempt.dispatched or attempt.lost:
                continue
            failure = attempt.failure
            assert failure, "an attempt that did not fail must not ask for the next"
            may = may and failure.kind != "caller" and _may_retry(failure, self._policy.retry_on)
            if failure.kind not in ("operator", "quota", "busy"):
                self._again.append(attempt.target)
        return may


def rule_of(policy: Policy) -> Rule | None:
    breaker = policy.breaker
    return Rule(breaker.failures, breaker.window_s, breaker.cooldown_s) if breaker else None


def _may_retry(failure: Failure, retry_on: frozenset[str]) -> bool:
    return failure.kind in ("operator", "quota", "busy") or failure.kind in retry_on
