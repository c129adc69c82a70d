"""Policies as the API shows them, what of them a tenant sees, and how a new list of targets keeps the old words."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.api.policy_record import (
    WrittenPolicy,
    as_seen_by,
    goes_by_the_list,
    policies_of,
    policy_named,
    policy_of_model,
    policy_view,
    positions,
    targets_to_write,
)
from appliance.errors import GatewayError
from support.build import load_yaml

LOADED = load_yaml(
    """
providers:
  demo: {type: demo}
models:
  short: {price: free, route: [{backend: "demo:a"}, {backend: "demo:b"}, {backend: "demo:a", when: {roles: [x]}}]}
  long: {price: free, route: {strategy: cost, circuit_breaker: off, targets: [{backend: "demo:a", weight: 2}]}}
  one: {price: free, route: shared}
  two: {price: free, route: shared}
routing_policies:
  shared:
    deadline: 90s
    hedge: {percentile: 90}
    targets:
      - {backend: "demo:a", enabled: true, cost: free}
      - {backend: "demo:b", enabled: false, priority: 3, when: {tenants: [acme, "big-*"], groups: [g]}}
      - {backend: "demo:c", when: {partners: [south]}}
  unused: {targets: [{backend: "demo:z"}]}
"""
)


def policy(name: str) -> WrittenPolicy:
    return policy_named(LOADED, name)


def test_named_policies_and_those_inside_models_are_found_with_their_models() -> None:
    found = {name: each.models for name, each in policies_of(LOADED).items()}
    assert found == {
        "shared": ("one", "two"),
        "unused": (),
        "model:short": ("short",),
        "model:long": ("long",),
    }
    assert policy_of_model(LOADED, "two").id == "shared"
    assert policy_of_model(LOADED, "short").path == ("models", "short", "route")
    for find, name, code in ((policy_named, "short", "NOT_FOUND"), (policy_of_model, "shared", "MODEL_NOT_FOUND")):
        with pytest.raises(GatewayError) as caught:
            find(LOADED, name)
        assert caught.value.code == code


def test_the_view_says_what_holds_in_the_words_of_the_yaml() -> None:
    view = policy_view(policy("shared"))
    assert {name: view[name] for name in ("deadline", "retries", "strategy", "sticky")} == {
        "deadline": "90s",
        "retries": 2,
        "strategy": "priority",
        "sticky": "none",
    }
    assert view["hedge"] == {"percentile": 90, "min_delay": "200ms", "max_share": 0.05}
    assert view["circuit_breaker"] == {"failures": 5, "window": "30s", "cooldown": "15s"}
    assert view["targets"][0] == {
        "backend": "demo:a",
        "priority": None,
        "weight": None,
        "cost": "free",
        "capabilities": {},
        "enabled": True,
        "when": None,
    }
    assert policy_view(policy("model:long"))["circuit_breaker"] == "off"


def seen(tenant: str, partner: str, *models: str) -> dict[str, Any] | None:
    return as_seen_by(tenant, partner, set(models), policy_view(policy("shared")))


def test_a_tenant_sees_its_own_part() -> None:
    assert seen("acme", "north", "short") is None
    mine = seen("acme", "north", "two", "short")
    assert mine
    assert mine["models"] == ["two"]
    assert [(target["backend"], target["when"]) for target in mine["targets"]] == [
        ("demo:a", None),
        ("demo:b", {"tenants": ["acme"], "groups": ["g"]}),
    ]
    assert all("cost" not in target for target in mine["targets"])
    theirs = seen("far", "south", "one")
    assert theirs
    assert [target["backend"] for target in theirs["targets"]] == ["demo:a", "demo:c"]
    assert seen("big-1", "north", "one")["targets"][1]["when"]["tenants"] == ["big-*"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "by_list"), [("model:short", True), ("model:long", False), ("shared", False), ("unused", True)]
)
def test_a_list_without_weights_and_priorities_is_the_order(name: str, by_list: bool) -> None:
    assert goes_by_the_list(policy(name)) is by_list


def test_a_backend_may_stand_twice_in_a_list() -> None:
    assert list(positions(policy("model:short"), "demo:a")) == [0, 2]


def test_new_targets_keep_the_words_of_the_old_ones() -> None:
    wanted = [
        {"backend": "demo:new", "enabled": True, "weight": 3},
        {"backend": "demo:b", "enabled": True, "weight": 2},
        {"enabled": True, "cost": "free", "capabilities": {}, "backend": "demo:a"},
        {"backend": "demo:c", "enabled": False},
    ]
    assert [list(target.items()) for target in targets_to_write(policy("shared"), wanted)] == [
        [("backend", "demo:new"), ("weight", 3)],
        [("backend", "demo:b"), ("enabled", True), ("weight", 2)],
        [("backend", "demo:a"), ("enabled", True), ("cost", "free")],
        [("backend", "demo:c"), ("enabled", False)],
    ]
    bare = targets_to_write(policy("shared"), [{"backend": "demo:a"}])
    assert bare == [{"backend": "demo:a", "enabled": True}], "the word that is flipped stays in sight"
