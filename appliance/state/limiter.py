"""Rate limits: requests and tokens in the last 60 seconds, and requests at the same time. All limits or none are taken.

A window is kept in buckets of one second. A bucket is let go when all that it holds is at least 60 s old, so a limit is
never exceeded in any 60 seconds, and capacity returns at most one second late.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from appliance.limits import Limits

WINDOW_S = 60
THROTTLE_DIVISOR = 10
"""What `hard_action: throttle` leaves of every limit: a tenth, and at least one request."""
SWEEP_EVERY = 4096
"""Idle meters are dropped after so many takes, so that memory follows the subjects of the last minute."""

Kind = Literal["requests", "tokens", "concurrent"]


class Limited(Exception):
    """`retry_after_s` is when the capacity really returns; None for concurrency, which returns when a call ends, and
    for a call that is larger than the whole limit."""

    def __init__(self, subject: str, kind: Kind, limit: int, retry_after_s: float | None) -> None:
        super().__init__(subject)
        self.subject = subject
        self.kind = kind
        self.limit = limit
        self.retry_after_s = retry_after_s


class Meter:
    """An amount over the last 60 seconds, in one-second buckets."""

    __slots__ = ("_buckets", "total")

    def __init__(self) -> None:
        self._buckets: deque[list[int]] = deque()
        self.total = 0

    def prune(self, now: float) -> None:
        buckets = self._buckets
        while buckets and buckets[0][0] + WINDOW_S + 1 <= now:
            self.total -= buckets.popleft()[1]

    def add(self, now: float, amount: int) -> None:
        second = int(now)
        if self._buckets and self._buckets[-1][0] == second:
            self._buckets[-1][1] += amount
        else:
            self._buckets.append([second, amount])
        self.total += amount

    def give_back(self, at: float, amount: int) -> None:
        """Take `amount` out of the bucket of the moment `at`, if that is not over already."""
        for bucket in reversed(self._buckets):
            if bucket[0] == int(at):
                amount = min(amount, bucket[1])
                bucket[1] -= amount
                self.total -= amount
                return

    def wait_s(self, now: float, limit: int, amount: int) -> float:
        """Seconds until `amount` fits below `limit`, if nothing else is taken meanwhile."""
        excess = self.total + amount - limit
        for second, held in self._buckets:
            if excess <= 0:
                break
            excess -= held
            if excess <= 0:
                return max(0.0, second + WINDOW_S + 1 - now)
        return 0.0 if excess <= 0 else float(WINDOW_S)


class _Subject:
    __slots__ = ("concurrent", "requests", "tokens")

    def __init__(self) -> None:
        self.requests = Meter()
        self.tokens = Meter()
        self.concurrent = 0

    def idle(self, now: float) -> bool:
        self.requests.prune(now)
        self.tokens.prune(now)
        return not self.concurrent and not self.requests.total and not self.tokens.total


@dataclass(slots=True)
class Grant:
    """What one call has taken. It must be released exactly once."""

    subjects: tuple[tuple[str, bool], ...]
    """Whose slots it holds, and whether tokens were taken there too."""
    at: float
    tokens: int
    headers: tuple[int, int, int]
    """Limit, remaining and the whole seconds until the window is empty again, of the tightest request limit."""
    released: bool = False


class Limiter:
    def __init__(self) -> None:
        self._subjects: dict[str, _Subject] = {}
        self._takes = 0

    def take(self, wanted: Sequence[tuple[str, Limits]], tokens: int, now: float) -> Grant:
        """One request and `tokens` tokens from every subject, or from none. Raises Limited naming the tightest limit.

        `tokens` is an estimate; `release` corrects it.
        """
        self._sweep(now)
        tightest: Limited | None = None
        for name, limits in wanted:
            refused = self.refusal(name, limits, tokens, now)
            if refused and (tightest is None or _wait(refused) > _wait(tightest)):
                tightest = refused
        if tightest:
            raise tightest
        for name, limits in wanted:
            subject = self._subjects.setdefault(name, _Subject())
            subject.requests.add(now, 1)
            subject.concurrent += 1
            if limits.tokens_per_minute is not None:
                subject.tokens.add(now, tokens)
        metered = tuple((name, limits.tokens_per_minute is not None) for name, limits in wanted)
        return Grant(metered, now, tokens, self.headers(wanted, now))

    def used(self, name: str, now: float) -> tuple[int, int, int]:
        """Requests and tokens of the last minute, and calls that run now."""
        subject = self._subjects.get(name, _EMPTY)
        subject.requests.prune(now)
        subject.tokens.prune(now)
        return subject.requests.total, subject.tokens.total, subject.concurrent

    def refusal(self, name: str, limits: Limits, tokens: int, now: float) -> Limited | None:
        """The kind that makes the caller wait longest; concurrency only when it is all there is, for it has no time."""
        subject = self._subjects.get(name, _EMPTY)
        refusals: list[Limited] = []
        for kind, meter, limit, amount in (
            ("requests", subject.requests, limits.requests_per_minute, 1),
            ("tokens", subject.tokens, limits.tokens_per_minute, tokens),
        ):
            meter.prune(now)
            if limit is not None and meter.total + amount > limit:
                wait_s = meter.wait_s(now, limit, amount) if amount <= limit else None
                refusals.append(Limited(name, cast(Kind, kind), limit, wait_s))
        if refusals:
            return max(refusals, key=_wait)
        limit = limits.concurrent_requests
        if limit is not None and subject.concurrent + 1 > limit:
            return Limited(name, "concurrent", limit, None)
        return None

    def release(self, grant: Grant, used_tokens: int, now: float) -> None:
        """The call is over: its slots are free, and the tokens are those that it used."""
        assert not grant.released
        grant.released = True
        for name, metered in grant.subjects:
            subject = self._subjects[name]
            subject.concurrent -= 1
            assert subject.concurrent >= 0
            if not metered:
                continue
            if used_tokens < grant.tokens:
                subject.tokens.give_back(grant.at, grant.tokens - used_tokens)
            elif used_tokens > grant.tokens:
                subject.tokens.add(now, used_tokens - grant.tokens)

    def count(self, name: str, limits: Limits, now: float) -> None:
        """One request that holds no slot: a refused credential, say. Raises Limited when there were too many."""
        self.release(self.take([(name, limits)], 0, now), 0, now)

    def give_back(self, grant: Grant, now: float) -> None:
        """The call was refused by something else after all: nothing of it counts."""
        for name, _ in grant.subjects:
            self._subjects[name].requests.give_back(grant.at, 1)
        self.release(grant, 0, now)

    def headers(self, wanted: Iterable[tuple[str, Limits]], now: float) -> tuple[int, int, int]:
        """Limit, remaining and seconds until the window is empty, of the request limit with the least left."""
        best: tuple[int, int, int] = (0, 0, 0)
        for name, limits in wanted:
            limit = limits.requests_per_minute
            if limit is None:
                continue
            meter = self._subjects.get(name, _EMPTY).requests
            meter.prune(now)
            remaining = max(0, limit - meter.total)
            if not best[0] or remaining < best[1]:
                best = (limit, remaining, math.ceil(meter.wait_s(now, limit, limit)))
        return best

    def concurrent(self, name: str) -> int:
        subject = self._subjects.get(name)
        return subject.concurrent if subject else 0

    def _sweep(self, now: float) -> None:
        self._takes += 1
        if self._takes % SWEEP_EVERY:
            return
        for name in [name for name, subject in self._subjects.items() if subject.idle(now)]:
            del self._subjects[name]


_EMPTY = _Subject()


def _wait(limited: Limited) -> float:
    """For comparing: what never fits waits longest, what has no time least."""
    if limited.retry_after_s is None:
        return -1.0 if limited.kind == "concurrent" else math.inf
    return limited.retry_after_s


def throttled(limits: Limits) -> Limits:
    """The limits of a subject whose throttling budget is used up."""
    return Limits(
        *(
            None if limit is None else max(1, limit // THROTTLE_DIVISOR)
            for limit in (limits.requests_per_minute, limits.tokens_per_minute, limits.concurrent_requests)
        )
    )
