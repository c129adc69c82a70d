"""When providers are probed, what an answer says of their backends, and what is told of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance import probes
from appliance.grid.grid import Grid
from appliance.grid.holder import Generation, Holder
from appliance.probes import Reports, Timetable, backends, judge, probe, probed
from appliance.state import State
from appliance.state.breaker import Refused, Rule
from appliance.state.health import Permit
from appliance.state.pools import Pools
from appliance.upstream_list import Answer
from support.build import make_grid, make_state
from support.upstream import Call, Upstream

LIST = {"object": "list", "data": [{"id": "a"}]}
LAX, STRICT = Rule(5, 30.0, 15.0), Rule(2, 20.0, 8.0)


# -- when -------------------------------------------------------------------------------------------------------------


def asked_at(table: Timetable, intervals: dict[str, float], until: float, step: float = 0.1) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in intervals}
    for tick in range(int(until / step)):
        for name in table.due(intervals, tick * step):
            found[name].append(tick * step)
    return found


@given(st.integers(0, 10_000), st.lists(st.sampled_from([1.0, 7.0, 30.0]), min_size=1, max_size=6))
def test_each_provider_is_asked_once_in_each_interval(seed: int, lengths: list[float]) -> None:
    intervals = {f"p{number}": length for number, length in enumerate(lengths)}
    for name, times in asked_at(Timetable(Random(seed)), intervals, 95.0).items():
        assert times[0] <= intervals[name] + 0.1
        for before, after in itertools.pairwise(times):
            assert 0.9 * intervals[name] - 0.01 <= after - before <= 1.1 * intervals[name] + 0.11


def test_the_jitter_is_used() -> None:
    times = asked_at(Timetable(Random(1)), {"a": 10.0}, 1000.0)["a"]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) < 9.5
    assert max(gaps) > 10.5


@pytest.mark.parametrize("seed", range(5))
def test_at_the_start_the_providers_share_out_the_interval(seed: int) -> None:
    intervals = {f"p{number}": 30.0 for number in range(10)}
    first = [times[0] for times in asked_at(Timetable(Random(seed)), intervals, 31.0).values()]
    assert all(sum(3.0 * place <= at < 3.0 * (place + 1) + 0.1 for at in first) >= 1 for place in range(10))


def test_a_changed_list_takes_effect() -> None:
    table = Timetable(Random(1))
    table.due({"slow": 300.0, "gone": 10.0}, 0.0)
    assert table.due({}, 1000.0) == []
    assert table.next_at == float("inf")
    table.due({"slow": 2.0}, 1000.0)
    assert table.next_at <= 1002.0
    assert table.due({"slow": 2.0}, 1002.0) == ["slow"]
    assert 1003.8 <= table.next_at <= 1004.2


def test_who_stays_keeps_his_time_when_others_come_and_go() -> None:
    table = Timetable(Random(1))
    table.due({"a": 100.0}, 0.0)
    before = table.next_at
    for now in range(1, int(before)):
        table.due({"a": 100.0, f"other{now}": 1e6}, float(now))
    assert table.next_at == before


GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", probe: {interval: 10s}}
  two: {type: custom, base_url: "http://two.test/v1"}
  inside: {type: demo}
  missing: {type: openai, api_key: "${env:NO_SUCH}", probe: {}}
routing_policies:
  strict: {circuit_breaker: {failures: 2, window: 20s, cooldown: 8s}, targets: [{backend: "one:a"}, {backend: "one:b"}]}
  off: {circuit_breaker: off, targets: [{backend: "one:c"}, {backend: "two:a"}]}
models:
  m: {price: free, route: [{backend: "one:a"}, {backend: "two:a"}]}
  n: {price: free, route: strict}
  o: {price: free, route: strict}
  p: {price: free, route: off}
"""
)


def test_who_cannot_be_asked_is_not_probed() -> None:
    assert probed(GRID) == {"one": 10.0}


def test_each_backend_comes_once_with_each_rule_of_its_policies() -> None:
    assert backends("one", GRID) == {"one:a": [LAX, STRICT], "one:b": [STRICT], "one:c": []}
    assert backends("nobody", GRID) == {}


