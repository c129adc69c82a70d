"""Two targets at once: when a hedge begins, who wins, what the loser costs, and that nothing is left under way."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import pytest

from appliance.exchange import ConnectFailed, Failure
from appliance.pipeline import race as race_file
from appliance.pipeline import turns
from appliance.state.breaker import Rule
from appliance.state.hedging import Hedges
from support.build import FakeClient, FakeUpstream, journal_of, make_budget, make_grid, make_state
from support.routing_line import (
    GRID,
    LATE_S,
    MIN_DELAY_S,
    Raced,
    Turn,
    begin,
    begins_then_nothing,
    hedging_yaml,
    measured,
    raced,
    refuses,
    says,
    settled,
    silent,
    vectors,
)
from support.routing_line import OTHER_USAGE as OTHER
from support.sse import ended, text_of

STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
PRICE = (10_000, 20_000)
"""What the caller pays for a token of input and of output, in nano-USD."""
ONE, TWO = (5_000, 6_000), (3_000, 4_000)
"""What the targets cost us."""
FIRST_USED, SECOND_USED = (7, 3), (11, 5)


def amount(rates: tuple[int, int], used: tuple[int, int]) -> int:
    return rates[0] * used[0] + rates[1] * used[1]


# -- when a hedge begins ----------------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize(("calls", "asked"), [(19, ["one"]), (20, ["one", "two"])])
async def test_a_target_that_was_seldom_measured_is_not_hedged(stream: bool, calls: int, asked: list[str]) -> None:
    state = make_state()
    measured(state, "one:a", calls=calls)
    scripts = {"one": [says(after_s=LATE_S, stream=stream)], "two": [says(stream=stream)]}
    done = await raced(scripts, state=state, known_s=None, stream=stream)
    assert done.pools.asked == asked


@pytest.mark.parametrize(("known_s", "patience_s"), [(0.0, MIN_DELAY_S), (0.12, 0.12)])
async def test_it_waits_for_the_target_s_own_percentile_and_at_least_min_delay(
    known_s: float, patience_s: float
) -> None:
    done = await raced({"one": [silent()], "two": [says()]}, known_s=known_s)
    first_at, second_at = done.pools.asked_at
    assert patience_s - 0.005 < second_at - first_at < patience_s + 0.1


async def test_the_percentile_is_that_of_the_policy() -> None:
    """Of 20 calls, 18 took no time and two 150 ms: the 90th percentile is none, the 95th is 150 ms."""
    waits = []
    for percentile in (90, 95):
        grid = make_grid(hedging_yaml(hedge=f"percentile: {percentile}, min_delay: 30ms, max_share: 1"))
        state = make_state()
        measured(state, "one:a", 0.0, 18)
        measured(state, "one:a", 0.15, 2)
        done = await raced({"one": [silent()], "two": [says()]}, grid=grid, state=state, known_s=None)
        waits.append(done.pools.asked_at[1] - done.pools.asked_at[0])
    assert waits[0] < 0.1
    assert waits[1] >= 0.145


async def test_a_stream_is_measured_by_its_first_token_and_a_whole_answer_by_all_of_it() -> None:
    for stream, other in ((True, "total"), (False, "first_token")):
        state = make_state()
        now = asyncio.get_running_loop().time()
        state.health.permit("one:a", None, now)
        window = getattr(state.health.latency("one:a"), other)
        for _ in range(50):
            window.add(now, 0.0)
        scripts = {"one": [says(after_s=0.1, stream=stream)], "two": [says(stream=stream)]}
        done = await raced(scripts, state=state, known_s=None, stream=stream)
        assert done.pools.asked == ["one"]


@STREAMED
async def test_a_target_that_is_as_fast_as_ever_is_asked_alone(stream: bool) -> None:
    done = await raced({"one": [says(stream=stream)], "two": []}, stream=stream)
    assert done.pools.asked == ["one"]
    assert done.client.headers["X-Scaigrid-Attempts"] == "1"


async def test_without_hedge_nobody_is_asked_beside() -> None:
    grid = make_grid(hedging_yaml().replace("hedge: {min_delay: 30ms, max_share: 1}", "hedge: off"))
    done = await raced({"one": [says(after_s=0.1)]}, grid=grid)
    assert done.pools.asked == ["one"]


async def test_without_a_further_attempt_in_the_budget_nobody_is_asked_beside() -> None:
    done = await raced({"one": [says(after_s=0.1)]}, grid=make_grid(hedging_yaml("retries: 0")))
    assert done.pools.asked == ["one"]


async def test_the_headers_of_a_stream_are_no_answer() -> None:
    done = await raced({"one": [begins_then_nothing()], "two": [says("second", stream=True)]}, stream=True)
    assert text_of(done.client.body) == "second"


async def test_the_time_in_the_queue_is_not_the_target_s_time() -> None:
    grid = make_grid(hedging_yaml(providers=", max_connections: 1"))
    running = begin({"one": [says(after_s=0.01)], "two": []}, grid=grid)
    place = await running.pools.queue("one", 1, 100).slot("other", 1, 10)
    await asyncio.sleep(LATE_S)
    assert running.pools.asked == []
    place.release()
    done = await settled(running)
    assert done.pools.asked == ["one"]


# -- who wins ---------------------------------------------------------------------------------------------------------


@STREAMED
async def test_the_first_may_still_win(stream: bool) -> None:
    done = await raced({"one": [says("first", 0.1, stream=stream)], "two": [silent()]}, stream=stream)
    assert b"first" in done.client.body
    assert done.attempts == [("one:a", "completed"), ("two:b", "cancelled")]
    assert done.client.headers["X-Scaigrid-Backend"] == "one:a"
    assert done.client.headers["X-Scaigrid-Attempts"] == "2"
    assert done.state.hedges.won == 0


@STREAMED
async def test_the_second_may_win(stream: bool) -> None:
    done = await raced({"one": [silent()], "two": [says("second", stream=stream)]}, stream=stream)
    assert b"second" in done.client.body
    assert done.attempts == [("one:a", "cancelled"), ("two:b", "completed")]
    assert done.client.headers["X-Scaigrid-Backend"] == "two:b"
    assert (done.row["status"], done.row["backend_id"]) == ("completed", "two:b")
    assert (done.state.hedges.begun, done.state.hedges.won) == (1, 1)


@pytest.mark.parametrize("winner", ["one", "two"])
async def test_embeddings_are_hedged_too(winner: str) -> None:
    turns = {"one": [silent()], "two": [silent()]} | {winner: [vectors(0.05)]}
    done = await raced(turns, model="v", operation="embed")
    assert len(done.client.json()["data"]) == 1
    assert done.row["backend_id"] == {"one": "one:a", "two": "two:b"}[winner]
    assert done.row["cost_nano"] == 7 * PRICE[0]


async def test_the_loser_is_cut_off_while_the_winner_goes_on() -> None:
    pieces = [b for b in says("a", stream=True).answer._pieces]  # type: ignore[union-attr]
    slow = Turn(FakeUpstream(*pieces[:2], 0.2, *pieces[2:]))
    done = await raced({"one": [silent()], "two": [slow]}, stream=True)
    assert ended(done.client.body)
    assert done.pools.ended_at["one"] < done.pools.ended_at["two"] - 0.15


@STREAMED
async def test_both_answer_in_the_same_moment(stream: bool) -> None:
    gate = asyncio.Event()
    first, second = says("first", stream=stream, gate=gate), says("second", stream=stream, gate=gate, usage=OTHER)
    running = begin({"one": [first], "two": [second]}, stream=stream)
    await asyncio.sleep(0.1)
    assert running.pools.asked == ["one", "two"]
    gate.set()
    done = await settled(running)
    assert b"first" in done.client.body
    assert b"second" not in done.client.body
    assert done.attempts == [("one:a", "completed"), ("two:b", "cancelled")]
    assert isinstance(second.answer, FakeUpstream)
    assert second.answer.closed
    assert done.row["cost_nano"] == amount(PRICE, FIRST_USED)
    if not stream:  # a whole answer has told what it used
        assert done.row["backend_cost_nano"] == amount(ONE, FIRST_USED) + amount(TWO, SECOND_USED)


# -- failures in a race -----------------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("failing", [refuses(500, 0.08), refuses(401, 0.08), Turn(ConnectFailed("reset"), 0.08)])
async def test_the_first_fails_while_the_second_runs(stream: bool, failing: Turn) -> None:
    failing = Turn(_again(failing.answer), failing.after_s)
    done = await raced({"one": [failing], "two": [says("second", 0.15, stream=stream)]}, stream=stream)
    assert b"second" in done.client.body
    assert done.attempts == [("one:a", "failed"), ("two:b", "completed")]
    assert done.row["backend_cost_nano"] == amount(TWO, FIRST_USED), "what failed is no expense that we know of"


@STREAMED
@pytest.mark.parametrize("failing", [refuses(500), refuses(401), refuses(400), refuses(429, retry_after="9")])
async def test_the_second_fails_while_the_first_runs(stream: bool, failing: Turn) -> None:
    """Also when it says that the request is at fault: without the hedge there would be an answer."""
    failing = Turn(_again(failing.answer), failing.after_s)
    done = await raced({"one": [says("first", 0.12, stream=stream)], "two": [failing], "three": []}, stream=stream)
    assert b"first" in done.client.body
    assert done.attempts == [("one:a", "completed"), ("two:b", "failed")]
    assert done.row["backend_cost_nano"] == amount(ONE, FIRST_USED)


def _again(answer: FakeUpstream | Exception) -> FakeUpstream | Exception:
    """A fresh one: parameters are made once, and an upstream's pieces are read only once."""
    if isinstance(answer, Exception):
        return answer
    return FakeUpstream(*answer._pieces, status=answer.status, headers=answer.headers)


