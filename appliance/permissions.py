"""The permission table, the six built-in roles, and the scopes: how far up the tree may this caller see?

Names and bundles are those of sections 7.2 and 7.3 of the API reference. Where the reference is silent or contradicts
itself (its section 11, 17) the choice is written beside the line.
"""

from __future__ import annotations

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
    if "super_admin" in principal.roles:
        return Scope()
    if "users:manage" in principal.permissions:
        if "partner_admin" in principal.roles:  # a partner_viewer's reach is for looking, not for managing
            return Scope(principal.partner_id)
        return Scope(principal.partner_id, principal.tenant_id)
    return Scope(principal.partner_id, principal.tenant_id, principal.user_id)
