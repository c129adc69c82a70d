"""Targets, policies and the three ways to write a route."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import config
from config.routing import CircuitBreaker, Hedge

Load = Callable[..., config.Loaded]
HEAD = "providers:\n  demo: {type: demo}\n"


def test_an_upstream_model_may_hold_colons() -> None:
    target = config.Target(backend="openai:ft:gpt-4.1:acme::x")
    assert (target.provider, target.upstream_model) == ("openai", "ft:gpt-4.1:acme::x")
    assert (target.priority, target.weight, target.cost, target.enabled) == (None, None, None, True)


def test_a_route_is_a_name_a_policy_or_a_list(load_text: Load) -> None:
    models = load_text(
        HEAD + "models:\n"
        "  named: {price: free, route: steady}\n"
        "  written: {price: free, route: {retries: 0, targets: [{backend: 'demo:a'}]}}\n"
        "  listed:\n    price: free\n    route:\n      - backend: demo:b\n        cost: free\n"
        "routing_policies:\n  steady: {targets: [{backend: 'demo:c'}], retry_on: [timeout], deadline: 120s}\n"
    ).document.models
    written, listed = models["written"].route, models["listed"].route
    assert models["named"].route == "steady"
    assert isinstance(written, config.RoutingPolicy)
    assert isinstance(listed, config.RoutingPolicy)
    assert (written.retries, written.targets[0].backend) == (0, "demo:a")
    assert (listed.strategy, listed.retries, listed.deadline) == ("priority", 2, 600.0)
    assert listed.retry_on == {"timeout", "connect", "rate_limited", "server_error"}
    assert listed.targets[0].cost == config.Price.model_validate("free")


def test_a_policy_takes_what_is_written(load_text: Load) -> None:
    text = (
        HEAD
        + "routing_policies:\n  p: {strategy: weighted, targets: [{backend: 'demo:c'}], retry_on: [], deadline: 1ms}\n"
    )
    policy = load_text(text).document.routing_policies["p"]
    assert (policy.strategy, policy.retry_on, policy.deadline) == ("weighted", frozenset(), 0.001)


def test_what_is_not_written_has_its_default(load_text: Load) -> None:
    policy = load_text(HEAD + "routing_policies:\n  p: {targets: [{backend: 'demo:c'}]}\n").document.routing_policies[
        "p"
    ]
    assert policy.circuit_breaker is not None
    assert numbers(policy.circuit_breaker) == (5, 30.0, 15.0)
    assert (policy.hedge, policy.sticky, policy.explore) == (None, "none", 0.05)
    assert policy.targets[0].when is None


@pytest.mark.parametrize(
    ("written", "breaker", "hedge"),
    [
        ("circuit_breaker: off, hedge: off", None, None),
        ("hedge: false", (5, 30.0, 15.0), None),
        ("hedge: true", (5, 30.0, 15.0), (95, 0.2, 0.05)),
        ("hedge: {}", (5, 30.0, 15.0), (95, 0.2, 0.05)),
        ("hedge: {percentile: 50, min_delay: 1s, max_share: 1}", (5, 30.0, 15.0), (50, 1.0, 1.0)),
        ("circuit_breaker: {failures: 1}", (1, 30.0, 15.0), None),
        ("circuit_breaker: {window: 1m, cooldown: 1s}", (5, 60.0, 1.0), None),
    ],
)
def test_a_breaker_and_a_hedge_are_a_word_or_a_mapping(
    load_text: Load, written: str, breaker: tuple[float, ...] | None, hedge: tuple[float, ...] | None
) -> None:
    text = f"routing_policies:\n  p: {{{written}, targets: [{{backend: 'demo:c'}}]}}\n"
    policy = load_text(HEAD + text).document.routing_policies["p"]
    assert (policy.circuit_breaker and numbers(policy.circuit_breaker)) == breaker
    assert (policy.hedge and numbers(policy.hedge)) == hedge


def numbers(entry: CircuitBreaker | Hedge) -> tuple[float, ...]:
    return tuple(entry.model_dump().values())


@pytest.mark.parametrize("strategy", ["priority", "weighted", "latency", "cost"])
@pytest.mark.parametrize("sticky", ["none", "conversation", "user"])
def test_every_strategy_may_be_sticky(load_text: Load, strategy: str, sticky: str) -> None:
    text = f"routing_policies:\n  p: {{strategy: {strategy}, sticky: {sticky}, targets: [{{backend: 'demo:c'}}]}}\n"
    policy = load_text(HEAD + text).document.routing_policies["p"]
    assert (policy.strategy, policy.sticky) == (strategy, sticky)