async def test_a_hedge_that_is_limited_is_spared() -> None:
    done = await raced({"one": [says(after_s=0.1)], "two": [refuses(429, retry_after="9")]})
    assert done.state.health.wait_s("two:b", asyncio.get_running_loop().time()) > 8


async def test_both_fail_and_the_next_target_is_asked_within_the_budget() -> None:
    done = await raced({"one": [refuses(500, 0.1)], "two": [refuses(500, 0.03)], "three": [says("third")]})
    assert b"third" in done.client.body
    assert done.attempts == [("one:a", "failed"), ("two:b", "failed"), ("three:c", "completed")]


async def test_both_fail_and_the_budget_is_spent() -> None:
    grid = make_grid(hedging_yaml("retries: 1"))
    done = await raced({"one": [refuses(500, 0.1)], "two": [refuses(503)], "three": []}, grid=grid)
    assert done.client.status == 502
    assert done.attempts == [("one:a", "failed"), ("two:b", "failed")]
    assert (done.row["cost_nano"], done.row["backend_cost_nano"]) == (0, 0)


async def test_the_caller_s_fault_told_by_the_first_ends_it_and_cuts_the_hedge_off() -> None:
    done = await raced({"one": [refuses(400, 0.1)], "two": [silent()], "three": []})
    assert done.client.status == 400
    assert done.attempts == [("one:a", "failed"), ("two:b", "cancelled")]
    assert done.client.headers["X-Scaigrid-Backend"] == "one:a"
    assert done.row["cost_nano"] == 0
    assert done.row["backend_cost_nano"] == TWO[0] * done.exchange.input_estimate, "the hedge was at work"


