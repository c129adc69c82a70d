"""Circuit breaker of one backend: after too many failures nobody asks it for a while, then one call at a time tries.

Policies may give one backend different rules. Failures are facts that all rules share; each rule judges them by itself,
so a strict policy can leave a backend alone that a lax one still asks. The probe is shared too: one call tries for all
rules whose cooldown is over, and what it finds holds for all of them.

    closed ── `failures` failures within `window_s` ──→ open ── cooldown is over ──→ half_open
    half_open ── the probe was answered ──→ closed          half_open ── the probe failed ──→ open, twice as long

A cooldown doubles with each failed probe, up to MAX_COOLDOWN_S (or the rule's own, if longer); an answered probe
ends that. Outside of probes a success changes nothing: a rule counts failures, whatever lies between them.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Literal, NamedTuple

PROBE_LEASE_S = 60.0
"""How long a probe nobody heard of again keeps others from trying."""
PROBE_WAIT_S = 1.0
"""When to ask again while a probe is under way: nobody knows when it ends."""
MAX_COOLDOWN_S = 300.0
FAILURES_KEPT = 64
"""At least; as many as the rule with the highest count needs."""
UNUSED_S = 300.0
"""A rule that nobody asked by for so long, while others were used, is of a policy that is gone: it is forgotten."""

State = Literal["closed", "open", "half_open"]


class Rule(NamedTuple):
    """A policy's `circuit_breaker`."""

    failures: int
    window_s: float
    cooldown_s: float


class Refused(NamedTuple):
    """Why a backend may not be asked, and when to try again. `spared`: it answered Retry-After (health.py)."""

    reason: Literal["open", "probing", "spared"]
    wait_s: float


class _Judge:
    """What one rule makes of the failures."""

    __slots__ = ("asked_at", "cooldown_s", "forgiven", "open_until", "opened", "rule", "since")

    def __init__(self, rule: Rule, now: float) -> None:
        self.rule = rule
        self.since = -math.inf
        """Failures that tell of an earlier time do not count: the backend has answered a probe since."""
        self.forgiven = 0
        """Nor do those that were seen by then: the number of the last."""
        self.asked_at = now
        self.opened = False
        self.open_until = -math.inf
        self.cooldown_s = 0.0

    def open(self, at: float, cooldown_s: float) -> None:
        self.opened = True
        self.cooldown_s = cooldown_s
        self.open_until = max(self.open_until, at + cooldown_s)

    def close(self, since: float, forgiven: int) -> None:
        self.opened = False
        self.since = since
        self.forgiven = forgiven

    def state(self, now: float) -> State:
        if not self.opened:
            return "closed"
        return "open" if now < self.open_until else "half_open"


class Breaker:
    """A call that `enter` let through is followed by one of `succeeded`, `failed` and `dropped`."""

    def __init__(self) -> None:
        self._failures: deque[tuple[int, float, float]] = deque(maxlen=FAILURES_KEPT)
        """(running number, when it was seen, the time from which it tells), in the order of the first two."""
        self._seen = 0
        self._judges: dict[Rule, _Judge] = {}
        self._asked_at = -math.inf
        self._recovered = (-math.inf, 0)
        """When the last probe was answered, and how many failures had been seen by then."""
        self._leases = 0
        self._lease = 0
        self._lease_at = 0.0
        self._lease_until = 0.0

    def look(self, rule: Rule, now: float) -> Refused | None:
        """What `enter` would refuse with, without taking anything."""
        judge = self._judges.get(rule) or self._add(rule, now)
        judge.asked_at = self._asked_at = now
        if not judge.opened:
            return None
        if now < judge.open_until:
            return Refused("open", judge.open_until - now)
        if self._lease and now < self._lease_until:
            return Refused("probing", min(PROBE_WAIT_S, self._lease_until - now))
        return None

    def enter(self, rule: Rule, now: float, lease_s: float = PROBE_LEASE_S) -> int | Refused:
        """The number of the probe's lease when the call is a probe, 0 when it is a call like any other."""
        refused = self.look(rule, now)
        if refused:
            return refused
        if not self._judges[rule].opened:
            return 0
        self._leases += 1
        self._lease = self._leases
        self._lease_at = now
        self._lease_until = now + lease_s
        return self._lease

    def succeeded(self, lease: int, now: float) -> None:
        if not self._end(lease):
            return
        self._recovered = (now, self._seen)
        for judge in self._judges.values():
            if self._was_tried(judge):
                judge.close(*self._recovered)

    def failed(self, lease: int, since: float, now: float) -> None:
        """`since` is when the call began, or when it was answered, if it broke off after that.

        A call that began before the backend recovered tells of the outage, however late its time-out comes.
        """
        self._seen += 1
        self._failures.append((self._seen, now, since))
        was_probe = self._end(lease)
        for judge in self._judges.values():
            if not judge.opened:
                self._open_if_due(judge, now)
            elif was_probe and self._was_tried(judge):
                longest = max(judge.rule.cooldown_s, MAX_COOLDOWN_S)
                judge.open(now, min(judge.cooldown_s * 2, longest))

    def dropped(self, lease: int) -> None:
        """The call ended without telling anything of the backend: the next may be the probe."""
        self._end(lease)

    def state(self, now: float) -> State:
        """The worst by any rule that is in use."""
        self._forget_unused(now)
        states = {judge.state(now) for judge in self._judges.values()}
        return "open" if "open" in states else "half_open" if "half_open" in states else "closed"

    def rules(self, now: float) -> list[dict[str, Any]]:
        """For people: each rule, and how it judges at the moment."""
        return [
            {
                "failures": judge.rule.failures,
                "window_s": judge.rule.window_s,
                "cooldown_s": judge.rule.cooldown_s,
                "state": judge.state(now),
                "failures_in_window": self._count(judge, now),
                "open_for_s": max(0.0, judge.open_until - now) if judge.opened else 0.0,
            }
            for judge in self._judges.values()
        ]

    def _end(self, lease: int) -> bool:
        """True for the probe that is awaited; one whose lease ran out and was given to another has no say."""
        if not lease or lease != self._lease:
            return False
        self._lease = 0
        return True

    def _was_tried(self, judge: _Judge) -> bool:
        """The probe was sent for this rule too: its cooldown was over by then."""
        return judge.opened and judge.open_until <= self._lease_at

    def _add(self, rule: Rule, now: float) -> _Judge:
        """A rule that comes in the middle of an outage judges what is known already."""
        self._forget_unused(now)
        judge = self._judges[rule] = _Judge(rule, now)
        judge.close(*self._recovered)
        assert self._failures.maxlen
        if rule.failures > self._failures.maxlen:
            self._failures = deque(self._failures, maxlen=rule.failures)
        if self._failures:
            self._open_if_due(judge, now)
        return judge

    def _open_if_due(self, judge: _Judge, now: float) -> None:
        if self._count(judge, now) >= judge.rule.failures:
            judge.open(self._failures[-1][1], judge.rule.cooldown_s)

    def _count(self, judge: _Judge, now: float) -> int:
        """The failures that count for the rule now; no further than its limit."""
        count = 0
        after = now - judge.rule.window_s
        for number, at, since in reversed(self._failures):
            if number <= judge.forgiven or at <= after or count >= judge.rule.failures:
                break
            count += since >= judge.since
        return count

    def _forget_unused(self, now: float) -> None:
        before = self._asked_at - UNUSED_S
        unused = [rule for rule, judge in self._judges.items() if judge.asked_at < before and judge.open_until <= now]
        for rule in unused:
            del self._judges[rule]
