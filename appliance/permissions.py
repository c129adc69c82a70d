"""The permission table, the six built-in roles, the scopes, and `authorize`: who may do what to whom.

Names and bundles are those of sections 7.2 and 7.3 of the API reference. Where the reference is silent or contradicts
itself (its section 11, 17) the choice is written beside the line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from appliance.errors import GatewayError
from appliance.exchange import Principal

PERMISSIONS: dict[str, str] = {
    "models:list": "see frontend models",
    "models:use": "call inference",
    "models:manage": "create, change and delete models, backends and providers",
    "routing:view": "see routing policies and backends",
    "routing:manage": "change routing policies; reload the configuration",
    "accounting:view_own": "see one's own usage",
    "accounting:view_tenant": "see the usage of the whole tenant",
    "accounting:view_partner": "see the usage of all tenants of the partner",
    "accounting:manage_budgets": "create and change budgets",
    "users:manage": "see and change users",
    "api_keys:manage": "create and revoke one's own API keys",
    "webhooks:manage": "create and change webhooks",
    "modules:use": "use the modules that are enabled",
    "modules:manage": "enable, disable and configure modules",
    "admin:access": "use administrative resources",
}

_VIEWER = frozenset({"models:list", "accounting:view_own"})
_USER = _VIEWER | {"models:use", "api_keys:manage", "modules:use"}
_TENANT_ADMIN = _USER | {
    "routing:view",
    "accounting:view_tenant",
    "accounting:manage_budgets",
    "users:manage",
    "webhooks:manage",
    "modules:manage",
    "admin:access",
}
_PARTNER_VIEWER = _VIEWER | {"accounting:view_tenant", "accounting:view_partner"}
# The reference's partner_admin bundle has no api_keys:manage. An administrator who may manage users but cannot hold a
# key of his own could not work at all, so it is added here; models:use stays out, as the reference has it.
_PARTNER_ADMIN = _PARTNER_VIEWER | {"accounting:manage_budgets", "users:manage", "admin:access", "api_keys:manage"}

ROLES: dict[str, frozenset[str]] = {
    "tenant_viewer": _VIEWER,
    "tenant_user": frozenset(_USER),
    "tenant_admin": frozenset(_TENANT_ADMIN),
    "partner_viewer": frozenset(_PARTNER_VIEWER),
    "partner_admin": frozenset(_PARTNER_ADMIN),
    "super_admin": frozenset(PERMISSIONS),
}


def permissions_of(roles: tuple[str, ...]) -> frozenset[str]:
    """Roles are additive: the union of their bundles."""
    return frozenset().union(*(ROLES[role] for role in roles))


def require(principal: Principal, permission: str) -> None:
    """Raises AUTHZ_PERMISSION_DENIED unless the caller holds the permission."""
    assert permission in PERMISSIONS, permission
    if permission not in principal.permissions:
        raise GatewayError(
            "AUTHZ_PERMISSION_DENIED",
            f"this needs the permission {permission}, which your roles ({', '.join(principal.roles) or 'none'}) lack",
        )


class Scope:
    """A slice of the tree partner → tenant → user; an empty member does not narrow."""

    __slots__ = ("partner_id", "tenant_id", "user_id")

    def __init__(self, partner_id: str = "", tenant_id: str = "", user_id: str = "") -> None:
        self.partner_id = partner_id
        self.tenant_id = tenant_id
        self.user_id = user_id

    def holds(self, partner_id: str, tenant_id: str, user_id: str) -> bool:
        return (
            (not self.partner_id or self.partner_id == partner_id)
            and (not self.tenant_id or self.tenant_id == tenant_id)
            and (not self.user_id or self.user_id == user_id)
        )


def accounting_scope(principal: Principal) -> Scope:
    """The widest slice whose usage this caller may see."""
    require(principal, "accounting:view_own")
    if "super_admin" in principal.roles:
        return Scope()
    if "accounting:view_partner" in principal.permissions:
        return Scope(principal.partner_id)
    if "accounting:view_tenant" in principal.permissions:
        return Scope(principal.partner_id, principal.tenant_id)
    return Scope(principal.partner_id, principal.tenant_id, principal.user_id)


def people_scope(principal: Principal) -> Scope:
    """The widest slice whose users and keys this caller may manage; without users:manage, himself."""
    scope = reach(principal, "see", "user")
    assert scope
    return scope


# -- who may do what to whom ------------------------------------------------------------------------------------------

Deed = Literal["see", "change"]
Thing = Literal["partner", "tenant", "user", "role", "key"]


@dataclass(frozen=True, slots=True)
class Rights:
    """What a user may do: built-in roles, and what custom roles and direct grants add to them."""

    roles: tuple[str, ...] = ()
    core: frozenset[str] = frozenset()
    module: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing and its place in the tree; `rights` are those that lie in it, or that it would get."""

    thing: Thing
    partner_id: str = ""
    tenant_id: str = ""
    user_id: str = ""
    rights: Rights = Rights()


