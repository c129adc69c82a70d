"""The order of targets: priority first, then the strategy, weights as shares, and unusable ones not at all."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.chat import Usage
from appliance.grid.compile import compile_grid
from appliance.grid.conditions import Facts, compile_condition
from appliance.grid.grid import Policy, Target
from appliance.grid.prices import Price, Rates
from appliance.grid.strategies import LATENCY_PERCENTILE, Decision, decide, draw_by_weight, order
from config.conditions import When
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


class Measured:
    """Stats as a test says: seconds to the first token, and who has calls under way."""

    def __init__(self, in_flight: str = "", **times_s: float) -> None:
        self.times_s, self.busy = times_s, in_flight.split()
        self.asked: set[tuple[int, float]] = set()

    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        self.asked.add((percentile, now))
        return self.times_s.get(backend.partition(":")[0])

    def in_flight(self, backend: str) -> int:
        return self.busy.count(backend.partition(":")[0])


def short(target: Target) -> str:
    return target.backend.partition(":")[0]


def names(policy: Policy, rng: Random, facts: Facts | None = None, stats: Measured | None = None) -> str:
    return " ".join(map(short, order(policy, rng, facts or Facts(), stats or Measured())))


def firsts(policy: Policy, stats: Measured, draws: int = 4000, facts: Facts | None = None) -> Counter[str]:
    """How often each came first."""
    rng = Random(6)
    return Counter(names(policy, rng, facts, stats)[0] for _ in range(draws))


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


# -- latency ----------------------------------------------------------------------------------------------------------


def fastest(*targets: str, more: str = "explore: 0") -> Policy:
    return policy_of(*targets, policy=f"strategy: latency, {more}")


def test_the_fastest_to_its_first_token_is_asked_first() -> None:
    assert names(fastest("a:x", "b:x", "c:x"), Random(0), stats=Measured(a=0.9, b=0.3, c=0.6)) == "b c a"


def test_speed_counts_inside_one_priority_only() -> None:
    policy = fastest('{backend: "a:x", priority: 1}', '{backend: "b:x", priority: 2}', '{backend: "c:x", priority: 2}')
    assert names(policy, Random(0), stats=Measured(a=9.0, b=0.3, c=0.2)) == "a c b"


def test_the_median_of_the_moment_is_what_counts() -> None:
    stats = Measured(a=1.0, b=2.0)
    order(fastest("a:x", "b:x"), Random(0), Facts(), stats, now=77.0)
    assert stats.asked == {(LATENCY_PERCENTILE, 77.0)}


def test_unmeasured_ones_are_tried_first_by_weight() -> None:
    policy = fastest("a:x", '{backend: "b:x", weight: 1}', '{backend: "c:x", weight: 3}')
    found = firsts(policy, Measured(a=0.1))
    assert set(found) == {"b", "c"}
    assert found["c"] / found["b"] == pytest.approx(3, rel=0.15)


def test_one_call_at_a_time_measures_a_target() -> None:
    policy = fastest("a:x", "b:x", "c:x")
    assert names(policy, Random(0), stats=Measured("b", a=0.5, c=0.2)) == "c a b"
    assert names(policy, Random(0), stats=Measured("a", a=0.5, c=0.2)) == "b c a"


def test_those_that_are_as_fast_share_by_weight() -> None:
    policy = fastest('{backend: "a:x", weight: 1}', '{backend: "b:x", weight: 4}', '{backend: "c:x", weight: 100}')
    found = firsts(policy, Measured(a=1.0, b=1.09, c=1.2))
    assert set(found) == {"a", "b"}
    assert found["b"] / found["a"] == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("written", "share"), [("retries: 2", 0.05), ("explore: 0.2", 0.2), ("explore: 0", 0)])
def test_a_share_of_calls_explores_another_than_the_fastest(written: str, share: float) -> None:
    policy = fastest("a:x", '{backend: "b:x", weight: 3}', '{backend: "c:x", weight: 1}', more=written)
    found = firsts(policy, Measured(a=0.1, b=0.9, c=0.5), DRAWS)
    assert 1 - found["a"] / DRAWS == pytest.approx(share, rel=0.1)
    assert found["b"] == pytest.approx(3 * found["c"], rel=0.2)


def test_an_exploring_call_goes_on_with_the_fastest() -> None:
    policy = fastest("a:x", "b:x", "c:x", more="explore: 1")
    orders = {names(policy, Random(seed), stats=Measured(a=0.1, b=0.9, c=0.5)) for seed in range(50)}
    assert orders == {"b a c", "c a b"}


def test_weight_0_is_never_explored_however_fast() -> None:
    policy = fastest('{backend: "a:x", weight: 0}', "b:x", "c:x", more="explore: 1")
    assert {names(policy, Random(seed), stats=Measured(a=0.1, b=0.9, c=0.5)) for seed in range(50)} == {"b c a"}


# -- cost -------------------------------------------------------------------------------------------------------------


def cheapest(**costs: Price) -> Policy:
    """Targets of these costs and of weight 1."""
    policy = policy_of(*(f"{name}:x" for name in costs), policy="strategy: cost")
    targets = tuple(replace(target, cost=costs[short(target)]) for target in policy.targets)
    return replace(policy, tiers=(targets,))


def rates(input_price: int, output_price: int) -> Price:
    return Price(Rates(input_price * 10**9, output_price * 10**9))


def test_the_cheapest_for_what_is_expected_is_asked_first() -> None:
    policy = cheapest(a=rates(1, 10), b=rates(5, 5), c=rates(20, 20))
    assert names(policy, Random(0), Facts(input_tokens=10, output_tokens=500)) == "b a c"
    assert names(policy, Random(0), Facts(input_tokens=5000, output_tokens=500)) == "a b c"


def test_a_tier_of_a_price_and_a_fee_count() -> None:
    long = Price(Rates(10**9, 10**9), (Rates(10**10, 10**10, above=1000),))
    policy = cheapest(a=long, b=Price(Rates(2 * 10**9, 2 * 10**9)), c=Price(request=1))
    assert names(policy, Random(0), Facts(input_tokens=900)) == "c a b"
    assert names(policy, Random(0), Facts(input_tokens=1100)) == "c b a"


def test_what_is_counted_in_pieces_is_compared_by_the_piece() -> None:
    policy = cheapest(a=Price(image=4), b=Price(image=3))
    assert names(policy, Random(0), Facts(usage=Usage(images=2))) == "b a"


def test_the_cheapest_has_to_be_able() -> None:
    policy = cheapest(a=rates(1, 1), b=rates(2, 2), c=rates(3, 3))
    first, *others = policy.targets
    policy = replace(policy, tiers=((replace(first, lacks=frozenset({"images"})), *others),))
    assert names(policy, Random(0), Facts(needs=frozenset({"images"}))) == "b c"


def test_equal_costs_are_shared_by_weight() -> None:
    policy = policy_of('{backend: "a:x", weight: 1}', '{backend: "b:x", weight: 9}', policy="strategy: cost")
    found = firsts(policy, Measured())
    assert found["b"] / found["a"] == pytest.approx(9, rel=0.2)


# -- sticky -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["priority", "weighted", "latency"])
def test_a_key_stays_and_over_many_keys_the_weights_hold(strategy: str) -> None:
    targets = [f'{{backend: "{name}:x", weight: {weight}}}' for name, weight in {"a": 2, "b": 5, "c": 3}.items()]
    policy = policy_of(*targets, policy=f"strategy: {strategy}, sticky: conversation")
    rng, found = Random(1), Counter[str]()
    for number in range(10_000):
        facts = Facts(sticky_key=f"conversation {number}")
        stats = Measured(a=rng.random(), b=rng.random())
        first = names(policy, rng, facts, stats)[0]
        assert names(policy, rng, facts)[0] == first
        found[first] += 1
    chi_square = sum((found[name] - share) ** 2 / share for name, share in {"a": 2000, "b": 5000, "c": 3000}.items())
    assert chi_square < CHI_SQUARE_999[2]


def test_a_call_without_a_key_is_drawn_as_ever() -> None:
    policy = policy_of('{backend: "a:x", weight: 1}', '{backend: "b:x", weight: 1}', policy="sticky: user")
    assert set(firsts(policy, Measured(), 50)) == {"a", "b"}
    free = replace(policy, sticky="none")
    assert set(firsts(free, Measured(), 50, Facts(sticky_key="k"))) == {"a", "b"}


def test_where_costs_are_equal_a_key_stays() -> None:
    policy = replace(cheapest(a=rates(2, 2), b=rates(1, 1), c=rates(1, 1), d=rates(1, 1)), sticky="conversation")
    orders = {names(policy, Random(seed), Facts(sticky_key="k")) for seed in range(30)}
    assert len(orders) == 1
    assert orders.pop().endswith("a")
    assert set(names(policy, Random(0), Facts(sticky_key=str(number)))[0] for number in range(50)) == set("bcd")


# -- why --------------------------------------------------------------------------------------------------------------


def test_every_skipped_target_says_why() -> None:
    loaded = load_yaml(
        """