@pytest.mark.parametrize(("first", "second"), [(500, 400), (400, 500)])
async def test_the_caller_s_fault_is_told_whichever_of_the_two_found_it(first: int, second: int) -> None:
    done = await raced({"one": [refuses(first, 0.1)], "two": [refuses(second)], "three": []})
    assert done.client.status == 400
    assert done.attempts == [("one:a", "failed"), ("two:b", "failed")]


async def test_a_failure_that_is_not_retried_waits_for_the_hedge_that_runs_already() -> None:
    grid = make_grid(hedging_yaml("retry_on: [connect]"))
    done = await raced({"one": [refuses(500, 0.08)], "two": [says("second", 0.15)]}, grid=grid)
    assert b"second" in done.client.body


async def test_a_failure_that_is_not_retried_is_final_when_the_hedge_fails_as_well() -> None:
    grid = make_grid(hedging_yaml("retry_on: [connect]"))
    done = await raced({"one": [refuses(500, 0.08)], "two": [refuses(500, 0.1)], "three": []}, grid=grid)
    assert done.pools.asked == ["one", "two"]


async def test_a_first_that_fails_in_time_is_no_race() -> None:
    done = await raced({"one": [refuses(500)], "two": [says("second")]})
    assert done.attempts == [("one:a", "failed"), ("two:b", "completed")]
    assert done.state.hedges.begun == 0


