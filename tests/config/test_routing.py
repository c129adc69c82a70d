"""Targets, policies and the three ways to write a route."""

from __future__ import annotations

from collections.abc import Callable

import config

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