providers:
  nokey: {type: openai, api_key: "${env:NO_SUCH_KEY}"}
  good: {type: demo}
models:
  m:
    price: free
    route:
      - {backend: "nokey:a"}
      - {backend: "good:off", enabled: false}
      - {backend: "good:acme", when: {tenants: [acme]}}
      - {backend: "good:blind", capabilities: {images: false, tools: false}}
      - {backend: "good:on", capabilities: {images: true, tools: true, stop: true}}
"""
    )
    policy = compile_grid(loaded, generation=1).models["m"].policy
    facts = Facts(tenant="beta", needs=frozenset({"tools", "images", "stop"}))
    assert [(short_reason(decision), decision.taken) for decision in decide(policy, Random(0), facts)] == [
        ("good:on · the only one of its priority that can serve the call", True),
        ("nokey:a · its provider is not configured: environment variable NO_SUCH_KEY is not set", False),
        ("good:off · switched off", False),
        ("good:acme · it is not for this call: the tenant is not acme", False),
        ("good:blind · it cannot do what the call needs: images, tools", False),
    ]


def short_reason(decision: Decision) -> str:
    return f"{decision.target.backend} · {decision.reason}"


def test_every_taken_target_says_why() -> None:
    drawn = policy_of('{backend: "a:x", weight: 5}', '{backend: "b:x", weight: 0}')
    assert [decision.reason for decision in decide(drawn, Random(0))] == [
        "drawn by weight among those of its priority",
        "weight 0: last of its priority",
    ]
    stuck = decide(replace(drawn, sticky="user"), Random(0), Facts(sticky_key="k"))
    assert [decision.why for decision in stuck] == ["sticky", "last"]
    fast = fastest("a:x", "b:x", "c:x", '{backend: "d:x", weight: 0}')
    assert [decision.reason for decision in decide(fast, Random(0), Facts(), Measured("c", a=0.25, b=1.0))] == [
        "as fast as the fastest of its priority, by its median time to first token: 0.250 s",
        "slower, by its median time to first token: 1.000 s",
        "not measured yet, and a call that measures it is under way",
        "weight 0: last of its priority",
    ]
    assert decide(fast, Random(0))[0].why == "unmeasured"
    explored = decide(fastest("a:x", "b:x", more="explore: 1"), Random(0), Facts(), Measured(a=0.25, b=1.0))
    assert [decision.why for decision in explored] == ["explored", "fastest"]
    cheap = decide(cheapest(a=rates(1, 1), b=rates(2, 2)), Random(0), Facts(input_tokens=500, output_tokens=500))
    assert cheap[0].reason == "cheapest first, by what the call is expected to cost: 0.001 USD"


# -- whatever is written ----------------------------------------------------------------------------------------------

TARGETS = st.lists(
    st.fixed_dictionaries(
        {
            "enabled": st.booleans(),
            "priority": st.integers(1, 3),
            "weight": st.integers(0, 4),
            "lacks": st.frozensets(st.sampled_from(["images", "tools"])),
            "tenants": st.sampled_from([[], ["acme"], ["be*"]]),
            "cost": st.integers(0, 3),
        }
    ),
    min_size=1,
    max_size=6,
)
FACTS = st.builds(
    Facts,
    tenant=st.sampled_from(["acme", "beta"]),
    needs=st.frozensets(st.sampled_from(["images", "tools"])),
    sticky_key=st.sampled_from(["", "one", "two"]),
    input_tokens=st.integers(0, 5000),
)
STATS = st.builds(
    lambda times_s, busy: Measured(" ".join(busy), **times_s),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 10)),
    st.lists(st.sampled_from("abcdef")),
)


def any_policy(entries: list[dict[str, Any]], strategy: Any, sticky: Any, explore: float) -> Policy:
    policy = policy_of("a:x", policy=f"strategy: {strategy}, sticky: {sticky}")
    (plain,) = policy.targets
    targets = [
        replace(
            plain,
            backend=f"{name}:x",
            enabled=entry["enabled"],
            priority=entry["priority"],
            weight=entry["weight"],
            lacks=entry["lacks"],
            when=compile_condition(When(tenants=tuple(entry["tenants"]))) if entry["tenants"] else None,
            cost=Price(request=entry["cost"]),
        )
        for name, entry in zip("abcdef", entries, strict=False)
    ]
    levels = sorted({target.priority for target in targets})
    tiers = tuple(tuple(target for target in targets if target.priority == level) for level in levels)
    return replace(policy, tiers=tiers, explore=explore)


def may_serve(target: Target, facts: Facts) -> bool:
    return target.enabled and not (facts.needs & target.lacks) and (not target.when or target.when.holds(facts))


@given(
    entries=TARGETS,
    strategy=st.sampled_from(["priority", "weighted", "latency", "cost"]),
    sticky=st.sampled_from(["none", "conversation"]),
    explore=st.floats(0, 1),
    facts=FACTS,
    stats=STATS,
    seed=st.integers(),
    data=st.data(),
)
def test_the_rules_hold_for_any_policy_and_any_call(
    entries: list[dict[str, Any]],
    strategy: str,
    sticky: str,
    explore: float,
    facts: Facts,
    stats: Measured,
    seed: int,
    data: Any,
) -> None:
    policy = any_policy(entries, strategy, sticky, explore)
    decisions = decide(policy, Random(seed), facts, stats, 5.0)
    found = order(policy, Random(seed), facts, stats, 5.0)
    assert found == [decision.target for decision in decisions if decision.taken]
    assert len(decisions) == len(policy.targets)
    assert {decision.target for decision in decisions} == set(policy.targets)
    assert set(found) == {target for target in policy.targets if may_serve(target, facts)}
    assert [target.priority for target in found] == sorted(target.priority for target in found)
    assert all(decision.reason for decision in decisions)
    for level in {target.priority for target in found}:
        weights = [target.weight > 0 for target in found if target.priority == level]
        assert weights == sorted(weights, reverse=True), "weight 0 comes last in its priority"
    if found and facts.sticky_key and sticky != "none" and strategy != "latency":
        gone = data.draw(st.sampled_from(found))
        tiers = tuple(tuple(target for target in tier if target is not gone) for tier in policy.tiers)
        after = order(replace(policy, tiers=tiers), Random(seed + 1), facts, Measured(), 9.0)
        assert after == [target for target in found if target is not gone], "nothing moves but what has to"