async def test_the_second_attempt_of_a_call_may_be_hedged_as_well() -> None:
    done = await raced({"one": [refuses(500)], "two": [silent()], "three": [says("third")]})
    assert done.attempts == [("one:a", "failed"), ("two:b", "cancelled"), ("three:c", "completed")]


async def test_a_race_that_is_over_may_be_followed_by_a_target_that_is_asked_alone() -> None:
    grid = make_grid(hedging_yaml("retries: 3"))
    scripts = {"one": [refuses(500, 0.08), says("once more")], "two": [refuses(500)], "three": [refuses(500)]}
    done = await raced(scripts, grid=grid)
    assert b"once more" in done.client.body
    assert done.pools.asked == ["one", "two", "three", "one"]


@STREAMED
async def test_the_deadline_ends_both(stream: bool) -> None:
    grid = make_grid(hedging_yaml("deadline: 150ms"))
    started = asyncio.get_running_loop().time()
    done = await raced({"one": [silent()], "two": [silent()], "three": []}, grid=grid, stream=stream)
    assert asyncio.get_running_loop().time() - started < 1
    assert done.row["error_code"] == "BACKEND_TIMEOUT"
    assert done.attempts == [("one:a", "failed"), ("two:b", "failed")]
    assert done.state.health.diagnostics("one:a", 0)["last_error"] is None, "the deadline was the caller's"


async def test_a_call_that_cannot_be_booked_is_not_made() -> None:
    state = make_state()
    journal_of(state).failing = True
    done = await raced({"one": [silent()], "two": [silent()]}, state=state)
    assert (done.client.status, done.pools.asked) == (503, [])


async def test_a_fault_of_ours_in_the_hedge_leaves_nothing_under_way() -> None:
    running = begin({"one": [silent()], "two": [Turn(ZeroDivisionError())]})
    with pytest.raises(ZeroDivisionError):
        await settled(running)
    assert (running.pools.in_use, running.pools.under_way) == (0, 0)
    assert running.row["status"] == "failed"


# -- the caller leaves ------------------------------------------------------------------------------------------------


@STREAMED
@pytest.mark.parametrize("how", ["hang-up", "revoked"])
async def test_who_leaves_in_the_middle_cancels_both(stream: bool, how: str) -> None:
    running = begin({"one": [silent()], "two": [silent()]}, stream=stream)
    await asyncio.sleep(0.1)
    assert running.pools.under_way == 2
    if how == "hang-up":
        running.task.cancel()
    else:
        running.state.directory.revoke_key("apikey_1")
    done = await settled(running)
    assert done.row["status"] == "cancelled"
    assert done.attempts == [("one:a", "cancelled"), ("two:b", "cancelled")]
    tokens = done.exchange.input_estimate
    assert done.row["cost_nano"] == tokens * PRICE[0], "the caller owes one call"
    assert done.row["backend_cost_nano"] == tokens * (ONE[0] + TWO[0]), "two upstreams were at work"
    assert done.booked == (done.row["cost_nano"], 1, 0)
    if how == "revoked":
        assert done.client.status == 401


