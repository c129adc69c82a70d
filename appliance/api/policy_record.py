"""Routing policies as the API shows them: in the words of the YAML, with the defaults of what is not written.

A policy that is written inside a model goes by the name `model:SLUG`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import config
from appliance.api.config_written import written
from appliance.errors import GatewayError, clipped
from config.edit_steps import same
from config.routing import CircuitBreaker, Hedge

INLINE = "model:"


@dataclass(frozen=True, slots=True)
class WrittenPolicy:
    """One policy as it stands in the YAML."""

    id: str
    path: tuple[str, ...]
    said: Mapping[str, Any]
    models: tuple[str, ...]
    """Those that use it."""
    entry: config.RoutingPolicy

    @property
    def is_inline(self) -> bool:
        return self.id.startswith(INLINE)

    @property
    def targets(self) -> list[dict[str, Any]]:
        return list(self.said["targets"])


def policies_of(loaded: config.Loaded) -> dict[str, WrittenPolicy]:
    """All of them by id. Reads files anew: nothing for the event loop."""
    models, named = written(loaded, "models"), written(loaded, "routing_policies")
    used: dict[str, list[str]] = {}
    for slug, model in loaded.document.models.items():
        if isinstance(model.route, str):
            used.setdefault(model.route, []).append(slug)
    found = {
        name: WrittenPolicy(name, ("routing_policies", name), named[name], tuple(used.get(name, ())), entry)
        for name, entry in loaded.document.routing_policies.items()
    }
    for slug, model in loaded.document.models.items():
        if not isinstance(model.route, str):
            route = models[slug]["route"]
            said = {"targets": route} if isinstance(route, list) else route
            name = INLINE + slug
            found[name] = WrittenPolicy(name, ("models", slug, "route"), said, (slug,), model.route)
    return found


def policy_named(loaded: config.Loaded, name: str) -> WrittenPolicy:
    policy = policies_of(loaded).get(name)
    if policy is None:
        raise no_policy(name)
    return policy


def policy_of_model(loaded: config.Loaded, slug: str) -> WrittenPolicy:
    """Raises MODEL_NOT_FOUND."""
    model = loaded.document.models.get(slug)
    if model is None:
        raise GatewayError("MODEL_NOT_FOUND", f"the model {clipped(slug)!r} does not exist", param="model")
    return policies_of(loaded)[model.route if isinstance(model.route, str) else INLINE + slug]


def no_policy(name: str) -> GatewayError:
    return GatewayError("NOT_FOUND", f"the routing policy {clipped(name)!r} does not exist")


def policy_view(policy: WrittenPolicy) -> dict[str, Any]:
    members = {**_defaults(config.RoutingPolicy), **policy.said}
    for name, entry in (("circuit_breaker", CircuitBreaker), ("hedge", Hedge)):
        if members[name] is None or isinstance(members[name], dict):
            members[name] = {**_defaults(entry), **(members[name] or {})}
    members["targets"] = [target_view(target) for target in policy.targets]
    return {"id": policy.id, "name": policy.id, "inline": policy.is_inline, "models": list(policy.models), **members}


def target_view(said: Mapping[str, Any]) -> dict[str, Any]:
    return {**_defaults(config.Target), **said}


def _defaults(entry: type[Any]) -> dict[str, Any]:
    return {name: None if field.is_required() else field.default for name, field in entry.model_fields.items()}


def as_seen_by(tenant_id: str, partner_id: str, models: Set[str], view: dict[str, Any]) -> dict[str, Any] | None:
    """The view for those who may see one tenant only; None when none of its models uses the policy.

    What others are routed to, and what a target costs the operator, is nobody else's business.
    """
    used = [model for model in view["models"] if model in models]
    if not used:
        return None
    targets = [
        {name: value for name, value in target.items() if name != "cost"} | {"when": when}
        for target in view["targets"]
        if (when := _own_part(target["when"], tenant_id, partner_id)) is not False
    ]
    return {**view, "models": used, "targets": targets}


def _own_part(when: Any, tenant_id: str, partner_id: str) -> Any:
    """The condition without names of others; False when it never holds for this tenant."""
    if not when:
        return when
    own = dict(when)
    for name, mine in (("tenants", tenant_id), ("partners", partner_id)):
        if name in own:
            own[name] = [glob for glob in own[name] if fnmatchcase(mine, glob)]
            if not own[name]:
                return False
    return own


def goes_by_the_list(policy: WrittenPolicy) -> bool:
    """Whether the order of its list is the order in which its targets are asked."""
    plain = all(target.priority is None and target.weight is None for target in policy.entry.targets)
    return plain and policy.entry.strategy == "priority"


def targets_to_write(policy: WrittenPolicy, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The new list in the words of the old one: what only repeats a default is left out where it was not written."""
    known = {str(target["backend"]): target for target in policy.targets}
    return [_as_written(target, known.get(str(target.get("backend")), {})) for target in wanted]


def _as_written(wanted: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    defaults = _defaults(config.Target)
    members = {name: value for name, value in wanted.items() if name in old or not _is_default(value, name, defaults)}
    if "enabled" in old:  # the word that an operator flips stays where he can see it
        members.setdefault("enabled", True)
    order = [*old, *(name for name in members if name not in old)]
    return {name: members[name] for name in order if name in members}


def _is_default(value: Any, name: str, defaults: Mapping[str, Any]) -> bool:
    return name in defaults and same(value, defaults[name])


def positions(policy: WrittenPolicy, backend: str) -> Iterator[int]:
    """Where in its list a backend stands."""
    return (position for position, target in enumerate(policy.entry.targets) if target.backend == backend)
