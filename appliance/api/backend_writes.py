"""POST, PUT and DELETE of /v1/backends: a backend model is whatever targets name it, so these change targets.

What is changed for a backend is changed in every routing policy that has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Set
from typing import Any

import config
from appliance.api import providers
from appliance.api.accept import Call
from appliance.api.config_writes import refuse_unless_allowed, write
from appliance.api.configuration import configuration_of
from appliance.api.entry_members import check, sent
from appliance.api.members import named
from appliance.api.policy_record import (
    WrittenPolicy,
    goes_by_the_list,
    policies_of,
    policy_named,
    policy_of_model,
    positions,
)
from appliance.errors import GatewayError, clipped, invalid
from config.edit_steps import same
from config.problems import Path

CHANGEABLE = ("enabled", "weight", "priority", "cost")
ORDERING = ("weight", "priority")


async def create_backend(call: Call) -> dict[str, Any]:
    """A new target, at the end of the list. With a weight and no priority it shares the calls of the first one."""
    refuse_unless_allowed(call)
    body = sent(call)
    find = _policy_of(body)
    target = _new_target(body)
    check(target, config.Target, whole=True)
    backend = str(target["backend"])

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy = find(loaded)
        provider = backend.partition(":")[0]
        if provider not in loaded.document.providers:
            raise GatewayError("PROVIDER_NOT_FOUND", f"there is no provider {clipped(provider)!r}")
        if any(True for _ in positions(policy, backend)):
            message = f"{policy.id} has the target {backend} already; PUT /v1/backends/{backend} changes it"
            raise GatewayError("SLUG_CONFLICT", message)
        path: Path = (*policy.path, "targets", len(policy.targets))
        if goes_by_the_list(policy) and any(name in target for name in ORDERING):
            return [*_kept_order(policy), config.Change(path, target)]
        return [config.Change(path, target)]

    done = await write(call, make)
    return await _shown(call, backend) | done


async def update_backend(call: Call) -> dict[str, Any]:
    """`enabled` is the switch of all targets with this backend; null takes `weight`, `priority` or `cost` away."""
    refuse_unless_allowed(call)
    backend, body = named(call, "backend_id"), sent(call)
    for name in body:
        if name not in CHANGEABLE:
            message = f"is not a member of this request that can be changed; known are {', '.join(CHANGEABLE)}"
            raise invalid(clipped(name), message)
    check(body, config.Target, whole=False)

    def make(loaded: config.Loaded) -> list[config.Change]:
        return [
            change
            for policy in _policies_with(loaded, backend)
            for change in _changes(policy, set(positions(policy, backend)), body)
        ]

    done = await write(call, make)
    return await _shown(call, backend) | done


async def delete_backend(call: Call) -> dict[str, Any]:
    """Takes its targets out of every policy; a policy keeps at least one."""
    refuse_unless_allowed(call)
    backend = named(call, "backend_id")

    def make(loaded: config.Loaded) -> list[config.Change]:
        found = _policies_with(loaded, backend)
        bare = [policy.id for policy in found if len(set(positions(policy, backend))) == len(policy.targets)]
        if bare:
            message = f"it is the only target of {', '.join(bare)}: add another one first, or delete them"
            raise GatewayError("IN_USE", message)
        # From the end of each list, so that the places of those before stay.
        return [
            config.Change((*policy.path, "targets", position))
            for policy in found
            for position in sorted(positions(policy, backend), reverse=True)
        ]

    return {"id": backend, "deleted": True} | await write(call, make)


# -- what is to change ------------------------------------------------------------------------------------------------


def _policy_of(body: dict[str, Any]) -> Callable[[config.Loaded], WrittenPolicy]:
    """Takes `model` or `policy` out of the body."""
    model, policy = body.pop("model", None), body.pop("policy", None)
    if (model is None) == (policy is None):
        raise invalid("model", "send `model` (a frontend model) or `policy`: where the target is to be added")
    name, field = (model, "model") if policy is None else (policy, "policy")
    if not isinstance(name, str):
        raise invalid(field, "takes a text")
    find = policy_of_model if policy is None else policy_named
    return lambda loaded: find(loaded, name)


def _new_target(body: dict[str, Any]) -> dict[str, Any]:
    """The backend's name may come whole, as `uri`, or in its two parts."""
    provider, upstream_model = body.pop("provider_id", None), body.pop("upstream_model", None)
    whole = body.pop("uri", body.pop("backend", None))
    if whole is None:
        for field, part in (("provider_id", provider), ("upstream_model", upstream_model)):
            if not isinstance(part, str) or not part:
                raise invalid(field, "is required, and takes a text")
        whole = f"{provider}:{upstream_model}"
    elif provider is not None or upstream_model is not None:
        raise invalid("uri", "send `uri`, or `provider_id` and `upstream_model`, not both")
    members = {name: value for name, value in body.items() if value is not None}
    if members.get("enabled") is True:
        del members["enabled"]
    return {"backend": whole, **members}


def _policies_with(loaded: config.Loaded, backend: str) -> list[WrittenPolicy]:
    found = [policy for policy in policies_of(loaded).values() if any(True for _ in positions(policy, backend))]
    if not found:
        raise GatewayError("BACKEND_NOT_FOUND", f"there is no backend model {clipped(backend)!r}")
    return found


def _changes(policy: WrittenPolicy, places: set[int], body: Mapping[str, Any]) -> Iterator[config.Change]:
    wanted = [
        (position, name, value)
        for position in places
        for name, value in body.items()
        if _is_new(policy, position, name, value)
    ]
    orders = [(position, name) for position, name, value in wanted if name in ORDERING and value is not None]
    if orders and goes_by_the_list(policy) and len(policy.targets) > 1:
        yield from _kept_order(policy, {position for position, name in orders if name == "priority"})
    for position, name, value in wanted:
        path: Path = (*policy.path, "targets", position, name)
        yield config.Change(path) if value is None else config.Change(path, value)


def _is_new(policy: WrittenPolicy, position: int, name: str, value: Any) -> bool:
    said, entry = policy.targets[position], policy.entry.targets[position]
    if value is None:
        return name in said
    return not same(entry.enabled if name == "enabled" else said.get(name), value)


def _kept_order(policy: WrittenPolicy, but: Set[int] = frozenset()) -> Iterator[config.Change]:
    """The priorities that follow from the list's order, written out: once one target has a weight or a priority, the
    order of the list counts no more, and the others would all be asked alike."""
    for position in range(len(policy.targets)):
        if position not in but:
            yield config.Change((*policy.path, "targets", position, "priority"), position + 1)


# -- what is told -----------------------------------------------------------------------------------------------------


async def _shown(call: Call, backend: str) -> dict[str, Any]:
    """As GET shows it. `without_target` are models that have no target left which could serve."""
    loaded = configuration_of(call).loaded
    found = await asyncio.to_thread(_policies_with, loaded, backend)
    used = {model for policy in found for model in policy.models}
    call.params = {"backend_id": backend.replace("%", "%25")}
    try:
        shown = await providers.get_backend(call)
    except GatewayError:  # no model uses its policies yet
        shown = {"id": backend, "uri": backend, "models": []}
    idle = [name for name in sorted(used) if not any(target.usable for target in call.grid.models[name].policy.targets)]
    return shown | {"policies": [policy.id for policy in found], "without_target": idle}
