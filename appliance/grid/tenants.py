"""Partners and tenants: what the YAML declares as plain records, and what the Grid says of each tenant. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence

import config
from appliance.grid.grid import Tenant
from appliance.limits import Limits
from appliance.people import DEFAULT, Overlay, Partner, Rates
from appliance.people import Tenant as WrittenTenant

KEY_LIMITS, USER_LIMITS, TENANT_LIMITS, PARTNER_LIMITS, UNAUTHENTICATED = map(Limits, (60, 120, 1000, 5000, 60))
"""What holds when nothing is written: requests per minute (API reference, section 8.4)."""


def declared(loaded: config.Loaded) -> Overlay:
    """The partners and tenants of the YAML, and those named `default`, which are there without being written."""
    partners = {DEFAULT: Partner(DEFAULT)}
    tenants = {DEFAULT: WrittenTenant(DEFAULT, DEFAULT)}
    for partner_id, partner in loaded.document.partners.items():
        path = ("partners", partner_id)
        place = declared_at(loaded, path)
        partners[partner_id] = Partner(
            partner_id, partner.display_name or "", rates_of(partner.rate_limits), declared=place
        )
        for tenant_id, tenant in partner.tenants.items():
            tenants[tenant_id] = WrittenTenant(
                id=tenant_id,
                partner_id=partner_id,
                display_name=tenant.display_name or "",
                status=tenant.status,
                models=tuple(tenant.models),
                rate_limits=rates_of(tenant.rate_limits),
                user_rate_limits=rates_of(tenant.user_rate_limits),
                key_rate_limits=rates_of(tenant.key_rate_limits),
                declared=declared_at(loaded, (*path, "tenants", tenant_id)),
            )
    return Overlay(partners, tenants)


def declared_at(loaded: config.Loaded, path: tuple[str, ...]) -> str:
    """FILE:LINE of an entry."""
    place = loaded.places.get(path)
    return f"{place.file}:{place.line}" if place else "scaigrid.yaml"


def rates_of(entry: config.RateLimits | None) -> Rates:
    return entry.model_dump(exclude_none=True) if entry else {}


def compile_tenants(loaded: config.Loaded, overlay: Overlay, models: Iterable[str]) -> dict[str, Tenant]:
    """What is declared, and the overlay's beside it. A tenant whose partner does not exist is not served."""
    written = declared(loaded)
    partners = {**overlay.partners, **written.partners}
    tenants = {**overlay.tenants, **written.tenants}
    known = tuple(models)
    return {
        tenant.id: _compiled(partners[tenant.partner_id], tenant, known)
        for tenant in tenants.values()
        if tenant.partner_id in partners
    }


def _compiled(partner: Partner, tenant: WrittenTenant, models: Sequence[str]) -> Tenant:
    return Tenant(
        id=tenant.id,
        partner_id=tenant.partner_id,
        display_name=tenant.display_name or tenant.id,
        suspended=tenant.status != "active",
        models=frozenset(allowed(models, tenant.models)),
        partner_limits=limits_of(partner.rate_limits, PARTNER_LIMITS),
        limits=limits_of(tenant.rate_limits, TENANT_LIMITS),
        user_limits=limits_of(tenant.user_rate_limits, USER_LIMITS),
        key_limits=limits_of(tenant.key_rate_limits, KEY_LIMITS),
    )


def limits_of(rates: Rates, default: Limits) -> Limits:
    """What is written counts, what is not keeps its default, `unlimited` switches a limit off."""
    return Limits(
        _limit(rates, "requests_per_minute", default.requests_per_minute),
        _limit(rates, "tokens_per_minute", default.tokens_per_minute),
        _limit(rates, "concurrent_requests", default.concurrent_requests),
    )


def _limit(rates: Mapping[str, int | str], name: str, default: int | None) -> int | None:
    written = rates.get(name, default)
    return None if isinstance(written, str) else written


def allowed(names: Iterable[str], globs: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatchcase(name, glob) for glob in globs)]
