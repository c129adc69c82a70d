"""Weights hold: over many calls the shares are those that are written, by a chi-square test, in the routing itself and
over HTTP.

The seeds of the routing are fixed. Over HTTP one fair run in ten thousand fails; SCAIGRID_WEIGHT_CALLS says how many
calls are made (`make soak`: 10,000).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from appliance.exchange import Exchange
from appliance.grid.conditions import Facts
from appliance.grid.grid import Grid, Policy
from appliance.grid.strategies import UNMEASURED, Stats, decide
from appliance.pipeline.admit import admit
from appliance.pipeline.route import Route, rule_of
from appliance.state import State
from appliance.state.health import Permit
from support.appliance import Gateway, running
from support.build import chat_body, grid_of_targets, make_exchange, make_principal, make_state
from support.chaos_line import Line, request_of

DRAWS = 10_000
CHANCE = 1e-4
"""Shares that are right are called wrong so seldom."""
SEEDS = (1, 2, 3)
SHARES: dict[str, dict[str, int]] = {
    "three": {"a": 70, "b": 20, "c": 10},
    "canary": {"a": 95, "b": 5},
    "one-in-a-thousand": {"a": 999, "b": 1},
    "with-zeros": {"a": 3, "b": 0, "c": 1, "d": 0},
    "many": {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5},
}


# -- the test of the tests --------------------------------------------------------------------------------------------


def chance_of(chi_square: float, freedom: int) -> float:
    """The chance that right shares deviate as much: the upper tail of the chi-square distribution."""
    half = chi_square / 2
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else math.exp(-half)
    for below in range(2 - freedom % 2, freedom, 2):
        tail += half ** (below / 2) * math.exp(-half) / math.gamma(below / 2 + 1)
    return tail


def assert_shares(found: Mapping[str, int], weights: Mapping[str, int]) -> None:
    total, draws = sum(weights.values()), sum(found.values())
    expected = {name: draws * weight / total for name, weight in weights.items() if weight}
    assert found.keys() <= expected.keys(), f"{found}: nobody but {list(expected)} has a share"
    chi_square = sum((found.get(name, 0) - share) ** 2 / share for name, share in expected.items())
    chance = chance_of(chi_square, len(expected) - 1)
    assert chance > CHANCE, f"{dict(found)} of {expected}: chi-square {chi_square:.1f}, a chance of {chance:.1e}"


@pytest.mark.parametrize(
    ("chi_square", "freedom", "chance"),
    [(3.841, 1, 0.05), (10.828, 1, 0.001), (5.991, 2, 0.05), (7.815, 3, 0.05), (18.467, 4, 0.001), (15.137, 1, 1e-4)],
)
def test_the_table_of_chi_square_is_the_known_one(chi_square: float, freedom: int, chance: float) -> None:
    assert chance_of(chi_square, freedom) == pytest.approx(chance, rel=2e-3)


@pytest.mark.parametrize("found", [{"a": 9400, "b": 600}, {"a": 9600, "b": 400}, {"a": 10_000}, {"a": 9500, "c": 500}])
def test_shares_that_are_wrong_are_found_out(found: dict[str, int]) -> None:
    with pytest.raises(AssertionError):
        assert_shares(found, SHARES["canary"])


# -- the routing's own draws ------------------------------------------------------------------------------------------


def policy_of(weights: Mapping[str, int], policy: str = "strategy: weighted", **priorities: int) -> Policy:
    return grid_of(weights, policy, **priorities).models["m"].policy


def grid_of(weights: Mapping[str, int], policy: str = "strategy: weighted", **priorities: int) -> Grid:
    targets = (
        f'{{backend: "{name}:x", weight: {weight}, priority: {priorities.get(name, 1)}}}'
        for name, weight in weights.items()
    )
    return grid_of_targets(*targets, policy=policy)


def drawn(
    policy: Policy, seed: int, facts: Facts | None = None, stats: Stats = UNMEASURED, place: int = 0
) -> Counter[str]:
    """How often each was taken at this place."""
    rng, found = Random(seed), Counter[str]()
    for _ in range(DRAWS):
        taken = [decision for decision in decide(policy, rng, facts or Facts(), stats) if decision.taken]
        found[name_of(taken[place].target.backend)] += 1
    return found


def name_of(backend: str) -> str:
    return backend.partition(":")[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", SHARES)
@pytest.mark.parametrize("strategy", ["weighted", "priority", "cost"])
def test_written_shares_are_the_shares_of_first_choices(strategy: str, case: str, seed: int) -> None:
    """Where all cost the same, `cost` draws too."""
    policy = policy_of(SHARES[case], f"strategy: {strategy}")
    assert_shares(drawn(policy, seed), SHARES[case])


@pytest.mark.parametrize("seed", SEEDS)
def test_the_second_choice_is_drawn_among_the_rest(seed: int) -> None:
    """Of 70, 20 and 10: b is second when a or c was first, each time with its share of what is left."""
    weights = SHARES["three"]
    first, all_of_them = sum(weights.values()), list(weights)
    chances = {
        name: sum(
            weights[other] / first * weights[name] / (first - weights[other]) for other in all_of_them if other != name
        )
        for name in all_of_them
    }
    assert_shares(drawn(policy_of(weights), seed, place=1), {name: round(p * 10**9) for name, p in chances.items()})


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_hold_within_each_priority(seed: int) -> None:
    policy = policy_of({"a": 1, "b": 3, "c": 70, "d": 30}, a=2, b=2)
    assert_shares(drawn(policy, seed), {"c": 70, "d": 30})
    assert_shares(drawn(policy, seed, place=2), {"a": 1, "b": 3})


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_the_share_of_a_target_that_is_switched_off_goes_to_the_others_in_proportion(gone: str) -> None:
    policy = policy_of(SHARES["three"])
    tier = tuple(replace(target, enabled=name_of(target.backend) != gone) for target in policy.targets)
    left = {name: weight for name, weight in SHARES["three"].items() if name != gone}
    assert_shares(drawn(replace(policy, tiers=(tier,)), 4), left)


class Times:
    """Measured times to first token, by provider."""

    def __init__(self, **times_s: float) -> None:
        self._times_s = times_s

    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        return self._times_s.get(name_of(backend))

    def in_flight(self, backend: str) -> int:
        return 0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("explore", [5, 20])
def test_latency_explores_its_share_and_shares_the_rest_by_weight(explore: int, seed: int) -> None:
    """a and b are as fast, c and d slower: c and d get what is explored, each group divides its part by weight."""
    policy = policy_of({"a": 3, "b": 1, "c": 4, "d": 1}, f"strategy: latency, explore: {explore / 100}")
    found = drawn(policy, seed, stats=Times(a=1.0, b=1.05, c=2.0, d=9.0))
    fast, slow = 100 - explore, explore
    assert_shares(found, {"a": 15 * fast, "b": 5 * fast, "c": 16 * slow, "d": 4 * slow})


@pytest.mark.parametrize("seed", SEEDS)
def test_targets_that_nobody_measured_are_tried_by_weight(seed: int) -> None:
    policy = policy_of({"a": 9, "b": 1, "c": 4}, "strategy: latency")
    assert_shares(drawn(policy, seed, stats=Times(a=0.1)), {"b": 1, "c": 4})


@pytest.mark.parametrize("case", ["three", "canary"])
def test_over_many_conversations_sticky_shares_hold_also_without_a_target(case: str) -> None:
    """And the conversations of the target that drops out are divided like new ones."""
    weights = SHARES[case]
    policy = policy_of(weights, "strategy: weighted, sticky: conversation")
    places = {number: conversation(policy, number) for number in range(DRAWS)}
    assert_shares(Counter(places.values()), weights)
    for gone in weights:
        tier = tuple(replace(target, enabled=name_of(target.backend) != gone) for target in policy.targets)
        left = replace(policy, tiers=(tier,))
        moved = Counter(conversation(left, number) for number, place in places.items() if place == gone)
        assert_shares(moved, {name: weight for name, weight in weights.items() if name != gone})


def conversation(policy: Policy, number: int) -> str:
    taken = decide(policy, Random(number), Facts(sticky_key=f"tenant conversation {number}"))
    return name_of(taken[0].target.backend)


# -- the line's attempts ----------------------------------------------------------------------------------------------

BREAKER = "strategy: weighted, circuit_breaker: {failures: 3, window: 30s, cooldown: 15s}"


def first_attempts(grid: Grid, state: State) -> Counter[str]:
    """Whom each of many calls would ask first."""
    exchange = make_exchange(grid, chat_body(), principal=make_principal(tenant="default", partner="default"))
    admit(exchange, state)
    return Counter(first_attempt(exchange, state) for _ in range(DRAWS))


def first_attempt(exchange: Exchange, state: State) -> str:
    route = iter(Route(exchange, state))
    attempt = next(route)
    route.close()  # type: ignore[attr-defined]
    return name_of(attempt.target.backend)


def fail(state: State, backend: str, grid: Grid, times: int) -> None:
    rule = rule_of(grid.models["m"].policy)
    for _ in range(times):
        permit = state.health.permit(backend, rule, 1000.0)
        assert isinstance(permit, Permit)
        state.health.started(permit, 1000.0)
        state.health.finished(permit, "server_error", 1000.0)


@pytest.mark.parametrize("gone", ["a", "b", "c"])
def test_the_share_of_a_target_whose_circuit_is_open_goes_to_the_others_in_proportion(gone: str) -> None:
    grid, state = grid_of(SHARES["three"], BREAKER), make_state(seed=7)
    assert_shares(first_attempts(grid, state), SHARES["three"])
    fail(state, f"{gone}:x", grid, 3)
    left = {name: weight for name, weight in SHARES["three"].items() if name != gone}
    assert_shares(first_attempts(grid, state), left)


def test_so_does_the_share_of_a_target_that_asked_to_be_spared() -> None:
    grid, state = grid_of(SHARES["three"], BREAKER), make_state(seed=8)
    state.health.spare("a:x", 1000.0, 60)
    assert_shares(first_attempts(grid, state), {"b": 20, "c": 10})


def test_failures_that_open_no_circuit_change_no_share() -> None:
    grid, state = grid_of(SHARES["canary"], BREAKER), make_state(seed=9)
    fail(state, "a:x", grid, 2)
    assert_shares(first_attempts(grid, state), SHARES["canary"])


def test_a_next_tier_is_drawn_by_its_weights_when_the_first_is_out() -> None:
    weights = {"a": 1, "b": 1, "c": 95, "d": 5}
    grid, state = grid_of(weights, BREAKER, a=0, b=0), make_state(seed=10)
    for backend in ("a:x", "b:x"):
        fail(state, backend, grid, 3)
    assert_shares(first_attempts(grid, state), {"c": 95, "d": 5})


# -- over HTTP --------------------------------------------------------------------------------------------------------

CALLS = int(os.environ.get("SCAIGRID_WEIGHT_CALLS", "4000"))
LINES = 8
YAML = """
providers: {demo: {type: demo}}
models:
  m:
    price: free
    route:
      strategy: weighted
      targets: [{backend: "demo:a", weight: 70}, {backend: "demo:b", weight: 20}, {backend: "demo:c", weight: 10}]
"""


def test_thousands_of_calls_over_http_have_their_shares(tmp_path: Path) -> None:
    with running(YAML, tmp_path) as gateway:
        found = asyncio.run(asked(gateway))
    assert found.total() == CALLS
    assert_shares({backend.removeprefix("demo:"): count for backend, count in found.items()}, SHARES["three"])


async def asked(gateway: Gateway) -> Counter[str]:
    """The backends that answered."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = request_of("POST", "/v1/inference/chat", body, {"Authorization": f"Bearer {gateway.admin_key}"})
    split = urlsplit(gateway.url)
    found = Counter[str]()

    async def ask() -> None:
        line = await Line.to(str(split.hostname), int(split.port or 0))
        for _ in range(CALLS // LINES):
            answer = await line.ask(request)
            assert answer.status == 200, answer
            found[answer.headers["x-scaigrid-backend"]] += 1
        await line.close()

    await asyncio.gather(*(ask() for _ in range(LINES)))
    return found
