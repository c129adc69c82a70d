"""The order of targets: priority first, weight inside one priority as a share, unusable ones not at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.grid.compile import compile_grid
from appliance.grid.grid import Policy
from appliance.grid.strategies import draw_by_weight, order
from support.build import grid_of_targets, load_yaml

DRAWS = 20_000
CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47}
"""Upper bounds of chi-square by degrees of freedom that one fair draw in a thousand passes."""


def policy_of(*targets: str, policy: str = "") -> Policy:
    return grid_of_targets(*targets, policy=policy).models["m"].policy


def weighted(*weights: int) -> Policy:
    return policy_of(
        *(f'{{backend: "{name}:x", weight: {weight}}}' for name, weight in zip("abcdef", weights, strict=False))
    )


def names(policy: Policy, rng: Random) -> str:
    return " ".join(target.backend.partition(":")[0] for target in order(policy, rng))


@pytest.mark.parametrize("weights", [(1, 1), (1, 9), (90, 10), (1, 2, 3), (5, 5, 5, 5), (1, 10, 100, 1000, 10_000)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_first_place_goes_to_a_target_with_the_chance_of_its_weight(weights: tuple[int, ...], seed: int) -> None:
    policy, rng = weighted(*weights), Random(seed)
    first = Counter(order(policy, rng)[0].backend for _ in range(DRAWS))
    expected = {f"{name}:x": DRAWS * weight / sum(weights) for name, weight in zip("abcdef", weights, strict=False)}
    chi_square = sum((first[backend] - count) ** 2 / count for backend, count in expected.items())
    assert chi_square < CHI_SQUARE_999[len(weights) - 1]


def test_the_second_place_is_drawn_by_weight_among_the_rest() -> None:
    policy, rng = weighted(98, 1, 1), Random(5)
    second = Counter(names(policy, rng).split()[1] for _ in range(DRAWS))
    assert second["b"] / second["c"] == pytest.approx(1, rel=0.05)


@given(weights=st.lists(st.integers(0, 5), min_size=1, max_size=6), seed=st.integers())
def test_every_target_comes_exactly_once_and_weight_0_comes_last(weights: list[int], seed: int) -> None:
    (target,) = policy_of("a:x").targets
    targets = [replace(target, backend=f"a:{place}", weight=weight) for place, weight in enumerate(weights)]
    drawn = draw_by_weight(targets, Random(seed))
    assert Counter(target.backend for target in drawn) == Counter(target.backend for target in targets)
    zeros = [target for target in targets if not target.weight]
    assert drawn[len(drawn) - len(zeros) :] == zeros


def test_the_same_seed_gives_the_same_order() -> None:
    policy = weighted(1, 2, 3, 4)
    assert names(policy, Random(3)) == names(policy, Random(3))


def test_a_plain_list_is_asked_in_its_order() -> None:
    policy = policy_of("c:x", "a:x", "b:x")
    assert {names(policy, Random(seed)) for seed in range(50)} == {"c a b"}


def test_the_lower_priority_is_asked_first_whatever_the_weights() -> None:
    policy = policy_of(
        '{backend: "a:x", priority: 20, weight: 1000}',
        '{backend: "b:x", priority: 3, weight: 1}',
        '{backend: "c:x", priority: 0, weight: 0}',
    )
    assert {names(policy, Random(seed)) for seed in range(50)} == {"c b a"}


@pytest.mark.parametrize("strategy", ["priority", "weighted"])
def test_weights_hold_inside_one_priority(strategy: str) -> None:
    policy = policy_of(
        '{backend: "a:x", priority: 2, weight: 5}',
        '{backend: "b:x", priority: 1, weight: 1}',
        '{backend: "c:x", priority: 1, weight: 3}',
        policy=f"strategy: {strategy}",
    )
    rng = Random(8)
    orders = Counter(names(policy, rng) for _ in range(4000))
    assert set(orders) == {"b c a", "c b a"}
    assert orders["c b a"] / orders["b c a"] == pytest.approx(3, rel=0.15)


def test_a_weighted_policy_without_weights_shares_equally() -> None:
    policy, rng = policy_of("a:x", "b:x", policy="strategy: weighted"), Random(1)
    first = Counter(names(policy, rng)[0] for _ in range(4000))
    assert first["a"] / first["b"] == pytest.approx(1, rel=0.1)


def test_switched_off_and_unconfigured_targets_are_skipped() -> None:
    loaded = load_yaml(
        """
providers:
  nokey: {type: openai, api_key: "${env:NO_SUCH_KEY}"}
  good: {type: demo}
models:
  m:
    price: free
    route: [{backend: "nokey:a"}, {backend: "good:off", enabled: false}, {backend: "good:on"}]
"""
    )
    policy = compile_grid(loaded, generation=1).models["m"].policy
    assert [target.backend for target in order(policy, Random(0))] == ["good:on"]
    assert len(policy.targets) == 3


def test_a_share_of_an_unusable_target_goes_to_the_others() -> None:
    policy = policy_of(
        '{backend: "a:x", weight: 98, enabled: false}', '{backend: "b:x", weight: 1}', '{backend: "c:x", weight: 1}'
    )
    rng = Random(4)
    first = Counter(names(policy, rng)[0] for _ in range(4000))
    assert set(first) == {"b", "c"}
    assert first["b"] / first["c"] == pytest.approx(1, rel=0.1)
