"""Who exists: users, keys and custom roles, from the YAML and the database; and the digest → Principal lookup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from appliance.errors import GatewayError
from appliance.exchange import Key, Principal, User
from appliance.people import CustomRole
from appliance.permissions import Rights, permissions_of


def digest_of(secret: str) -> str:
    """Lower-case hex SHA-256 of the whole key, as kept in the database and in the YAML's `sha256`.

    Keys carry at least 128 random bits, so a plain digest cannot be searched for; a slow hash would only be a way to
    stall the appliance.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is to exist next, worked out beside those who exist now. `Directory.adopt` puts it in force."""

    users: dict[str, User]
    keys: dict[str, Key]
    roles: dict[str, CustomRole]
    keys_of: dict[str, list[Key]]
    principals: dict[str, Principal]
    suspended: frozenset[str]
    changed: list[tuple[Principal, Principal]]
    """Principals that live on, each with what it is to become."""
    gone: list[Principal]


class Directory:
    """All of it in memory: authentication is one digest and one dict lookup, and revoking takes effect at once."""

    def __init__(self, now_unix: Callable[[], float]) -> None:
        self._now_unix = now_unix
        self.users: dict[str, User] = {}
        self.keys: dict[str, Key] = {}
        self.roles: dict[str, CustomRole] = {}
        self._keys_of: dict[str, list[Key]] = {}
        self._principals: dict[str, Principal] = {}
        self._suspended_tenants: frozenset[str] = frozenset()

    def declare(
        self,
        users: Iterable[User],
        keys: Iterable[Key],
        suspended_tenants: Iterable[str],
        roles: Iterable[CustomRole] = (),
    ) -> None:
        """Replaces everything known."""
        self.adopt(self.plan(users, keys, suspended_tenants, roles))

    def plan(
        self,
        users: Iterable[User],
        keys: Iterable[Key],
        suspended_tenants: Iterable[str],
        roles: Iterable[CustomRole] = (),
    ) -> Roster:
        """The long part of `declare`. A thread may run it, as long as nobody changes people meanwhile.

        A Principal lives on when its key does, so that running streams see its fate.
        """
        by_id = {user.id: user for user in users}
        roster = Roster(
            users=by_id,
            keys={key.id: key for key in keys if key.user_id in by_id},
            roles={role.id: role for role in roles},
            keys_of={},
            principals={},
            suspended=frozenset(suspended_tenants),
            changed=[],
            gone=[],
        )
        left = dict(self._principals)
        for key in roster.keys.values():
            user = by_id[key.user_id]
            roster.keys_of.setdefault(user.id, []).append(key)
            fresh = _principal(key, user, roster.roles, roster.suspended)
            known = left.get(key.digest)
            if known is None or not _same_identity(known, key, user):
                roster.principals[key.digest] = fresh
                continue
            del left[key.digest]
            roster.principals[key.digest] = known
            if any(getattr(known, name) != getattr(fresh, name) for name in _CHANGING):
                roster.changed.append((known, fresh))
        roster.gone.extend(left.values())
        return roster

    def adopt(self, roster: Roster) -> None:
        """Put it in force, on calls under way too."""
        self.users, self.keys, self.roles = roster.users, roster.keys, roster.roles
        self._keys_of, self._principals = roster.keys_of, roster.principals
        self._suspended_tenants = roster.suspended
        for principal, fresh in roster.changed:
            _become(principal, fresh)
        for principal in roster.gone:
            _cut(principal, ("AUTH_TOKEN_INVALID", "the key was removed or given to another user"))

    def _enter(self, key: Key, known: Principal | None = None) -> None:
        user = self.users[key.user_id]
        fresh = _principal(key, user, self.roles, self._suspended_tenants)
        if known:
            _become(known, fresh)
        self._principals[key.digest] = known or fresh

    def rights(self, user: User) -> Rights:
        """What the user may do: his built-in roles, and beside them what custom roles and direct grants add."""
        return _rights(user, self.roles)

    def custom_roles(self, user: User) -> tuple[str, ...]:
        """Slugs of the tenant's own roles that he bears."""
        return _slugs(user, self.roles)

    def principal(self, credential: str | None) -> Principal:
        """Raises AUTH_TOKEN_MISSING or AUTH_TOKEN_INVALID; the message never quotes the credential."""
        if not credential:
            raise GatewayError(
                "AUTH_TOKEN_MISSING", "no API key was sent; add the header `Authorization: Bearer sgk_…`"
            )
        principal = self._principals.get(digest_of(credential))
        if principal is None:
            raise GatewayError("AUTH_TOKEN_INVALID", "the API key is not known here")
        self.check(principal)
        return principal

    def check(self, principal: Principal) -> None:
        """Still allowed? Also asked while an answer streams."""
        if principal.inactive:
            code, reason = principal.inactive
            raise GatewayError(code, f"the API key gives no access: {reason}")
        if principal.expires_unix is not None and principal.expires_unix <= self._now_unix():
            raise GatewayError("AUTH_TOKEN_INVALID", "the API key has expired")

    # -- changes at run time: each takes effect at once, on calls under way too --

    def put_user(self, user: User) -> None:
        """A new user, or a known one changed."""
        self.users[user.id] = user
        for key in self._keys_of.get(user.id, ()):
            self._enter(key, self._principals[key.digest])

    def drop_user(self, user_id: str) -> None:
        del self.users[user_id]
        for key in self._keys_of.pop(user_id, ()):
            del self.keys[key.id]
            _cut(self._principals.pop(key.digest), ("AUTH_TOKEN_INVALID", "the user was deleted"))

    def put_role(self, role: CustomRole) -> None:
        self.roles[role.id] = role
        self._again(role.tenant_id)

    def drop_role(self, role_id: str) -> None:
        self._again(self.roles.pop(role_id).tenant_id)

    def suspend(self, tenant_id: str) -> None:
        self._suspended_tenants |= {tenant_id}
        self._again(tenant_id)

    def resume(self, tenant_id: str) -> None:
        self._suspended_tenants -= {tenant_id}
        self._again(tenant_id)

    def _again(self, tenant_id: str) -> None:
        for user in self.users.values():
            if user.tenant_id == tenant_id:
                self.put_user(user)

    def add_key(self, key: Key) -> None:
        assert key.id not in self.keys
        assert key.digest not in self._principals
        self.keys[key.id] = key
        self._keys_of.setdefault(key.user_id, []).append(key)
        self._enter(key)

    def revoke_key(self, key_id: str) -> None:
        key = self.keys[key_id]
        key.revoked_unix = self._now_unix()
        _cut(self._principals[key.digest], ("AUTH_TOKEN_INVALID", "the key was revoked"))


