"""/v1/models/{slug}/switch: which targets of a model are on, and the one act that changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Any

import config
from appliance.api.accept import Call
from appliance.api.config_writes import has_platform_reach, refuse_unless_allowed, write
from appliance.api.configuration import configuration_of
from appliance.api.members import named
from appliance.api.policy_record import INLINE, WrittenPolicy, policy_of_model, positions
from appliance.errors import GatewayError, clipped, invalid
from config.problems import nearest

ACTS = ("to", "on", "off")


async def get_switch(call: Call) -> dict[str, Any]:
    """Who belongs to a tenant may ask about the models that it may use."""
    call.grid = call.appliance.holder.current.grid  # that of the file as it is loaded now
    slug, seen = named(call, "slug"), _models_seen(call)
    if slug not in seen:
        raise GatewayError("MODEL_NOT_FOUND", f"the model {clipped(slug)!r} does not exist", param="model")
    return _shown(call, slug, seen)


async def switch_model(call: Call) -> dict[str, Any]:
    """`to` turns one target on and all others off; `on` and `off` flip one. Calls under way finish where they are."""
    refuse_unless_allowed(call)
    slug = named(call, "slug")
    act, backend = _act(call.body())
    before = list[str]()

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy = policy_of_model(loaded, slug)
        before.extend(_on(policy.entry))
        _refuse_strange(policy, act, backend)
        return _changes(loaded, slug, policy, act, backend)

    done = await write(call, make)
    shown = _shown(call, slug, _models_seen(call))
    after = _on(_policy(configuration_of(call).loaded, slug))
    return shown | {"before": before, "after": after} | done


def _act(body: dict[str, Any]) -> tuple[str, str]:
    for name in body:
        if name not in ACTS:
            raise invalid(clipped(name), f"is not a member of this request; known are {', '.join(ACTS)}")
    if len(body) != 1:
        raise invalid("to", "send one of `to`, `on`, `off`, each a target like `openai:gpt-4.1`")
    act, backend = next(iter(body.items()))
    if not isinstance(backend, str):
        raise invalid(act, "takes a text, a target like `openai:gpt-4.1`")
    return act, backend


def _refuse_strange(policy: WrittenPolicy, act: str, backend: str) -> None:
    known = list(dict.fromkeys(target.backend for target in policy.entry.targets))
    if backend not in known:
        guess = nearest(backend, known)
        hint = f"did you mean {guess}?" if guess else f"add it first: POST /v1/backends with `policy` {policy.id!r}"
        raise invalid(act, f"{clipped(backend)!r} is no target of {policy.id}, which has {', '.join(known)}; {hint}")


def _changes(loaded: config.Loaded, slug: str, policy: WrittenPolicy, act: str, backend: str) -> list[config.Change]:
    if act == "to":
        try:
            return config.switch_changes(loaded, slug, backend)
        except config.EditRefused as error:
            raise invalid("to", str(error)) from error
    return [
        config.Change((*policy.path, "targets", position, "enabled"), act == "on")
        for position in positions(policy, backend)
        if policy.entry.targets[position].enabled != (act == "on")
    ]


def _models_seen(call: Call) -> Set[str]:
    if has_platform_reach(call.principal):
        return call.grid.models.keys()
    tenant = call.grid.tenants.get(call.principal.tenant_id)
    return tenant.models if tenant else frozenset()


def _shown(call: Call, slug: str, seen: Set[str]) -> dict[str, Any]:
    """The targets in the order of the list. `also` are models of the same policy, which are switched with this one."""
    loaded, model = configuration_of(call).loaded, call.grid.models[slug]
    usable = {target.backend: target.usable for target in model.policy.targets}
    configured = {target.backend: not target.endpoint.unconfigured for target in model.policy.targets}
    now, health = asyncio.get_running_loop().time(), call.state.health
    route = loaded.document.models[slug].route
    return {
        "model": slug,
        "status": model.status,
        "policy": route if isinstance(route, str) else INLINE + slug,
        "also": [name for name in config.shared_by(loaded, slug) if name in seen],
        "targets": [
            {
                "backend": target.backend,
                "enabled": target.enabled,
                "configured": configured[target.backend],
                "health_status": health.status(target.backend, now, usable=usable[target.backend]),
                "in_flight": health.in_flight(target.backend),
            }
            for target in _policy(loaded, slug).targets
        ],
    }


def _policy(loaded: config.Loaded, slug: str) -> config.RoutingPolicy:
    route = loaded.document.models[slug].route
    return loaded.document.routing_policies[route] if isinstance(route, str) else route


def _on(policy: config.RoutingPolicy) -> list[str]:
    return list(dict.fromkeys(target.backend for target in policy.targets if target.enabled))
