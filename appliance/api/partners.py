"""/v1/partners: groups of tenants. Made, changed and deleted by super admins; a partner_admin sees his own."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso
from appliance.api.members import NewSlug, Text, listed, named, read
from appliance.errors import GatewayError, clipped
from appliance.grid.tenants import PARTNER_LIMITS, limits_of, rates_of
from appliance.limits import Limits
from appliance.people import DEFAULT, Partner
from appliance.permissions import Deed, Subject, authorize, reach
from appliance.state.people import Change
from config import RateLimits
from config.entry import Entry


class PartnerMembers(Entry):
    display_name: Text | None = None
    rate_limits: RateLimits | None = None


class NewPartner(PartnerMembers):
    slug: NewSlug


async def list_partners(call: Call) -> Page:
    scope = reach(call.principal, "see", "partner")
    partners = call.people.serving.partners.values()
    return listed(call, (each for each in partners if scope and scope.holds(each.id, "", "")), partner_view)


async def get_partner(call: Call) -> dict[str, Any]:
    return partner_view(find_partner(call, named(call, "partner_id"), "see"))


async def create_partner(call: Call) -> dict[str, Any]:
    """`slug` is its name for good; `rate_limits` hold for all of its tenants together."""
    return await call.people.alone(call.principal, lambda: _create(call))


async def _create(call: Call) -> dict[str, Any]:
    if reach(call.principal, "change", "partner") is None:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", "partners are made by super admins")
    members = read(call, NewPartner)
    call.people.refuse_taken_partner(members.slug)
    partner = Partner(
        id=members.slug,
        display_name=members.display_name or "",
        rate_limits=rates_of(members.rate_limits),
        created_unix=time.time(),
        created_by=call.principal.user_id,
    )
    await call.people.save(Change(time.time(), partners=[partner]))
    return partner_view(partner)


async def update_partner(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; null brings a default back, `rate_limits` is replaced as a whole."""
    return await call.people.alone(call.principal, lambda: _update(call))


async def _update(call: Call) -> dict[str, Any]:
    partner = _changeable(call)
    members = read(call, PartnerMembers)
    sent = members.model_fields_set
    if "display_name" in sent:
        partner = replace(partner, display_name=members.display_name or "")
    if "rate_limits" in sent:
        partner = replace(partner, rate_limits=rates_of(members.rate_limits))
    await call.people.save(Change(time.time(), partners=[partner]))
    return partner_view(partner)


async def delete_partner(call: Call) -> dict[str, Any]:
    """Takes its tenants and their users along: all of them lose access at once, and their keys are revoked.

    Nothing is erased (usage rows bear the names), so the names of partner, tenants and users stay taken.
    """
    return await call.people.alone(call.principal, lambda: _delete(call))


async def _delete(call: Call) -> dict[str, Any]:
    partner = _changeable(call)
    tenants = [tenant for tenant in call.people.serving.tenants.values() if tenant.partner_id == partner.id]
    await call.people.save(call.people.deletion([partner], tenants))
    return partner_view(replace(partner, status="deleted"))


def _changeable(call: Call) -> Partner:
    partner = find_partner(call, named(call, "partner_id"), "change")
    refuse_declared("partner", partner.id, partner.declared)
    return partner


def find_partner(call: Call, partner_id: str, deed: Deed) -> Partner:
    partner = call.people.serving.partners.get(partner_id)
    missing = f"the partner {clipped(partner_id)!r} does not exist"
    if partner is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, deed, Subject("partner", partner.id), missing)
    return partner


def refuse_declared(what: str, name: str, declared: str) -> None:
    """What the YAML declares is changed there; what always exists is not changed at all."""
    if declared:
        raise GatewayError("DECLARED_IN_CONFIG", f"the {what} {name} is declared in {declared}; change it there")
    if name == DEFAULT:
        raise GatewayError(
            "DECLARED_IN_CONFIG",
            f"the {what} {name} always exists and cannot be changed over the API; "
            "declare it in scaigrid.yaml to give it settings of its own",
        )


def partner_view(partner: Partner) -> dict[str, Any]:
    return {
        "id": partner.id,
        "slug": partner.id,
        "display_name": partner.display_name or partner.id,
        "status": partner.status,
        "rate_limits": limits_view(limits_of(partner.rate_limits, PARTNER_LIMITS)),
        "created_at": iso(partner.created_unix or None),
        "declared_in": partner.declared or None,
    }


def limits_view(limits: Limits) -> dict[str, int | str]:
    """What holds, in the form in which it may be sent back."""
    written = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "concurrent_requests": limits.concurrent_requests,
    }
    return {name: "unlimited" if limit is None else limit for name, limit in written.items()}
