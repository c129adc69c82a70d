"""Ask one target; where its policy hedges and it is slower than it usually is, the next one beside it.

The first to answer wins, the other is cut off. The caller pays for the one answer that he gets; what the other cost is
ours. Two attempts at once are the most, and both come out of the call's one budget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from appliance.exchange import Attempt, Exchange
from appliance.pipeline.call import call
from appliance.pipeline.route import Route
from appliance.pipeline.turns import translate_in_turn
from appliance.state import State

LEAST_MEASURED = 20
"""A target with fewer calls of late is not hedged: its percentile would say nothing."""


async def ask(exchange: Exchange, attempt: Attempt, route: Route, state: State) -> bool:
    """True when an answer is in hand (`exchange.answered`); False when each attempt that was made has failed."""
    patience_s = _patience_s(exchange, attempt, state)
    if patience_s is None:
        winner = attempt if await call(exchange, attempt, state) else None
    else:
        winner = await _hedged(exchange, attempt, route, state, patience_s)
    if winner is None:
        return False
    exchange.answered = winner
    exchange.usage = winner.usage
    exchange.estimated = winner.estimated
    return True


def _patience_s(exchange: Exchange, attempt: Attempt, state: State) -> float | None:
    """How long the target may be silent before another is asked; None: this attempt is not hedged."""
    assert exchange.model
    policy = exchange.model.policy
    hedge = policy.hedge
    if hedge is None:
        return None
    if not exchange.attempts and exchange.busy is None:  # its first target, not the next because that was busy
        state.hedges.earn(policy.name, hedge.max_share)
    latency = state.health.latency(attempt.target.backend)
    window = latency.first_token if exchange.stream else latency.total
    usual_s = window.percentile(hedge.percentile / 100, exchange.clock(), LEAST_MEASURED)
    return None if usual_s is None else max(usual_s, hedge.min_delay_s)


async def _hedged(exchange: Exchange, first: Attempt, route: Route, state: State, patience_s: float) -> Attempt | None:
    loop = asyncio.get_running_loop()
    tasks = {loop.create_task(call(exchange, first, state)): first}
    try:
        if not await _answered_within(exchange, first, next(iter(tasks)), patience_s):
            second = _second(exchange, route, state)
            if second:
                tasks[loop.create_task(_hedge(exchange, second, state))] = second
        winner = await _first_answer(tasks)
        await _cut_off(tasks)
    except BaseException:
        _give_up(exchange, tasks)
        await _cut_off(tasks)
        raise
    for attempt in tasks.values():
        if attempt is not winner and attempt.dispatched and attempt.failure is None:
            _lose(exchange, attempt, state)
    state.hedges.won += bool(winner and winner.hedge)
    return winner


async def _answered_within(exchange: Exchange, attempt: Attempt, task: asyncio.Task[bool], patience_s: float) -> bool:
    """False when the target had the request for so long and said nothing. The wait for a place does not count."""
    while not task.done():
        since = attempt.started_at if attempt.dispatched else exchange.clock()
        left_s = since + patience_s - exchange.clock()
        if left_s <= 0:
            return False
        await asyncio.wait([task], timeout=left_s)
    return True


def _second(exchange: Exchange, route: Route, state: State) -> Attempt | None:
    """The attempt that is made beside the first, if a target can and the policy's share allows it."""
    assert exchange.model
    policy = exchange.model.policy.name
    attempt = route.beside() if state.hedges.may(policy) else None
    if attempt:
        state.hedges.take(policy)
    return attempt


async def _hedge(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    """A large body waits for its turn to be translated; an answer of the first, meanwhile, waits for nothing."""
    assert exchange.model
    try:
        return await translate_in_turn(exchange, attempt, state) and await call(exchange, attempt, state)
    finally:
        if not attempt.dispatched:
            state.hedges.give_back(exchange.model.policy.name)


async def _first_answer(tasks: Mapping[asyncio.Task[bool], Attempt]) -> Attempt | None:
    """None when all failed, or when the first says that the caller's own request is at fault. A hedge that says so does
    not end the call: without it there would be an answer."""
    running = set(tasks)
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in (task for task in tasks if task in done):
            if task.result():
                return tasks[task]
            failure = tasks[task].failure
            if failure and failure.kind == "caller" and not tasks[task].hedge:
                return None
    return None


async def _cut_off(tasks: Mapping[asyncio.Task[bool], Attempt]) -> None:
    """End whoever still runs, and wait for it: nothing is under way when the call goes on."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _give_up(exchange: Exchange, tasks: Mapping[asyncio.Task[bool], Attempt]) -> None:
    """The caller hung up, so neither has lost. The call is settled with the last that was at work; the other is our
    expense. No await: a task that has answered in this moment keeps its connection until it is closed here."""
    at_work = [attempt for attempt in tasks.values() if attempt.sent and attempt.failure is None]
    for task, attempt in tasks.items():
        task.cancel()
        if attempt.upstream:
            attempt.upstream.close()
    for attempt in at_work[:-1]:
        _note_cost(exchange, attempt)


def _lose(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """Its time counts as at least this long, so that the percentile by which calls are hedged does not shrink with each
    hedge."""
    attempt.lost = True
    if attempt.upstream:
        attempt.upstream.close()  # it answered in the same moment
    _note_cost(exchange, attempt)
    if attempt.permit:
        state.health.lost(attempt.permit, exchange.clock(), streamed=exchange.stream)


def _note_cost(exchange: Exchange, attempt: Attempt) -> None:
    """What an attempt cost us whose answer nobody gets, as far as it told or can be estimated."""
    if attempt.sent and exchange.operation.costs:
        usage = attempt.usage or exchange.operation.estimate(exchange, None)
        attempt.backend_cost_nano = attempt.target.cost.cost(usage)
