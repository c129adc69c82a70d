"""Slots of one provider, shared fairly: whoever waits is served by tenant in turn, not by who asked most.

Start-time fair queueing. A tenant's next call has a start on a virtual clock; the lowest start is served first and sets
the clock; each call served moves its tenant's next start on by 1/weight. Whoever comes anew starts at the clock, so a
single call passes a thousand of another tenant. Inside a tenant it is first come, first served.

Who waits is bounded. When the queue is full, a tenant that has fewer waiting takes the place of the newest call of the
one that has most: a flood cannot lock others out of the queue either.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Literal, TypeAlias

DEFAULT_CAPACITY = 1000
RATE_HALF_LIFE_S = 180.0
_DECAY = math.log(2) / RATE_HALF_LIFE_S


class Busy(Exception):
    """No slot for this call. `retry_after_s` is when one like it would be served, by what was observed; None as long as
    nothing is known."""

    def __init__(self, reason: Literal["full", "displaced", "too_long"], retry_after_s: float | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


Waiter: TypeAlias = "asyncio.Future[Busy | None]"
"""Resolved with None: it has a slot."""


class Slot:
    """One of the provider's places. Given back once, however often it is released."""

    __slots__ = ("_queue",)

    def __init__(self, queue: FairQueue) -> None:
        self._queue: FairQueue | None = queue

    def release(self) -> None:
        if self._queue:
            queue, self._queue = self._queue, None
            queue.release()


