"""Edits of routes: the one-word switch of a model's target, and paths through a route in its short form."""

from __future__ import annotations

from typing import Any

from config.edit_change import Change, EditRefused, named
from config.load import Loaded
from config.problems import Path, meant, shown
from config.routing import RoutingPolicy


def switch_changes(loaded: Loaded, model: str, to: str) -> list[Change]:
    """What makes `to` the only enabled target of a model; nothing when it is that already.

    An `enabled: false` becomes `true`; where nothing is written, nothing is added, for true is the default.
    """
    policy, path = _policy(loaded, model)
    if to not in {target.backend for target in policy.targets}:
        known = list(dict.fromkeys(target.backend for target in policy.targets))
        message = f"model {shown(model)} has no target {shown(to)}: its targets are {', '.join(map(shown, known))}"
        place = loaded.places.get(("models", model))
        raise EditRefused(message, meant(to, known, "add it to the route first"), place)
    provider = to.partition(":")[0]
    if reason := loaded.document.providers[provider].unconfigured:
        place = loaded.places.get(("providers", provider))
        raise EditRefused(f"provider {shown(provider)} is not configured: {reason}", "set it, then reload", place)
    return [
        Change((*path, "targets", position, "enabled"), target.backend == to)
        for position, target in enumerate(policy.targets)
        if target.enabled != (target.backend == to)
    ]


def shared_by(loaded: Loaded, model: str) -> list[str]:
    """The other models that are routed by the same named policy, and so are switched with this one."""
    _policy(loaded, model)
    models = loaded.document.models
    route = models[model].route
    return [name for name, other in models.items() if name != model and isinstance(route, str) and other.route == route]


def _policy(loaded: Loaded, model: str) -> tuple[RoutingPolicy, Path]:
    """The policy of a model, and where it is written."""
    models = loaded.document.models
    if model not in models:
        raise EditRefused(f"there is no model {shown(model)}", meant(model, models, "see `models` in scaigrid.yaml"))
    route = models[model].route
    if isinstance(route, str):
        return loaded.document.routing_policies[route], ("routing_policies", route)
    return route, ("models", model, "route")


def through_route(data: Any, change: Change) -> list[Change]:
    """The change as the file is written: a route may be a list of targets, or a mapping that holds it."""
    path = change.path
    if len(path) < 4 or path[0] != "models" or path[2] != "route":
        return [change]
    route = _step(_step(_step(data, "models"), path[1]), "route")
    if isinstance(route, str):
        message = f"{named(path[:3])} is the policy {shown(route)}, which other models may share"
        raise EditRefused(message, f"change {named(('routing_policies', route, *path[3:]))} instead")
    if isinstance(route, list) and path[3] == "targets":
        return [Change((*path[:3], *path[4:]), change.value)]
    if isinstance(route, list) and isinstance(path[3], str):
        return [Change(path[:3], {"targets": route}), change]
    if isinstance(route, dict) and isinstance(path[3], int):
        return [Change((*path[:3], "targets", *path[3:]), change.value)]
    return [change]


def _step(data: Any, step: str | int) -> Any:
    return data.get(step) if isinstance(data, dict) else None
