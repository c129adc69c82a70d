"""Per backend: may it be asked, how fast is it, how does it fare? Keyed by `provider:upstream_model`.

It knows names and numbers only, so a reload forgets nothing. Driven by the calls themselves:
`permit` → `started` → (`answered`) → `finished`. Times are seconds of the loop's monotonic clock.

    healthy      nothing speaks against it
    degraded     it asked to be spared, or 2 calls and 5 % of those in the last minute failed or met a 429
    unhealthy    its breaker is open or half-open by the rule of some policy
    unavailable  not configured or switched off: the caller knows, and says so with `usable=False`

What an outcome means for the breaker: `connect`, `timeout`, `server_error` count, and so do `operator` and `quota`, for
the target cannot serve. `rate_limited` does not: its Retry-After spares the backend. `caller` and `canceled` tell
nothing of it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from appliance.exchange import FailureKind
from appliance.state.breaker import PROBE_LEASE_S, Breaker, Refused, Rule, State
from appliance.state.latency import Latency

MAX_SPARED_S = 3600.0
"""An upstream that asks for more is asked again after an hour all the same."""
DEGRADED_FAILURES = 2
DEGRADED_SHARE = 0.05
BUCKET_S = 10.0
BUCKETS = 6

Outcome: TypeAlias = FailureKind | Literal["ok"]
Status = Literal["healthy", "degraded", "unhealthy", "unavailable"]
Watcher = Callable[[str, Status, Status], None]
"""Told (backend, old, new), in the middle of a call: it must be quick and must not raise."""

_COUNTED = frozenset({"connect", "timeout", "server_error", "operator", "quota"})
_TROUBLE = _COUNTED | {"rate_limited"}


@dataclass(slots=True)
class Permit:
    """Leave to make one call. It must be finished, also when the call was never made; once is enough."""

    backend: str
    lease: int
    """Not 0: this call is the probe."""
    since: float
    """When it was given, later when the call began or was answered: from here on a failure tells of the backend."""
    started_at: float | None = None
    timed: bool = True
    """Its time tells of calls like it; that of a question which costs nothing does not."""
    first_token_known: bool = False
    ended: bool = False


class _Minute:
    """Calls and failures of the last minute, in buckets of ten seconds."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: deque[list[int]] = deque(maxlen=BUCKETS)

    def add(self, now: float, failed: bool) -> None:
        place = int(now // BUCKET_S)
        if not self._buckets or self._buckets[-1][0] != place:
            self._buckets.append([place, 0, 0])
        bucket = self._buckets[-1]
        bucket[1] += 1
        bucket[2] += failed

    def counts(self, now: float) -> tuple[int, int]:
        after = int(now // BUCKET_S) - BUCKETS
        recent = [bucket for bucket in self._buckets if bucket[0] > after]
        return sum(bucket[1] for bucket in recent), sum(bucket[2] for bucket in recent)

    def troubled(self, now: float) -> bool:
        calls, failures = self.counts(now)
        return failures >= DEGRADED_FAILURES and failures >= calls * DEGRADED_SHARE


@dataclass(slots=True)
class _Backend:
    breaker: Breaker = field(default_factory=Breaker)
    latency: Latency = field(default_factory=Latency)
    minute: _Minute = field(default_factory=_Minute)
    spared_until: float = 0.0
    in_flight: int = 0
    last_error: tuple[FailureKind, float] | None = None
    status: Status = "healthy"
    """As the watchers know it."""

    def judge(self, now: float) -> Status:
        if self.breaker.state(now) != "closed":
            return "unhealthy"
        return "degraded" if now < self.spared_until or self.minute.troubled(now) else "healthy"


class Health:
    def __init__(self) -> None:
        self._backends: dict[str, _Backend] = {}
        self.watchers: list[Watcher] = []
        """A change that comes with time alone (a wait is over) is told when the backend is next asked or looked at, by
        `refresh` at the latest."""
        self.changes: Counter[tuple[str, Status]] = Counter()
        """(backend, what it became)."""

    # -- may it be asked? --

    def look(self, backend: str, rule: Rule | None, now: float, *, spared_too: bool = False) -> Refused | None:
        """What `permit` would refuse with. Takes nothing, so it can be asked for every target."""
        found = self._backends.get(backend)
        if found is None:
            return None
        if not spared_too and now < found.spared_until:
            return Refused("spared", found.spared_until - now)
        return found.breaker.look(rule, now) if rule else None

    def permit(
        self,
        backend: str,
        rule: Rule | None,
        now: float,
        *,
        spared_too: bool = False,
        lease_s: float = PROBE_LEASE_S,
    ) -> Permit | Refused:
        """`spared_too`: nobody else can serve, so a Retry-After is no reason. `rule` None: no breaker holds it back.

        `lease_s` is how long the call may take until it is answered: so long no other probe is sent.
        """
        found = self._of(backend)
        if found.status != "healthy":
            self._note(backend, found, now)
        if not spared_too and now < found.spared_until:
            return Refused("spared", found.spared_until - now)
        lease = found.breaker.enter(rule, now, lease_s) if rule else 0
        return lease if isinstance(lease, Refused) else Permit(backend, lease, now)

    def permit_probe(self, backend: str, rules: Iterable[Rule], now: float, lease_s: float) -> Permit:
        """Leave for a probe beside the calls, which nothing holds back. It is to be `finished` and never `started`: no
        call is under way, and its time is no call's time.

        Where the circuit of a rule is half-open, and no call is trying already, it is the one that tries. Elsewhere its
        outcome is a fact like any other: it counts once for all rules, and closes nothing.
        """
        breaker = self._of(backend).breaker
        for rule in rules:
            lease = breaker.enter(rule, now, lease_s)
            if lease and not isinstance(lease, Refused):
                return Permit(backend, lease, now)
        return Permit(backend, 0, now)

    def spare(self, backend: str, now: float, seconds: float) -> None:
        """The backend answered Retry-After. A shorter wait never takes back a longer one."""
        found = self._of(backend)
        found.spared_until = max(now + min(seconds, MAX_SPARED_S), found.spared_until)
        self._note(backend, found, now)

    def wait_s(self, backend: str, now: float) -> float:
        """Seconds the backend still wants to be spared; 0 when it may be asked."""
        found = self._backends.get(backend)
        return max(0.0, found.spared_until - now) if found else 0.0

    # -- how the call went --

    def started(self, permit: Permit, now: float) -> None:
        """The call goes out."""
        assert permit.started_at is None and not permit.ended
        permit.started_at = permit.since = now
        self._of(permit.backend).in_flight += 1

    def answered(self, permit: Permit, now: float, ttft_s: float | None = None) -> None:
        """Its first content is here. A stream may go on for minutes: a probe has shown what it had to already."""
        found = self._of(permit.backend)
        permit.since = now
        _note_first_token(permit, found, ttft_s, now)
        found.breaker.succeeded(permit.lease, now)
        if found.status != "healthy":
            self._note(permit.backend, found, now)

    def finished(self, permit: Permit, outcome: Outcome, now: float, ttft_s: float | None = None) -> None:
        """The call is over, or will never be made (`canceled`). Only the first telling counts."""
        if permit.ended:
            return
        permit.ended = True
        found = self._of(permit.backend)
        found.in_flight -= permit.started_at is not None
        _note_first_token(permit, found, ttft_s, now)
        if outcome == "ok":
            found.breaker.succeeded(permit.lease, now)
            if permit.started_at is not None and permit.timed and not permit.first_token_known:
                found.latency.total.add(now, now - permit.started_at)
        elif outcome in _COUNTED:
            found.breaker.failed(permit.lease, permit.since, now)
        else:
            found.breaker.dropped(permit.lease)
        if outcome != "canceled":
            found.minute.add(now, outcome in _TROUBLE)
        if outcome != "ok" and outcome in _TROUBLE:
            found.last_error = (outcome, now)
        if found.status != "healthy" or outcome in _TROUBLE:
            self._note(permit.backend, found, now)

    def lost(self, permit: Permit, now: float, *, streamed: bool) -> None:
        """Another target answered the call first, and this one was cut off: neither a failure nor a success.

        What it had taken by then is noted as its time: it would have taken at least that.
        """
        if not permit.ended and permit.timed and permit.started_at is not None and not permit.first_token_known:
            latency = self._of(permit.backend).latency
            (latency.first_token if streamed else latency.total).add(now, now - permit.started_at)
            permit.first_token_known = True
        self.finished(permit, "canceled", now)

    # -- how it fares --

    def status(self, backend: str, now: float, *, usable: bool = True) -> Status:
        if not usable:
            return "unavailable"
        found = self._backends.get(backend)
        if found is None:
            return "healthy"
        self._note(backend, found, now)
        return found.status

    def refresh(self, now: float) -> None:
        """Tell the watchers what has changed with time alone."""
        for backend, found in self._backends.items():
            if found.status != "healthy":
                self._note(backend, found, now)

    def breaker_state(self, backend: str, now: float) -> State:
        found = self._backends.get(backend)
        return found.breaker.state(now) if found else "closed"

    def in_flight(self, backend: str) -> int:
        found = self._backends.get(backend)
        return found.in_flight if found else 0

    def latency(self, backend: str) -> Latency:
        found = self._backends.get(backend)
        return found.latency if found else Latency()

    def diagnostics(self, backend: str, now: float) -> dict[str, Any]:
        """For people and metrics. Times are seconds ago and seconds left: the clock here has no date."""
        found = self._backends.get(backend) or _Backend()
        rules = found.breaker.rules(now)
        calls, failures = found.minute.counts(now)
        kind, at = found.last_error or (None, 0.0)
        return {
            "breaker": found.breaker.state(now),
            "open_for_s": max((rule["open_for_s"] for rule in rules), default=0.0),
            "spared_for_s": max(0.0, found.spared_until - now),
            "calls_last_minute": calls,
            "failures_last_minute": failures,
            "last_error": kind,
            "last_error_s_ago": now - at if kind else None,
            "in_flight": found.in_flight,
            **found.latency.summary(now),
            "rules": rules,
        }

    def _of(self, backend: str) -> _Backend:
        found = self._backends.get(backend)
        if found is None:
            found = self._backends[backend] = _Backend()
        return found

    def _note(self, backend: str, found: _Backend, now: float) -> None:
        old, found.status = found.status, found.judge(now)
        if old != found.status:
            self.changes[backend, found.status] += 1
            for watcher in self.watchers:
                watcher(backend, old, found.status)


def _note_first_token(permit: Permit, found: _Backend, ttft_s: float | None, now: float) -> None:
    if ttft_s is not None and not permit.first_token_known:
        permit.first_token_known = True
        found.latency.first_token.add(now, ttft_s)