class FairQueue:
    """Stands in for asyncio.Semaphore: `acquire` and `release` without arguments mean the same."""

    def __init__(
        self, limit: int, capacity: int = DEFAULT_CAPACITY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert limit > 0 and capacity >= 0
        self.limit = limit
        self.capacity = capacity
        """How many calls may wait."""
        self._clock = clock
        self._rate = _Rate(clock())
        self._tenants: dict[str, _Tenant] = {}
        self._heap: list[tuple[float, int, _Tenant]] = []
        """Each tenant with waiting calls once, by its next start. One whose calls all left keeps its entry."""
        self._lengths = _Lengths()
        self._virtual = 0.0
        self._turn = 0
        self._weight = 0.0
        """Of all tenants that wait."""

    @property
    def in_use(self) -> int:
        return self._rate.in_use

    @property
    def waiting(self) -> int:
        return self._lengths.total

    def waiting_of(self, tenant: str) -> int:
        found = self._tenants.get(tenant)
        return len(found.waiters) if found else 0

    def locked(self) -> bool:
        """True when a call would have to wait."""
        return self.in_use >= self.limit

    def expected_wait_s(self, tenant: str = "", weight: float = 1.0) -> float | None:
        """How long one more call would wait, if nobody else comes; None as long as nothing is known."""
        if not self.locked():
            return 0.0
        hold_s = self._rate.hold_s(self._clock())
        return None if hold_s is None else self._turns_until(tenant, weight) * hold_s / self.limit

    async def acquire(self, tenant: str = "", weight: float = 1.0, patience_s: float | None = None) -> None:
        """Returns with a slot. Raises Busy when the wait is, or would be, longer than `patience_s`."""
        assert weight > 0
        if self.in_use < self.limit:  # nobody waits while a slot is free
            self._rate.begin(self._clock())
            return
        waiter = self._join(tenant, weight, patience_s)
        timer = None
        if patience_s is not None:
            timer = waiter.get_loop().call_later(patience_s, self._lose_patience, tenant, waiter, patience_s)
        try:
            refused = await waiter
        except asyncio.CancelledError:
            self._abandon(tenant, waiter)
            raise
        finally:
            if timer:
                timer.cancel()
        if refused:
            raise refused

    async def slot(self, tenant: str, weight: float, patience_s: float) -> Slot:
        """`acquire`, with the place as something to hold on to."""
        await self.acquire(tenant, weight, patience_s)
        return Slot(self)

    def release(self) -> None:
        """Once for each `acquire` that returned."""
        assert self.in_use > 0, "a slot was given back that nobody held"
        self._rate.end(self._clock())
        self._hand_out()

    def resize(self, limit: int) -> None:
        """A higher limit serves who waits at once; a lower one is reached as calls end."""
        assert limit > 0
        self.limit = limit
        self._hand_out()

    # -- joining and leaving --

    def _join(self, tenant: str, weight: float, patience_s: float | None) -> Waiter:
        wait_s = self.expected_wait_s(tenant, weight)
        if patience_s is not None and wait_s is not None and wait_s > patience_s:
            raise Busy("too_long", wait_s - patience_s)
        if self.waiting >= self.capacity and not self._displace(self.waiting_of(tenant)):
            raise Busy("full", wait_s)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        found = self._tenants.get(tenant)
        if found is None:
            found = self._tenants[tenant] = _Tenant(tenant)
        if found.waiters:
            self._weight += weight - found.weight
        else:
            self._weight += weight
            self._line_up(found)
        found.weight = weight
        found.waiters[waiter] = None
        self._lengths.grew(tenant, len(found.waiters))
        return waiter

    def _line_up(self, tenant: _Tenant) -> None:
        if tenant.lined_up:
            return
        tenant.lined_up = True
        self._turn += 1
        heapq.heappush(self._heap, (max(self._virtual, tenant.next_start), self._turn, tenant))

    def _displace(self, length: int) -> bool:
        """Send the newest call of the tenant with most away, if that has more than one that is `length` and one."""
        longest = self._lengths.longest()
        if longest is None or len(self._tenants[longest].waiters) <= length + 1:
            return False
        waiter = next(reversed(self._tenants[longest].waiters))
        self._remove(self._tenants[longest], waiter)
        _resolve(waiter, Busy("displaced", self.expected_wait_s(longest, self._tenants[longest].weight)))
        return True

    def _lose_patience(self, tenant: str, waiter: Waiter, patience_s: float) -> None:
        if waiter.done():
            return
        self._remove(self._tenants[tenant], waiter)
        wait_s = self.expected_wait_s(tenant, self._tenants[tenant].weight)
        self._settle()
        _resolve(waiter, Busy("too_long", None if wait_s is None else max(0.0, wait_s - patience_s)))

    def _abandon(self, tenant: str, waiter: Waiter) -> None:
        found = self._tenants.get(tenant)
        if found and waiter in found.waiters:
            self._remove(found, waiter)
            self._settle()
        elif not waiter.cancelled() and waiter.result() is None:
            self.release()  # the slot came in the same moment as the cancellation: it goes to the next

    def _remove(self, tenant: _Tenant, waiter: Waiter) -> None:
        del tenant.waiters[waiter]
        self._lengths.shrank(tenant.name, len(tenant.waiters))
        if not tenant.waiters:
            self._weight -= tenant.weight

    def _settle(self) -> None:
        """Nobody waits: whoever comes next finds no debts."""
        if not self.waiting:
            self._tenants.clear()
            self._heap.clear()
            self._virtual = self._weight = 0.0

    # -- serving --

    def _hand_out(self) -> None:
        while self.in_use < self.limit and (waiter := self._next()):
            self._rate.begin(self._clock())
            waiter.set_result(None)
        self._settle()

    def _next(self) -> Waiter | None:
        while self._heap:
            start, _, tenant = heapq.heappop(self._heap)
            tenant.lined_up = False
            waiter = self._first(tenant)
            if waiter:
                self._virtual = start
                tenant.next_start = start + 1 / tenant.weight
                if tenant.waiters:
                    self._line_up(tenant)
                return waiter
        return None

    def _first(self, tenant: _Tenant) -> Waiter | None:
        """Who was cancelled in this moment is still there, for his task has not come to leaving; he gets nothing."""
        while tenant.waiters:
            waiter = next(iter(tenant.waiters))
            self._remove(tenant, waiter)
            if not waiter.done():
                return waiter
        return None

    def _turns_until(self, tenant: str, weight: float) -> int:
        """How many slots must become free until one more call of the tenant has its own: at most everybody's."""
        own = self.waiting_of(tenant)
        others = self._weight - (self._tenants[tenant].weight if own else 0.0)
        return min(self.waiting + 1, math.ceil((own + 1) * (others + weight) / weight))


class _Tenant:
    __slots__ = ("lined_up", "name", "next_start", "waiters", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.weight = 1.0
        self.next_start = 0.0
        self.lined_up = False
        self.waiters: OrderedDict[Waiter, None] = OrderedDict()


class _Lengths:
    """Which tenant has most calls waiting? Lengths change by one, so nothing is ever sorted."""

    __slots__ = ("_highest", "_tenants", "total")

    def __init__(self) -> None:
        self.total = 0
        self._highest = 0
        self._tenants: dict[int, dict[str, None]] = {}

    def grew(self, tenant: str, length: int) -> None:
        self.total += 1
        self._move(tenant, length - 1, length)
        self._highest = max(self._highest, length)

    def shrank(self, tenant: str, length: int) -> None:
        self.total -= 1
        self._move(tenant, length + 1, length)
        if self._highest not in self._tenants:
            self._highest = length

    def longest(self) -> str | None:
        return next(iter(self._tenants[self._highest])) if self.total else None

    def _move(self, tenant: str, old: int, new: int) -> None:
        if old:
            del self._tenants[old][tenant]
            if not self._tenants[old]:
                del self._tenants[old]
        if new:
            self._tenants.setdefault(new, {})[tenant] = None


class _Rate:
    """How long a call holds its slot, on average: time that slots were held, by calls that ended. Both fade, so it
    follows the provider's speed of the last minutes."""

    __slots__ = ("_at", "_ended", "_held_s", "in_use")

    def __init__(self, now: float) -> None:
        self.in_use = 0
        self._at = now
        self._held_s = 0.0
        self._ended = 0.0

    def begin(self, now: float) -> None:
        self._advance(now)
        self.in_use += 1

    def end(self, now: float) -> None:
        self._advance(now)
        self.in_use -= 1
        self._ended += 1

    def hold_s(self, now: float) -> float | None:
        """As long as fewer have ended than are under way: what those have taken so far, which is too little."""
        self._advance(now)
        calls = max(self._ended, self.in_use)
        return self._held_s / calls if self._held_s else None

    def _advance(self, now: float) -> None:
        passed_s = now - self._at
        if passed_s <= 0:
            return
        kept = math.exp(-_DECAY * passed_s)
        self._held_s = self._held_s * kept + self.in_use * (1 - kept) / _DECAY
        self._ended *= kept
        self._at = now


def _resolve(waiter: Waiter, answer: Busy | None) -> None:
    if not waiter.done():
        waiter.set_result(answer)