# -- what an answer says ----------------------------------------------------------------------------------------------


def finding(status: int, body: bytes = b"{}", provider: str = "one", **headers: str) -> str:
    grid = make_grid() if provider != "one" else GRID
    answer = Answer(status, headers, body, grid.endpoints[provider])
    outcome, message = judge(answer)
    assert provider in message
    return outcome


@pytest.mark.parametrize("body", [b'{"data": []}', b"[]", b' \n{"models": [1]', b"{" * 100_000])
def test_a_list_is_well_and_no_more_of_it_is_looked_at(body: bytes) -> None:
    assert finding(200, body) == "ok"


@pytest.mark.parametrize("body", [b"", b"<html>we are mending</html>", b"ok", b" " * 1000])
def test_what_is_no_list_says_nothing(body: bytes) -> None:
    assert finding(200, body) == "canceled"


@pytest.mark.parametrize("status", [204, 301, 302, 307, 400, 403, 404, 405, 406, 410, 413, 422, 501])
def test_a_list_that_is_not_there_or_not_for_this_key_says_nothing(status: int) -> None:
    assert finding(status) == "canceled"


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        *((status, "server_error") for status in (500, 502, 503, 529)),
        *((status, "timeout") for status in (408, 504)),
        (401, "operator"),
        (429, "rate_limited"),
    ],
)
def test_what_would_meet_a_call_counts_as_it_would_for_a_call(status: int, outcome: str) -> None:
    assert finding(status) == outcome


def test_texts_of_quota_and_bad_keys_count() -> None:
    assert finding(429, b'{"error": {"message": "x", "code": "insufficient_quota"}}') == "quota"
    assert finding(400, b'{"error": {"message": "API key not valid"}}') == "operator"
    assert finding(402) in ("operator", "quota")


# -- what is told to Health -------------------------------------------------------------------------------------------


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        running.answer(lambda call: call.reply(200, LIST))
        yield running


@pytest.fixture
async def state() -> AsyncIterator[State]:
    pools = Pools()
    made = make_state(pools=cast(Any, pools))
    made.log = cast(Any, SimpleNamespace(lines=[], write=lambda fields: made.log.lines.append(fields)))  # type: ignore[attr-defined]
    yield made
    await pools.close()


def grid_of(**intervals: tuple[str, float]) -> Grid:
    """Provider → (its address, seconds between probes); each has the backends `a` and `b`, by the rule STRICT."""
    providers = "".join(
        f"  {name}: {{type: custom, base_url: '{url}/v1', probe: {{}}, timeouts: {{connect: 1s}}}}\n"
        for name, (url, _) in intervals.items()
    )
    targets = ", ".join(f'{{backend: "{name}:{model}"}}' for name in intervals for model in "ab")
    rule = "{failures: 2, window: 20s, cooldown: 8s}"
    text = f"models:\n  m: {{price: free, route: {{circuit_breaker: {rule}, targets: [{targets}]}}}}\n"
    grid = make_grid(f"providers:\n{providers}{text}")
    return dataclasses.replace(grid, probes={name: seconds for name, (_, seconds) in intervals.items()})


def now() -> float:
    return asyncio.get_running_loop().time()


def open_circuit(state: State, backend: str, opened_s_ago: float) -> None:
    at = now() - opened_s_ago
    for _ in range(STRICT.failures):
        permit = state.health.permit(backend, STRICT, at)
        assert isinstance(permit, Permit)
        state.health.started(permit, at)
        state.health.finished(permit, "connect", at)


async def test_a_failed_probe_counts_for_each_backend_of_the_provider(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.reply(503, {}))
    grid = grid_of(one=(upstream.url, 30.0), two=(upstream.url, 30.0))
    for _ in range(STRICT.failures):
        outcome, message = await probe("one", grid, state)
        assert outcome == "server_error"
        assert message.startswith("one answered 503")
    states = [state.health.breaker_state(name, now()) for name in ("one:a", "one:b", "two:a", "two:b")]
    assert states == ["open", "open", "closed", "closed"]
    assert isinstance(state.health.permit("one:a", STRICT, now()), Refused)


