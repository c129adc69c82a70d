"""Who exists: users, keys and custom roles, from the YAML and the database; and the digest → Principal lookup."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

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
        """Replaces everything known. A Principal lives on when its key does, so that running streams see its fate."""
        self.users = {user.id: user for user in users}
        self.keys = {key.id: key for key in keys if key.user_id in self.users}
        self.roles = {role.id: role for role in roles}
        self._suspended_tenants = frozenset(suspended_tenants)
        self._keys_of = {}
        old, self._principals = self._principals, {}
        for key in self.keys.values():
            self._keys_of.setdefault(key.user_id, []).append(key)
            known = old.get(key.digest)
            if known and _same_identity(known, key, self.users[key.user_id]):
                del old[key.digest]
                self._enter(key, known)
            else:
                self._enter(key)
        for principal in old.values():
            _cut(principal, ("AUTH_TOKEN_INVALID", "the key was removed or given to another user"))

    def _enter(self, key: Key, known: Principal | None = None) -> None:
        user = self.users[key.user_id]
        principal = known or Principal(key.id, user.id, user.name, user.tenant_id, user.partner_id, (), frozenset())
        principal.roles = user.roles
        rights = self.rights(user)
        principal.permissions = permissions_of(user.roles) | rights.core
        principal.module_permissions = rights.module
        principal.email = user.email
        principal.groups = user.groups
        principal.subjects = _subjects(key, user)
        principal.expires_unix = key.expires_unix
        self._principals[key.digest] = principal
        _cut(principal, self._inactive(key, user))

    def rights(self, user: User) -> Rights:
        """What the user may do: his built-in roles, and beside them what custom roles and direct grants add."""
        roles = [self.roles[role_id] for role_id in user.custom_role_ids if role_id in self.roles]
        return Rights(
            user.roles,
            frozenset(permission for role in roles for permission in role.core_permissions),
            frozenset(key for role in roles for key in role.module_permissions).union(user.module_permissions),
        )

    def _inactive(self, key: Key, user: User) -> tuple[str, str] | None:
        if key.revoked_unix is not None:
            return ("AUTH_TOKEN_INVALID", "the key was revoked")
        if user.status != "active":
            return ("AUTHZ_PERMISSION_DENIED", "the user is suspended")
        # Platform operators live in a tenant too; its suspension must not lock out those who could lift it.
        if user.tenant_id in self._suspended_tenants and "super_admin" not in user.roles:
            return ("AUTHZ_PERMISSION_DENIED", f"the tenant {user.tenant_id} is suspended")
        return None

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