async def test_who_leaves_after_the_hedge_failed_owes_the_one_that_was_at_work() -> None:
    running = begin({"one": [silent()], "two": [refuses(500)]})
    await asyncio.sleep(0.1)
    running.task.cancel()
    done = await settled(running)
    assert done.attempts == [("one:a", "cancelled"), ("two:b", "failed")]
    assert done.row["backend_id"] == "one:a"
    assert done.row["backend_cost_nano"] == done.exchange.input_estimate * ONE[0]


@STREAMED
@pytest.mark.parametrize("gates", ["both", "one", "two"])
@pytest.mark.parametrize("turns_of_the_loop", range(9))
async def test_who_leaves_just_as_an_answer_comes_leaves_nothing_open(
    stream: bool, gates: str, turns_of_the_loop: int
) -> None:
    """The answer is in hand and the caller is gone, in each order that the loop can have it."""
    gate = asyncio.Event()
    turns = {name: [says(stream=stream, gate=gate)] for name in ("one", "two")}
    if gates != "both":
        turns["two" if gates == "one" else "one"] = [silent()]
    running = begin(turns, stream=stream)
    await asyncio.sleep(0.06)
    assert running.pools.under_way == 2
    gate.set()
    for _ in range(turns_of_the_loop):
        await asyncio.sleep(0)
    running.task.cancel()
    await settled(running)
    for turn in (turn for script in turns.values() for turn in script):
        assert isinstance(turn.answer, FakeUpstream)
        assert turn.answer.closed or not turn.answer.reads


async def test_who_leaves_twice_leaves_nothing_open() -> None:
    """A server that stops may cancel a call that is being cancelled."""
    gate = asyncio.Event()
    turns = {name: [says(stream=True, gate=gate)] for name in ("one", "two")}
    running = begin(turns, stream=True)
    await asyncio.sleep(0.06)
    gate.set()
    for _ in range(6):
        running.task.cancel()
        await asyncio.sleep(0)
    await settled(running)


async def test_who_leaves_while_the_first_waits_for_a_place_owes_nothing() -> None:
    grid = make_grid(hedging_yaml(providers=", max_connections: 1"))
    running = begin({"one": [silent()]}, grid=grid)
    place = await running.pools.queue("one", 1, 100).slot("other", 1, 10)
    await asyncio.sleep(0.05)
    running.task.cancel()
    await asyncio.wait([running.task])
    place.release()
    done = await settled(running)
    assert (done.pools.asked, journal_of(done.state).begun) == ([], [])


# -- the money --------------------------------------------------------------------------------------------------------


@STREAMED
async def test_the_caller_pays_one_answer_and_the_loser_is_our_expense(stream: bool) -> None:
    scripts = {"one": [silent()], "two": [says(stream=stream, usage=OTHER)]}
    done = await raced(scripts, stream=stream)
    price = amount(PRICE, SECOND_USED)
    assert (done.row["cost_nano"], done.row["estimated"]) == (price, False)
    assert (done.row["input_tokens"], done.row["output_tokens"]) == SECOND_USED
    assert done.booked == (price, 1, 0)
    loser = ONE[0] * done.exchange.input_estimate
    assert done.row["backend_cost_nano"] == amount(TWO, SECOND_USED) + loser
    assert len(journal_of(done.state).begun) == 1


async def test_rate_limits_count_the_answer_alone() -> None:
    done = await raced({"one": [silent()], "two": [says(usage=OTHER)]})
    assert done.exchange.usage
    assert done.exchange.usage.total_tokens == sum(SECOND_USED)


