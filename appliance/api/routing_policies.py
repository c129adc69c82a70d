"""/v1/routing-policies: what the YAML says of them, and changes of it, which are written into the file."""

from __future__ import annotations

import asyncio
from typing import Any

import config
from appliance.api.accept import Call
from appliance.api.config_writes import has_platform_reach, refuse_unless_allowed, write
from appliance.api.configuration import configuration_of
from appliance.api.entry_members import check, checked_name, differing, sent
from appliance.api.envelope import Page, limit_of
from appliance.api.members import named
from appliance.api.policy_record import (
    WrittenPolicy,
    as_seen_by,
    no_policy,
    policies_of,
    policy_named,
    policy_view,
    targets_to_write,
)
from appliance.errors import GatewayError, clipped, invalid
from config.scalars import Slug

NAMES = ("id", "name", "slug")


async def list_policies(call: Call) -> Page:
    """Named ones and those inside models, in the order of their ids."""
    limit, after = limit_of(call.query.get("limit")), call.query.get("cursor", "")
    views = [view for view in await _visible(call) if view["id"] > after]
    page = views[:limit]
    return Page(page, page[-1]["id"] if len(views) > limit else None)


async def get_policy(call: Call) -> dict[str, Any]:
    name = named(call, "slug")
    found = next((view for view in await _visible(call) if view["id"] == name), None)
    if found is None:
        raise no_policy(name)
    return found


async def create_policy(call: Call) -> dict[str, Any]:
    """Members as in the YAML. Without a model that uses it, it does nothing yet."""
    refuse_unless_allowed(call)
    body = sent(call)
    name = checked_name(next((body.pop(key) for key in NAMES if key in body), None), Slug, "name")
    check(body, config.RoutingPolicy, whole=True)

    def make(loaded: config.Loaded) -> list[config.Change]:
        if name in loaded.document.routing_policies:
            raise GatewayError("SLUG_CONFLICT", f"the name {clipped(name)!r} is already taken", param="name")
        entry = {member: value for member, value in body.items() if value is not None}
        return [config.Change(("routing_policies", name), entry)]

    done = await write(call, make)
    return await _shown(call, name) | done


async def update_policy(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; null brings a default back, `targets` replaces the whole list."""
    refuse_unless_allowed(call)
    name, body = named(call, "slug"), sent(call)

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy = policy_named(loaded, name)
        changed = differing(body, policy_view(policy))
        check(changed, config.RoutingPolicy, whole=False)
        return [change for member, value in changed.items() for change in _change(policy, member, value)]

    done = await write(call, make)
    return await _shown(call, name) | done


def _change(policy: WrittenPolicy, member: str, value: Any) -> list[config.Change]:
    if value is None and member == "targets":
        raise invalid("targets", "a policy needs at least one")
    if value is None:
        return [config.Change((*policy.path, member))] if member in policy.said else []
    written = targets_to_write(policy, value) if member == "targets" else value
    return [config.Change((*policy.path, member), written)]


async def delete_policy(call: Call) -> dict[str, Any]:
    refuse_unless_allowed(call)
    name = named(call, "slug")

    def make(loaded: config.Loaded) -> list[config.Change]:
        policy = policy_named(loaded, name)
        if policy.is_inline:
            message = f"this policy is written inside the model {policy.models[0]}: give that another `route` instead"
            raise GatewayError("IN_USE", message)
        if policy.models:
            message = f"models are routed by {name}: {', '.join(policy.models)}; give them another `route` first"
            raise GatewayError("IN_USE", message)
        return [config.Change(policy.path)]

    return {"id": name, "deleted": True} | await write(call, make)


async def _shown(call: Call, name: str) -> dict[str, Any]:
    """What serves after a change."""
    loaded = configuration_of(call).loaded
    return await asyncio.to_thread(lambda: policy_view(policy_named(loaded, name)))


async def _visible(call: Call) -> list[dict[str, Any]]:
    """In the order of their ids. Who belongs to a tenant sees what its models are routed by."""
    loaded = configuration_of(call).loaded
    found = await asyncio.to_thread(policies_of, loaded)
    views = [policy_view(found[name]) for name in sorted(found)]
    if has_platform_reach(call.principal):
        return views
    tenant = call.grid.tenants.get(call.principal.tenant_id)
    if tenant is None:
        return []
    seen = (as_seen_by(tenant.id, tenant.partner_id, tenant.models, view) for view in views)
    return [view for view in seen if view is not None]
