"""Slots are given out once, in turn by tenant, whoever cancels when; what callers are told about waiting is true."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from appliance.state.fair_queue import Busy, FairQueue


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Callers:
    """Calls as tasks. Who has a slot is in `holding` until `release`; `served` is the order in which slots were had."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.served: list[str] = []
        self.holding: list[str] = []
        self.refused: list[tuple[str, Busy]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def call(self, tenant: str, **how: Any) -> asyncio.Task[None]:
        self.tasks.append(asyncio.ensure_future(self._call(tenant, how)))
        return self.tasks[-1]

    async def _call(self, tenant: str, how: dict[str, Any]) -> None:
        try:
            await self.queue.acquire(tenant, **how)
        except Busy as busy:
            self.refused.append((tenant, busy))
            return
        self.served.append(tenant)
        self.holding.append(tenant)

    async def arrive(self, tenants: Iterable[str], **how: Any) -> None:
        for tenant in tenants:
            self.call(tenant, **how)
        await settle()

    async def release(self, times: int = 1) -> None:
        for _ in range(times):
            self.holding.pop(0)
            self.queue.release()
            await settle()

    async def finish(self) -> None:
        while self.holding:
            await self.release()
        assert (self.queue.in_use, self.queue.waiting) == (0, 0)


async def settle() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


# -- as a semaphore ---------------------------------------------------------------------------------------------------


async def test_it_does_what_the_semaphore_did() -> None:
    queue = FairQueue(2)
    await queue.acquire()
    assert not queue.locked()
    await queue.acquire()
    assert queue.locked()
    third = asyncio.ensure_future(queue.acquire())
    await settle()
    assert not third.done()
    queue.release()
    await third
    assert (queue.in_use, queue.waiting) == (2, 0)


async def test_a_slot_that_nobody_holds_cannot_be_given_back() -> None:
    queue = FairQueue(1)
    await queue.acquire()
    queue.release()
    with pytest.raises(AssertionError, match="nobody held"):
        queue.release()


async def test_first_come_first_served_inside_a_tenant() -> None:
    queue = FairQueue(1)
    await queue.acquire()
    order: list[int] = []

    async def one(number: int) -> None:
        await queue.acquire("a")
        order.append(number)
        queue.release()

    tasks = [asyncio.ensure_future(one(number)) for number in range(50)]
    await settle()
    queue.release()
    await asyncio.gather(*tasks)
    assert order == list(range(50))


async def test_another_limit_holds_at_once_upwards_and_as_calls_end_downwards() -> None:
    queue = FairQueue(1)
    callers = Callers(queue)
    await callers.arrive("aaaaa")
    assert len(callers.holding) == 1
    queue.resize(3)
    await settle()
    assert len(callers.holding) == 3
    queue.resize(1)
    await callers.release(2)
    assert (len(callers.holding), queue.waiting) == (1, 2)
    await callers.release()
    assert (len(callers.holding), queue.waiting) == (1, 1)
    await callers.finish()


# -- fairness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 4, 64])
async def test_a_single_call_passes_a_flood(limit: int) -> None:
    callers = Callers(FairQueue(limit, capacity=2000))
    await callers.arrive(["flood"] * (limit + 1000))
    for freed in (0, 1, 7, 100):
        await callers.release(freed)
        await callers.arrive(["quiet"])
        await callers.release(2)
        assert "quiet" in callers.served[-2:], f"after {freed} more"
    await callers.finish()
    assert Counter(callers.served) == {"flood": limit + 1000, "quiet": 4}


async def test_a_tenant_that_asks_one_by_one_gets_every_other_slot() -> None:
    callers = Callers(FairQueue(1, capacity=2000))
    await callers.arrive(["flood"] * 500)
    for _ in range(100):
        await callers.arrive(["quiet"])
        await callers.release(2)
    assert callers.served.count("quiet") == 100


async def test_nobody_pays_for_what_he_had_while_nobody_else_came() -> None:
    callers = Callers(FairQueue(1))
    for _ in range(100):
        await callers.arrive(["early"])
        await callers.release()
    await callers.arrive(["x", *["late"] * 10, *["early"] * 10])
    await callers.release(10)
    assert callers.served[-10:].count("early") == 5


async def test_who_comes_late_gets_his_share_and_not_what_he_missed() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive(["x", *["early"] * 200])
    await callers.release(100)
    await callers.arrive(["late"] * 50)
    await callers.release(40)
    assert callers.served[-40:].count("late") == 20


async def test_weights_share_the_slots() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive(["x"])
    await callers.arrive(["heavy"] * 200, weight=3.0)
    await callers.arrive(["light"] * 200)
    await callers.release(200)
    assert callers.served[1:].count("heavy") == 150


@given(
    limit=st.integers(1, 5),
    weights=st.lists(st.sampled_from([1.0, 1.0, 1.0, 0.5, 2.0, 3.0]), min_size=2, max_size=5),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_tenants_that_always_wait_are_served_alike(limit: int, weights: list[float], data: st.DataObject) -> None:
    """By weight; equal weights never differ by more than one call. Some give up waiting, which changes nothing."""
    names = [f"t{number}" for number in range(len(weights))]
    arrivals = data.draw(st.permutations([name for name in names for _ in range(12)]))
    gone = data.draw(st.sets(st.integers(0, len(arrivals) - 1), max_size=len(arrivals) // 4))

    async def play() -> None:
        callers = Callers(FairQueue(limit))
        await callers.arrive(["first"] * limit)
        tasks = [callers.call(name, weight=weights[names.index(name)]) for name in arrivals]
        await settle()
        for number in gone:
            tasks[number].cancel()
            if number % 2:
                await settle()
        while all(callers.queue.waiting_of(name) > 1 for name in names):
            await callers.release()
            shares = [callers.served.count(name) / weight for name, weight in zip(names, weights, strict=True)]
            for i, one in enumerate(shares):
                for j, other in enumerate(shares):
                    assert one - other <= max(1 / weights[i], 1 / weights[j]) + 1e-9, callers.served
        await callers.finish()
        assert len(callers.served) == limit + len(arrivals) - len(gone)

    asyncio.run(play())


async def test_always_waiting_tenants_with_calls_of_any_length() -> None:
    queue = FairQueue(3)
    served: Counter[str] = Counter()

    async def worker(tenant: str, turns: int) -> None:
        while True:
            await queue.acquire(tenant)
            served[tenant] += 1
            for _ in range(turns):
                await asyncio.sleep(0)
            queue.release()

    workers = [
        asyncio.ensure_future(worker(tenant, turns))
        for tenant, count, turns in (("many", 200, 1), ("slow", 8, 9), ("few", 8, 2))
        for _ in range(count)
    ]
    for _ in range(300):
        await asyncio.sleep(0)
        if all(queue.waiting_of(tenant) for tenant in ("many", "slow", "few")):
            base = served.copy()
            break
    for _ in range(3000):
        await asyncio.sleep(0)
        assert all(queue.waiting_of(tenant) for tenant in ("many", "slow", "few"))
        since = [served[tenant] - base[tenant] for tenant in ("many", "slow", "few")]
        assert max(since) - min(since) <= 2 + queue.limit, since  # what was had, and not only handed out
    assert min(since) > 100
    for task in workers:
        task.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


# -- refusing ---------------------------------------------------------------------------------------------------------


async def test_a_full_queue_refuses_the_tenant_that_filled_it() -> None:
    clock = Clock()
    callers = Callers(FairQueue(1, capacity=3, clock=clock))
    await callers.arrive("aaaa")
    clock.now += 2.0
    with pytest.raises(Busy) as caught:
        await callers.queue.acquire("a")
    assert caught.value.reason == "full"
    assert caught.value.retry_after_s == pytest.approx(4 * 2.0, rel=0.01)
    await callers.finish()


async def test_another_tenant_takes_the_place_of_the_newest_call_of_who_filled_it() -> None:
    callers = Callers(FairQueue(1, capacity=4))
    await callers.arrive("aaaaabb")
    assert [(tenant, busy.reason) for tenant, busy in callers.refused] == [("a", "displaced")] * 2
    assert [task.done() for task in callers.tasks] == [True, False, False, True, True, False, False]
    await callers.arrive("b")
    assert (callers.refused[-1][0], callers.refused[-1][1].reason) == ("b", "full")
    await callers.finish()
    assert callers.served == ["a", "a", "b", "a", "b"]


async def test_nobody_is_displaced_by_who_has_nearly_as_many_waiting() -> None:
    callers = Callers(FairQueue(1, capacity=3))
    await callers.arrive("xaabb")
    assert [(tenant, busy.reason) for tenant, busy in callers.refused] == [("b", "full")]


async def test_a_queue_of_no_length_refuses_at_once() -> None:
    queue = FairQueue(1, capacity=0)
    await queue.acquire()
    with pytest.raises(Busy, match="full"):
        await queue.acquire()
    queue.release()
    await queue.acquire()


async def test_who_would_wait_too_long_is_told_at_once_when_it_will_be_worth_it() -> None:
    clock = Clock()
    callers = Callers(FairQueue(2, clock=clock))
    await callers.arrive("aa")
    for _ in range(50):
        clock.now += 4.0
        await callers.release(2)
        await callers.arrive("aa")
    await callers.arrive("aaaa")
    assert callers.queue.expected_wait_s("a") == pytest.approx(10.0, rel=0.05)
    with pytest.raises(Busy) as caught:
        await callers.queue.acquire("a", patience_s=7.0)
    assert caught.value.reason == "too_long"
    assert caught.value.retry_after_s == pytest.approx(3.0, rel=0.2)
    waiting = callers.call("a", patience_s=12.0)
    await settle()
    assert not waiting.done()
    assert callers.queue.expected_wait_s("b") == pytest.approx(4.0, rel=0.05), "another tenant is served in turn"
    await callers.finish()


async def test_whoever_has_waited_as_long_as_he_would_leaves() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive("a")
    await callers.arrive("b", patience_s=0.02)
    await asyncio.sleep(0.06)
    assert [(tenant, busy.reason) for tenant, busy in callers.refused] == [("b", "too_long")]
    assert callers.queue.waiting == 0
    await callers.arrive("c", patience_s=5.0)
    await callers.finish()
    assert callers.served == ["a", "c"]


async def test_a_slot_and_a_loss_of_patience_in_the_same_moment() -> None:
    callers = Callers(FairQueue(1))
    broken: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: broken.append(context))
    await callers.arrive("a")
    asyncio.get_running_loop().call_later(0.01, callers.queue.release)
    await callers.arrive("b", patience_s=0.01)
    time.sleep(0.03)  # noqa: ASYNC251 – both timers are due before the loop turns again
    await settle()
    assert callers.served == ["a", "b"]
    assert (callers.queue.in_use, callers.queue.waiting, callers.refused, broken) == (1, 0, [], [])


async def test_who_was_served_leaves_no_timer() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive("ab", patience_s=3600.0)
    before = [timer for timer in timers() if not timer.cancelled()]
    await callers.release()
    assert callers.served == ["a", "b"]
    assert len([timer for timer in timers() if not timer.cancelled()]) == len(before) - 1


def timers() -> list[asyncio.TimerHandle]:
    loop: Any = asyncio.get_running_loop()
    return list(loop._scheduled)


async def test_while_nothing_has_ended_yet_calls_take_at_least_as_long_as_they_took_so_far() -> None:
    clock = Clock()
    callers = Callers(FairQueue(4, clock=clock))
    await callers.arrive("aaaa")
    clock.now += 10.0
    assert callers.queue.expected_wait_s("a") == pytest.approx(10.0 / 4, rel=0.05)


async def test_nobody_waits_for_more_than_all_that_wait() -> None:
    clock = Clock()
    callers = Callers(FairQueue(1, clock=clock))
    await callers.arrive("a" + "a" * 10 + "b")
    clock.now += 1.0
    assert callers.queue.expected_wait_s("a") == pytest.approx(12.0, rel=0.05)
    assert callers.queue.expected_wait_s("b") == pytest.approx(4.0, rel=0.05)
    assert callers.queue.expected_wait_s("c") == pytest.approx(3.0, rel=0.05)
    assert callers.queue.expected_wait_s("c", weight=4.0) == pytest.approx(2.0, rel=0.05)


async def test_as_long_as_nothing_is_known_nobody_is_refused_for_the_wait() -> None:
    clock = Clock()
    callers = Callers(FairQueue(1, clock=clock))
    await callers.arrive("a")
    assert callers.queue.expected_wait_s("a") is None
    await callers.arrive("a", patience_s=1.0)
    assert callers.queue.waiting == 1
    await callers.finish()
    assert callers.queue.expected_wait_s("a") == 0.0


@pytest.mark.parametrize(("limit", "hold_s", "ahead"), [(1, 2.0, 5), (4, 8.0, 30), (16, 0.5, 100), (8, 120.0, 20)])
async def test_what_is_expected_comes_true(limit: int, hold_s: float, ahead: int) -> None:
    """Calls of one length, spread over time; the prophecy about the last one is compared with what happens."""
    clock = Clock()
    callers = Callers(FairQueue(limit, clock=clock))
    await callers.arrive(["a"] * (limit + 300 + ahead))
    for _ in range(300):
        clock.now += hold_s / limit
        await callers.release()
    expected = callers.queue.expected_wait_s("a")
    assert expected is not None
    begin = clock.now
    last = callers.call("a")
    await settle()
    while not last.done():
        clock.now += hold_s / limit
        await callers.release()
    assert expected == pytest.approx(clock.now - begin, rel=0.1)
    await callers.finish()


# -- cancelling -------------------------------------------------------------------------------------------------------


async def test_who_is_cancelled_while_waiting_leaves_no_hole() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive("abc")
    callers.tasks[1].cancel()
    await settle()
    assert (callers.queue.waiting, callers.queue.in_use) == (1, 1)
    await callers.release()
    assert callers.served == ["a", "c"]


async def test_who_is_cancelled_in_the_moment_of_his_slot_hands_it_on() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive("abc")
    callers.queue.release()
    callers.tasks[1].cancel()
    await settle()
    assert callers.served == ["a", "c"]
    assert callers.queue.in_use == 1


async def test_who_is_cancelled_right_before_a_slot_is_free_does_not_get_it() -> None:
    callers = Callers(FairQueue(1))
    await callers.arrive("abc")
    callers.tasks[1].cancel()
    callers.queue.release()
    await settle()
    assert callers.served == ["a", "c"]
    assert callers.queue.in_use == 1


async def test_cancelled_calls_leave_nothing_behind() -> None:
    """The one slot is stuck; callers come and go."""
    callers = Callers(FairQueue(1, capacity=20))
    await callers.arrive(["stuck", "patient"])
    for _ in range(200):
        before = len(callers.tasks)
        await callers.arrive(["a", "b", "a"])
        for task in callers.tasks[before:]:
            task.cancel()
        await settle()
    assert callers.queue.waiting == 1
    assert len(callers.queue._heap) <= 3
    assert len(callers.queue._tenants) <= 3
    await callers.release()
    assert callers.served == ["stuck", "patient"]


# -- at random --------------------------------------------------------------------------------------------------------


class QueueMachine(RuleBasedStateMachine):
    """Nothing but `turns` lets the loop run, so cancellations meet calls in every moment of their lives."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.clock = Clock()
        self.queue = FairQueue(2, capacity=6, clock=self.clock)
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.served: defaultdict[str, list[int]] = defaultdict(list)
        self.held = 0
        self.number = 0

    async def call(self, tenant: str, number: int, weight: float) -> None:
        waits = self.queue.locked()
        try:
            await self.queue.acquire(tenant, weight)
        except Busy:
            assert waits
            return
        if waits:  # one that asked later may find a free slot, and go on before the loop wakes those that got theirs
            self.served[tenant].append(number)
        self.held += 1

    @rule(tenant=st.sampled_from("aaab"), weight=st.sampled_from([1.0, 1.0, 2.5]), often=st.integers(1, 4))
    def calls(self, tenant: str, weight: float, often: int) -> None:
        for _ in range(often):
            self.number += 1
            self.tasks[self.number] = self.loop.create_task(self.call(tenant, self.number, weight))

    @rule(often=st.integers(1, 3), seconds=st.sampled_from([0.0, 0.5, 30.0]))
    def turns(self, often: int, seconds: float) -> None:
        self.clock.now += seconds
        for _ in range(often):
            self.loop.run_until_complete(asyncio.sleep(0))

    @precondition(lambda self: self.held)
    @rule()
    def one_ends(self) -> None:
        self.held -= 1
        self.queue.release()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def one_is_cancelled(self, data: st.DataObject) -> None:
        going = [number for number, task in self.tasks.items() if not task.done()]
        if going:
            self.tasks[data.draw(st.sampled_from(going))].cancel()

    @rule(limit=st.integers(1, 4))
    def it_is_resized(self, limit: int) -> None:
        before = self.queue.in_use
        self.queue.resize(limit)
        assert self.queue.in_use <= max(before, limit)

    @invariant()
    def slots_and_places_are_bounded(self) -> None:
        assert self.held <= self.queue.in_use <= 4
        assert 0 <= self.queue.waiting <= 6
        assert self.queue.waiting == sum(self.queue.waiting_of(tenant) for tenant in "ab")
        assert not self.queue.waiting or self.queue.locked(), "somebody waits beside a free slot"
        weights = sum(tenant.weight for tenant in self.queue._tenants.values() if tenant.waiters)
        assert self.queue._weight == weights
        longest = self.queue._lengths.longest()
        if longest:
            assert self.queue.waiting_of(longest) == max(self.queue.waiting_of(tenant) for tenant in "ab")

    @invariant()
    def tenants_are_served_in_the_order_of_coming(self) -> None:
        for numbers in self.served.values():
            assert numbers == sorted(numbers)

    def teardown(self) -> None:
        for _ in range(200):
            self.turns(3, 0.0)
            if not self.held:
                break
            self.one_ends()
        assert all(task.done() for task in self.tasks.values()), "somebody was never served"
        assert (self.queue.in_use, self.queue.waiting, self.queue._weight) == (0, 0, 0.0)
        assert not self.queue._tenants
        self.loop.close()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