async def test_a_loser_that_never_was_sent_costs_nothing() -> None:
    """No connection stood yet, so the upstream cannot have worked."""
    running = begin({"one": [says(after_s=0.12)], "two": [silent()]})
    await asyncio.sleep(0.08)
    running.exchange.attempts[1].sent = False
    done = await settled(running)
    assert done.row["backend_cost_nano"] == amount(ONE, FIRST_USED)


# -- health -----------------------------------------------------------------------------------------------------------


@STREAMED
async def test_a_loser_is_neither_a_failure_nor_a_success(stream: bool) -> None:
    done = await raced({"one": [silent()], "two": [says(stream=stream)]}, stream=stream)
    now = asyncio.get_running_loop().time()
    seen = done.state.health.diagnostics("one:a", now)
    assert (seen["breaker"], seen["calls_last_minute"], seen["last_error"]) == ("closed", 0, None)
    latency = done.state.health.latency("one:a")
    window = latency.first_token if stream else latency.total
    assert window.count(now) == 21
    assert (window.percentile(1, now) or 0) >= MIN_DELAY_S, "it would have taken at least so long"
    assert done.state.health.diagnostics("two:b", now)["calls_last_minute"] == 1


def unwell(how: str, raced: Raced) -> None:
    health, now = raced.state.health, asyncio.get_running_loop().time()
    if how == "spared":
        health.spare("two:b", now, 30)
    elif how == "full":
        queue = raced.pools.queue("two", 1, 0)
        asyncio.get_running_loop().create_task(queue.acquire())
    else:
        rule = Rule(1, 30, 15 if how == "open" else 0.001)
        permit = health.permit("two:b", rule, now - 1)
        health.started(permit, now - 1)  # type: ignore[arg-type]
        health.finished(permit, "timeout", now - 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["spared", "full", "open", "half-open"])
async def test_a_target_that_is_not_well_or_has_no_room_is_no_hedge(how: str) -> None:
    policy = "circuit_breaker: {failures: 1, window: 30s, cooldown: 15s}"
    grid = make_grid(hedging_yaml(policy, providers=", max_connections: 1"))
    running = begin({"one": [silent()], "two": [], "three": [says("third")]}, grid=grid)
    unwell(how, running)
    await asyncio.wait([running.task], timeout=5)
    if how == "full":
        running.pools.queue("two", 1, 0).release()
    done = await settled(running)
    assert done.pools.asked == ["one", "three"]
    assert b"third" in done.client.body


async def test_when_nobody_is_well_the_first_goes_on_alone() -> None:
    running = begin({"one": [says("first", 0.1)]})
    now = asyncio.get_running_loop().time()
    for backend in ("two:b", "three:c"):
        running.state.health.spare(backend, now, 30)
    done = await settled(running)
    assert b"first" in done.client.body
    assert done.pools.asked == ["one"]
    assert done.state.hedges.begun == 0


async def test_a_target_that_cannot_take_the_request_is_no_hedge(monkeypatch: pytest.MonkeyPatch) -> None:
    translated = turns.translate_in_turn

    async def not_for_two(exchange: Any, attempt: Any, state: Any) -> bool:
        if attempt.target.backend == "two:b":
            attempt.failure = Failure("caller", "VALIDATION_ERROR", "not in its dialect")
            return False
        return await translated(exchange, attempt, state)

    monkeypatch.setattr(race_file, "translate_in_turn", not_for_two)
    done = await raced({"one": [says("first", 0.1)], "two": []})
    assert done.attempts == [("one:a", "completed")]
    assert done.state.hedges.begun == 0


async def test_an_answer_does_not_wait_for_the_turn_of_a_large_hedge() -> None:
    """Nor is the hedge made when its turn comes at last."""
    messages = [{"role": "user", "content": "x" * turns.LARGE_BODY_BYTES}]
    running = begin({"one": [says("first", 0.1)], "two": []}, messages=messages)
    await asyncio.sleep(0.01)
    async with running.state.large:  # another large body has its turn
        await asyncio.wait([running.task], timeout=5)
    done = await settled(running)
    assert b"first" in done.client.body
    assert done.attempts == [("one:a", "completed")]
    assert done.state.hedges.begun == 0