async def test_an_answered_probe_closes_what_is_half_open_and_nothing_else(upstream: Upstream, state: State) -> None:
    open_circuit(state, "one:a", opened_s_ago=8.0)
    open_circuit(state, "one:b", opened_s_ago=5.0)
    assert state.health.breaker_state("one:a", now()) == "half_open"
    assert (await probe("one", grid_of(one=(upstream.url, 30.0)), state))[0] == "ok"
    assert state.health.breaker_state("one:a", now()) == "closed"
    assert state.health.breaker_state("one:b", now()) == "open"
    for backend in ("one:a", "one:b"):
        told = state.health.diagnostics(backend, now())
        assert (told["calls_last_minute"], told["in_flight"], told["total_ms_p50"]) == (3, 0, None)


async def test_while_the_probe_is_under_way_no_call_tries(upstream: Upstream, state: State) -> None:
    open_circuit(state, "one:a", opened_s_ago=8.0)
    upstream.answer(lambda call: call.until_hung_up(5))
    going = asyncio.ensure_future(probe("one", grid_of(one=(upstream.url, 30.0)), state))
    await until(lambda: bool(upstream.calls))
    refused = state.health.permit("one:a", STRICT, now())
    assert isinstance(refused, Refused)
    assert refused.reason == "probing"
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    permit = state.health.permit("one:a", STRICT, now())
    assert isinstance(permit, Permit)
    assert permit.lease, "one that was broken off tells nothing, and leaves the place to the next"
    assert state.health.diagnostics("one:a", now())["calls_last_minute"] == 2


async def test_who_has_no_list_is_neither_well_nor_ill(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.reply(404, {"error": {"message": "no such path"}}))
    open_circuit(state, "one:a", opened_s_ago=8.0)
    for _ in range(5):
        assert (await probe("one", grid_of(one=(upstream.url, 30.0)), state))[0] == "canceled"
    assert state.health.breaker_state("one:a", now()) == "half_open"
    assert state.health.status("one:b", now()) == "healthy"
    assert state.health.diagnostics("one:b", now())["calls_last_minute"] == 0


async def test_a_probe_is_over_before_the_next_one(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.until_hung_up(5))
    begin = now()
    outcome, message = await probe("one", grid_of(one=(upstream.url, 0.2)), state)
    assert (outcome, message) == ("timeout", "provider one gave no list within 0.18 s")
    assert 0.17 < now() - begin < 1.0


async def test_a_retry_after_of_the_list_spares_no_backend(upstream: Upstream, state: State) -> None:
    """Lists have limits of their own; calls that would be served must not be held back."""
    upstream.answer(lambda call: call.reply(429, {}, {"Retry-After": "60"}))
    assert (await probe("one", grid_of(one=(upstream.url, 30.0)), state))[0] == "rate_limited"
    assert state.health.wait_s("one:a", now()) == 0.0
    assert state.health.diagnostics("one:a", now())["failures_last_minute"] == 1


# -- what is logged ---------------------------------------------------------------------------------------------------


def test_a_line_for_each_change_and_none_for_each_probe() -> None:
    lines: list[dict[str, Any]] = []
    reports = Reports(cast(Any, SimpleNamespace(write=lines.append)))
    for outcome in ("ok", "ok", "connect", "connect", "timeout", "canceled", "canceled", "ok", "ok"):
        reports.tell("one", (cast(Any, outcome), f"provider one: {outcome}"))
        reports.tell("two", ("ok", "provider two answers"))
    assert [(line["provider"], line["outcome"], line["level"]) for line in lines] == [
        ("one", "connect", "warning"),
        ("one", "timeout", "warning"),
        ("one", "unknown", "warning"),
        ("one", "ok", "info"),
    ]
    assert {line["event"] for line in lines} == {"probe"}
    assert lines[0]["message"] == "provider one: connect"


def test_a_long_word_of_an_upstream_is_cut() -> None:
    lines: list[dict[str, Any]] = []
    Reports(cast(Any, SimpleNamespace(write=lines.append))).tell("one", ("server_error", "x" * 10_000))
    assert len(lines[0]["message"]) == probes.MESSAGE_SHOWN


