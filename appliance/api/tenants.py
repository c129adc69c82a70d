"""/v1/tenants: customers and what they may use. Changed by their partner's admins and super admins."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Any, Literal

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso
from appliance.api.members import Listing, NewSlug, Text, listed, named, read, status_of
from appliance.api.partners import limits_view, refuse_declared
from appliance.errors import GatewayError, clipped
from appliance.grid.tenants import KEY_LIMITS, TENANT_LIMITS, USER_LIMITS, limits_of, rates_of
from appliance.people import Tenant
from appliance.permissions import Deed, Subject, authorize, reach
from appliance.state.people import Change
from config import RateLimits
from config.entry import Entry, Listed


class TenantMembers(Entry):
    display_name: Text | None = None
    status: Literal["active", "suspended"] = "active"
    models: Listed[Annotated[tuple[Text, ...], Listing]] = ("*",)
    rate_limits: RateLimits | None = None
    user_rate_limits: RateLimits | None = None
    key_rate_limits: RateLimits | None = None


class NewTenant(TenantMembers):
    slug: NewSlug
    partner_id: str | None = None


async def list_tenants(call: Call) -> Page:
    scope, status = reach(call.principal, "see", "tenant"), status_of(call)
    tenants = (
        tenant
        for tenant in call.people.serving.tenants.values()
        if scope and scope.holds(tenant.partner_id, tenant.id, "") and status in (None, tenant.status)
    )
    return listed(call, tenants, tenant_view)


async def get_tenant(call: Call) -> dict[str, Any]:
    return tenant_view(_find(call, "see"))


async def create_tenant(call: Call) -> dict[str, Any]:
    """`slug` is its name for good, unique over all partners; `partner_id` is the caller's own unless sent."""
    return await call.people.alone(call.principal, lambda: _create(call))


async def _create(call: Call) -> dict[str, Any]:
    if reach(call.principal, "change", "tenant") is None:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "tenants are made by partner admins and super admins")
    members = read(call, NewTenant)
    partner_id = call.principal.partner_id if members.partner_id is None else members.partner_id
    _may_make_in(call, partner_id)
    call.people.refuse_taken_tenant(members.slug)
    tenant = Tenant(members.slug, partner_id, created_unix=time.time(), created_by=call.principal.user_id)
    tenant = _with(tenant, members)
    await call.people.save(Change(time.time(), tenants=[tenant]))
    return tenant_view(tenant)


def _may_make_in(call: Call, partner_id: str) -> None:
    missing = f"the partner {clipped(partner_id)!r} does not exist"
    if partner_id not in call.people.serving.partners:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, "change", Subject("tenant", partner_id), missing)


async def update_tenant(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; null brings a default back, each of the limits is replaced as a whole.

    A tenant that is suspended loses access at once, running streams included.
    """
    return await call.people.alone(call.principal, lambda: _update(call))


async def _update(call: Call) -> dict[str, Any]:
    tenant = _changeable(call)
    tenant = _with(tenant, read(call, TenantMembers))
    await call.people.save(Change(time.time(), tenants=[tenant]))
    return tenant_view(tenant)


def _with(tenant: Tenant, members: TenantMembers) -> Tenant:
    sent = members.model_fields_set
    if "display_name" in sent:
        tenant = replace(tenant, display_name=members.display_name or "")
    if "status" in sent:
        tenant = replace(tenant, status=members.status)
    if "models" in sent:
        tenant = replace(tenant, models=tuple(members.models))
    if "rate_limits" in sent:
        tenant = replace(tenant, rate_limits=rates_of(members.rate_limits))
    if "user_rate_limits" in sent:
        tenant = replace(tenant, user_rate_limits=rates_of(members.user_rate_limits))
    if "key_rate_limits" in sent:
        tenant = replace(tenant, key_rate_limits=rates_of(members.key_rate_limits))
    return tenant


async def delete_tenant(call: Call) -> dict[str, Any]:
    """Takes its users along: they lose access at once, running streams included, and their keys are revoked.

    Nothing is erased (usage rows bear the names), so the names of the tenant and of its users stay taken. To cut a
    tenant off for a while, suspend it instead.
    """
    return await call.people.alone(call.principal, lambda: _delete(call))


async def _delete(call: Call) -> dict[str, Any]:
    tenant = _changeable(call)
    inside = call.people.rights_inside(tenant.id)  # whoever holds more than the caller is not deleted by him
    subject = Subject("tenant", tenant.partner_id, tenant.id, rights=inside)
    authorize(call.principal, "change", subject, f"the tenant {tenant.id!r} does not exist")
    await call.people.save(call.people.deletion([], [tenant]))
    return tenant_view(replace(tenant, status="deleted"))


def _changeable(call: Call) -> Tenant:
    tenant = _find(call, "change")
    refuse_declared("tenant", tenant.id, tenant.declared)
    return tenant


def _find(call: Call, deed: Deed) -> Tenant:
    tenant_id = named(call, "tenant_id")
    tenant = call.people.serving.tenants.get(tenant_id)
    missing = f"the tenant {clipped(tenant_id)!r} does not exist"
    if tenant is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, deed, Subject("tenant", tenant.partner_id, tenant.id), missing)
    return tenant


def tenant_view(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "slug": tenant.id,
        "partner_id": tenant.partner_id,
        "display_name": tenant.display_name or tenant.id,
        "status": tenant.status,
        "models": list(tenant.models),
        "rate_limits": limits_view(limits_of(tenant.rate_limits, TENANT_LIMITS)),
        "user_rate_limits": limits_view(limits_of(tenant.user_rate_limits, USER_LIMITS)),
        "key_rate_limits": limits_view(limits_of(tenant.key_rate_limits, KEY_LIMITS)),
        "created_at": iso(tenant.created_unix or None),
        "declared_in": tenant.declared or None,
    }