def authorize(principal: Principal, deed: Deed, subject: Subject, missing: str) -> None:
    """The one decision over people: may this caller see this, or change it (make, alter, delete)?

    Raises NOT_FOUND with the message `missing` outside his scope, so that nobody learns what exists there, and
    AUTHZ_PERMISSION_DENIED for what he may look at only, or what holds more rights than he may give.
    """
    place = (subject.partner_id, subject.tenant_id, subject.user_id)
    seen = reach(principal, "see", subject.thing)
    if seen is None or not seen.holds(*place):
        raise GatewayError("NOT_FOUND", missing)
    if deed == "see":
        return
    changed = reach(principal, "change", subject.thing)
    if changed is None or not changed.holds(*place):
        raise GatewayError("AUTHZ_PERMISSION_DENIED", f"your roles do not allow changes to this {subject.thing}")
    if not may_give(principal, subject.rights):
        raise GatewayError(
            "AUTHZ_PERMISSION_DENIED", "this would touch or give more rights than your roles allow you to give"
        )


def reach(principal: Principal, deed: Deed, thing: Thing) -> Scope | None:
    """How much of the tree the caller may do this in; None: nowhere. Each role reaches as far as itself, no further."""
    if "super_admin" in principal.roles:
        return Scope()
    if "partner_admin" in principal.roles:
        return None if (deed, thing) == ("change", "partner") else Scope(principal.partner_id)
    if thing == "partner":
        return None
    tenant = Scope(principal.partner_id, principal.tenant_id)
    if thing == "tenant":
        return tenant if deed == "see" and "admin:access" in principal.permissions else None
    if "users:manage" in principal.permissions:
        return tenant
    if thing == "role" or (deed, thing) == ("change", "user"):
        return None
    return Scope(principal.partner_id, principal.tenant_id, principal.user_id)


_TENANT_ROLES = frozenset({"tenant_viewer", "tenant_user", "tenant_admin"})
_GIVES: dict[str, frozenset[str]] = {
    "super_admin": frozenset(ROLES),
    "partner_admin": frozenset(ROLES) - {"super_admin"},
    "tenant_admin": _TENANT_ROLES,
}
_ALL_MODULE_KEYS = frozenset(_GIVES)
"""Roles that hold every module permission without being given it (API reference, section 7.5)."""


def may_give(principal: Principal, rights: Rights) -> bool:
    """Nobody gives more than he holds. Who may give a role may also give the single permissions of it."""
    roles = _given_roles(principal)
    core = principal.permissions | permissions_of(tuple(roles))
    return (
        roles.issuperset(rights.roles)
        and rights.core <= core
        and all(holds_module_permission(principal, key) for key in rights.module)
    )


def _given_roles(principal: Principal) -> frozenset[str]:
    given = frozenset[str]().union(*(_GIVES.get(role, frozenset()) for role in principal.roles))
    if given:
        return given
    # tenant_admin is left out: with it come all module permissions, also those that a custom role does not hold.
    return frozenset(role for role in ("tenant_viewer", "tenant_user") if ROLES[role] <= principal.permissions)


# -- module permissions -----------------------------------------------------------------------------------------------

_MODULE_KEY = re.compile(r"[a-z][a-z0-9_-]{0,63}(:[a-z][a-z0-9_-]{0,63}){1,2}")


def holds_module_permission(principal: Principal, key: str) -> bool:
    return not _ALL_MODULE_KEYS.isdisjoint(principal.roles) or key in principal.module_permissions


def not_module_keys(keys: Iterable[str]) -> list[str]:
    """Those that are no `module:action` or `module:resource:action`; core permissions are none either."""
    return [key for key in keys if not _MODULE_KEY.fullmatch(key) or key in PERMISSIONS]