# -- the loop ---------------------------------------------------------------------------------------------------------


async def until(true: Callable[[], bool], timeout_s: float = 10.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def probing(grid: Grid, state: State) -> AsyncIterator[Holder]:
    holder = Holder(Generation(grid))
    task = asyncio.ensure_future(probes.run(holder, state))
    try:
        yield holder
        assert not task.done(), "it runs until it is canceled"
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert holder.current.inside == 0


async def test_providers_are_asked_for_their_models_again_and_again(upstream: Upstream, state: State) -> None:
    async with probing(grid_of(one=(upstream.url, 0.05)), state):
        await until(lambda: len(upstream.calls) >= 3)
    assert {(call.path, call.body) for call in upstream.calls} == {("/v1/models", b"")}
    seen = len(upstream.calls)
    await asyncio.sleep(0.15)
    assert len(upstream.calls) == seen, "who was canceled asks no more"


async def test_one_that_hangs_does_not_keep_others_waiting(upstream: Upstream, state: State) -> None:
    with Upstream() as silent:
        silent.answer(lambda call: call.until_hung_up(20))
        async with probing(grid_of(mute=(silent.url, 1.0), one=(upstream.url, 0.05)), state):
            await until(lambda: bool(silent.calls))
            seen = len(upstream.calls)
            await until(lambda: len(upstream.calls) >= seen + 3, timeout_s=3)
            assert len(silent.calls) == 1


async def test_a_provider_that_is_away_goes_and_comes_back(upstream: Upstream, state: State) -> None:
    upstream.answer(Call.cut)
    async with probing(grid_of(one=(upstream.url, 0.05)), state):
        await until(lambda: state.health.breaker_state("one:a", now()) == "open")
        upstream.answer(lambda call: call.reply(200, LIST))
        lines = cast(Any, state.log).lines
        await until(lambda: lines[-1]["outcome"] == "ok")
    assert [line["outcome"] for line in lines] == ["connect", "ok"]


async def test_a_reload_takes_effect(upstream: Upstream, state: State) -> None:
    async with probing(make_grid(), state) as holder:
        await asyncio.sleep(0.05)
        holder.swap(Generation(grid_of(one=(upstream.url, 0.05))))
        await until(lambda: len(upstream.calls) >= 2)
        holder.swap(Generation(grid_of(one=(upstream.url, 1000.0))))
        await asyncio.sleep(0.1)
        seen = len(upstream.calls)
        await asyncio.sleep(0.3)
        assert len(upstream.calls) == seen


async def test_a_fault_of_ours_ends_nothing_and_is_told_once(
    upstream: Upstream, state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked = 0

    async def broken(*_: Any) -> Any:
        nonlocal asked
        asked += 1
        raise RuntimeError("session is closed")

    open_circuit(state, "one:a", opened_s_ago=8.0)
    with monkeypatch.context() as patch:
        patch.setattr(probes, "ask_for_models", broken)
        async with probing(grid_of(one=(upstream.url, 0.05)), state):
            await until(lambda: asked >= 4)
    assert caplog.text.count("a fault of ours") == 1
    assert state.health.diagnostics("one:a", now())["failures_last_minute"] == STRICT.failures
    permit = state.health.permit("one:a", STRICT, now())
    assert isinstance(permit, Permit)
    assert permit.lease


async def test_who_drains_probes_no_more(upstream: Upstream, state: State) -> None:
    task = asyncio.ensure_future(probes.run(Holder(Generation(grid_of(one=(upstream.url, 0.05)))), state))
    await until(lambda: bool(upstream.calls))
    state.draining = True
    await asyncio.wait_for(task, 5)
    seen = len(upstream.calls)
    await asyncio.sleep(0.15)
    assert len(upstream.calls) == seen


async def test_without_probes_it_still_tells_what_changes_with_time(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "TICK_S", 0.02)
    told: list[tuple[str, str, str]] = []
    state.health.watchers.append(lambda *change: told.append(change))
    state.health.spare("one:a", now(), 0.1)
    async with probing(make_grid(), state):
        await until(lambda: told[-1:] == [("one:a", "degraded", "healthy")])