# -- the share --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "hedges"), [(0.05, 10), (0.25, 50), (0, 0), (1, 200)])
async def test_no_more_than_the_share_of_calls_is_hedged(share: float, hedges: int) -> None:
    grid = make_grid(hedging_yaml(hedge=f"min_delay: 1ms, max_share: {share}"))
    hedges_of_all = Hedges()
    asked = 0
    for _ in range(200):
        state = make_state(budgets=[make_budget(10**12)])
        state.hedges = hedges_of_all
        done = await raced({"one": [says(after_s=0.02)], "two": [says()]}, grid=grid, state=state)
        asked += len(done.pools.asked) - 1
    assert asked == hedges_of_all.begun
    assert hedges - 1 <= asked <= hedges


async def test_a_call_whose_first_target_was_busy_earns_its_share_once() -> None:
    grid = make_grid(hedging_yaml(hedge="min_delay: 30ms, max_share: 0.5", providers=", queue: {size: 0}"))
    running = begin({"two": [says()]}, grid=grid)
    queue = running.pools.queue("one", 256, 0)
    queue.limit = 1
    await queue.acquire()
    await asyncio.wait([running.task], timeout=5)
    queue.release()
    done = await settled(running)
    assert done.pools.asked == ["two"]
    assert not done.state.hedges.may("m")


# -- whatever happens -------------------------------------------------------------------------------------------------


class Slow(FakeClient):
    """Takes its time to read, so that the loser is gone long before the winner's end."""

    async def send(self, data: bytes) -> None:
        await asyncio.sleep(0.001)
        await super().send(data)


def _turn(rng: Random, stream: bool) -> Turn:
    after_s = rng.choice([0, 0.005, 0.01, 0.02, 0.03])
    kinds = [
        lambda: says(after_s=after_s, stream=stream),
        lambda: says(after_s=after_s, stream=stream),
        lambda: refuses(rng.choice([400, 401, 429, 500, 503]), after_s),
        lambda: Turn(ConnectFailed("reset"), after_s),
        lambda: Turn(FakeUpstream(b"garbage"), after_s),
        lambda: begins_then_nothing(after_s) if stream else silent(),
        silent,
    ]
    return rng.choice(kinds)()


async def _one(seed: int) -> str:
    rng = Random(seed)
    stream = rng.random() < 0.5
    policy = f"retries: {rng.randint(0, 3)}, deadline: 120ms".replace(", ", "\n      ")
    grid = make_grid(hedging_yaml(policy, hedge="min_delay: 10ms, max_share: 1"))
    scripts = {name: [_turn(rng, stream) for _ in range(4)] for name in ("one", "two", "three")}
    running = begin(scripts, grid=grid, stream=stream, client=Slow())
    if rng.random() < 0.3:
        asyncio.get_running_loop().call_later(rng.random() * 0.06, running.task.cancel)
    done = await settled(running)
    status: str = done.row["status"] if done.pools.asked else "not asked"
    if status == "completed":
        won = [attempt for attempt in done.exchange.attempts if attempt is done.exchange.answered]
        assert len(won) == 1
        assert done.client.ended
        assert done.row["cost_nano"] == amount(PRICE, FIRST_USED)
    if status == "failed":
        assert done.row["cost_nano"] == 0 or done.client.started
        assert done.client.status >= 400 or done.client.started
    return status


async def test_the_rules_hold_for_any_course_of_a_race() -> None:
    """`settled` asserts them. The calls run side by side, each on upstreams and a state of its own."""
    endings = await asyncio.gather(*(_one(seed) for seed in range(150)))
    assert {"completed", "failed", "cancelled"} <= set(endings)


async def test_the_grid_of_these_tests_hedges() -> None:
    hedge = GRID.models["m"].policy.hedge
    assert hedge
    assert hedge.min_delay_s == MIN_DELAY_S