_CHANGING = (
    "roles",
    "custom_roles",
    "permissions",
    "module_permissions",
    "email",
    "groups",
    "subjects",
    "expires_unix",
    "inactive",
)
"""What may change while a Principal lives. `inactive` is set last: it ends the calls under way."""


def _principal(key: Key, user: User, roles: Mapping[str, CustomRole], suspended: frozenset[str]) -> Principal:
    rights = _rights(user, roles)
    return Principal(
        key_id=key.id,
        user_id=user.id,
        user=user.name,
        tenant_id=user.tenant_id,
        partner_id=user.partner_id,
        roles=user.roles,
        permissions=permissions_of(user.roles) | rights.core,
        email=user.email,
        expires_unix=key.expires_unix,
        groups=user.groups,
        custom_roles=_slugs(user, roles),
        subjects=_subjects(key, user),
        module_permissions=rights.module,
        inactive=_inactive(key, user, suspended),
    )


def _slugs(user: User, roles: Mapping[str, CustomRole]) -> tuple[str, ...]:
    return tuple(roles[role_id].slug for role_id in user.custom_role_ids if role_id in roles)


def _rights(user: User, roles: Mapping[str, CustomRole]) -> Rights:
    own = [roles[role_id] for role_id in user.custom_role_ids if role_id in roles]
    return Rights(
        user.roles,
        frozenset(permission for role in own for permission in role.core_permissions),
        frozenset(key for role in own for key in role.module_permissions).union(user.module_permissions),
    )


def _inactive(key: Key, user: User, suspended: frozenset[str]) -> tuple[str, str] | None:
    if key.revoked_unix is not None:
        return ("AUTH_TOKEN_INVALID", "the key was revoked")
    if user.status != "active":
        return ("AUTHZ_PERMISSION_DENIED", "the user is suspended")
    # Platform operators live in a tenant too; its suspension must not lock out those who could lift it.
    if user.tenant_id in suspended and "super_admin" not in user.roles:
        return ("AUTHZ_PERMISSION_DENIED", f"the tenant {user.tenant_id} is suspended")
    return None


def _become(principal: Principal, fresh: Principal) -> None:
    for name in _CHANGING[:-1]:
        setattr(principal, name, getattr(fresh, name))
    _cut(principal, fresh.inactive)


def _cut(principal: Principal, reason: tuple[str, str] | None) -> None:
    """Set why the key gives no access, if it does not; calls under way end at once."""
    principal.inactive = reason
    if reason:
        for end in tuple(principal.running):
            end()


def _subjects(key: Key, user: User) -> tuple[str, ...]:
    groups = (f"group:{user.tenant_id}:{group}" for group in user.groups)
    return (f"partner:{user.partner_id}", f"tenant:{user.tenant_id}", *groups, f"user:{user.id}", f"key:{key.id}")


def _same_identity(principal: Principal, key: Key, user: User) -> bool:
    """Whose calls they are. A Principal whose identity changed must not book under the new name half-way."""
    return (principal.key_id, principal.user_id, principal.tenant_id, principal.partner_id) == (
        key.id,
        user.id,
        user.tenant_id,
        user.partner_id,
    )
