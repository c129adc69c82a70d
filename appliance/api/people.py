"""/v1/me, /v1/users, /v1/api-keys: people and their keys. Secrets are shown once, at creation, and kept nowhere."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any
from urllib.parse import unquote

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso, limit_of, unix_of
from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Key, User
from appliance.permissions import people_scope, permissions_of
from appliance.state.directory import digest_of

SECRET_BYTES = 32
NAME_LIMIT = 128


async def me(call: Call) -> dict[str, Any]:
    return _user(call.state.directory.users[call.principal.user_id]) | {"key_id": call.principal.key_id}


async def list_users(call: Call) -> Page:
    status = call.query.get("status")
    if status not in (None, "active", "suspended"):
        raise invalid("status", "takes active or suspended")
    after = call.query.get("cursor", "")
    users = [
        user
        for user in sorted(call.state.directory.users.values(), key=lambda user: user.id)
        if _may_see(call, user) and user.id > after and status in (None, user.status)
    ]
    limit = limit_of(call.query.get("limit"))
    page = users[:limit]
    return Page([_user(user) for user in page], page[-1].id if len(users) > limit else None)


async def get_user(call: Call) -> dict[str, Any]:
    return _user(_find_user(call, unquote(call.params["user_id"]), "NOT_FOUND"))


async def list_keys(call: Call) -> Page:
    """The caller's own keys; an administrator sees all keys of his scope (contract section 5)."""
    users = call.state.directory.users
    after = call.query.get("cursor", "")
    keys = [
        key
        for key in sorted(call.state.directory.keys.values(), key=lambda key: key.id)
        if _may_see(call, users[key.user_id]) and key.id > after
    ]
    limit = limit_of(call.query.get("limit"))
    page = keys[:limit]
    return Page([_key(key) for key in page], page[-1].id if len(keys) > limit else None)


async def create_key(call: Call) -> dict[str, Any]:
    """`name` is required; `expires_at` and `assigned_user_id` are optional. Another user's key needs users:manage."""
    body = call.body()
    unknown = sorted(set(body) - {"name", "expires_at", "assigned_user_id"})
    if unknown:
        raise invalid(unknown[0], "is not a member of this request; known are name, expires_at, assigned_user_id")
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        raise invalid("name", f"is required: a printable text of 1 to {NAME_LIMIT} characters")
    user = _key_owner(call, body.get("assigned_user_id"))
    secret = f"sgk_{secrets.token_urlsafe(SECRET_BYTES)}"
    key = Key(
        id=f"apikey_{secrets.token_hex(8)}",
        digest=digest_of(secret),
        user_id=user.id,
        name=name,
        prefix=secret[:8],
        created_unix=time.time(),
        expires_unix=_expiry(body.get("expires_at")),
    )
    await asyncio.wrap_future(call.state.store.save_key(key))
    call.state.directory.add_key(key)
    return _key(key) | {"key": secret}


async def revoke_key(call: Call) -> dict[str, Any]:
    """Takes effect at once, also for answers that are streaming now."""
    directory = call.state.directory
    key_id = unquote(call.params["key_id"])
    key = directory.keys.get(key_id)
    if key is None or not _may_see(call, directory.users[key.user_id]):
        raise GatewayError("NOT_FOUND", f"the API key {clipped(key_id)!r} does not exist")
    if key.declared:
        raise GatewayError("DECLARED_IN_CONFIG", f"the key is declared in {key.declared}; remove it there")
    if key.revoked_unix is None:
        directory.revoke_key(key.id)  # first in memory: from here on nobody gets in, whatever the disk does
    await asyncio.wrap_future(call.state.store.save_key(key))  # also when an earlier attempt could not be saved
    return _key(key)


def _may_see(call: Call, user: User) -> bool:
    return people_scope(call.principal).holds(user.partner_id, user.tenant_id, user.id)


def _find_user(call: Call, wanted: str, code: str) -> User:
    """By id (`tenant:user`), or by bare name inside the caller's own tenant."""
    users = call.state.directory.users
    user = users.get(wanted) or users.get(f"{call.principal.tenant_id}:{wanted}")
    if user is None or not _may_see(call, user):
        raise GatewayError(
            code, f"the user {wanted!r} does not exist", param="assigned_user_id" if code != "NOT_FOUND" else None
        )
    return user


def _key_owner(call: Call, wanted: Any) -> User:
    if wanted is None:
        return call.state.directory.users[call.principal.user_id]
    if not isinstance(wanted, str):
        raise invalid("assigned_user_id", "takes a user's id, such as acme:alice")
    user = _find_user(call, wanted, "VALIDATION_ERROR")
    # Whoever makes a key for another acts with that user's rights, so those must not exceed his own.
    if not permissions_of(user.roles) <= call.principal.permissions:
        raise GatewayError("AUTHZ_PERMISSION_DENIED", f"the user {user.id} has more rights than you")
    return user


def _expiry(text: Any) -> float | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise invalid("expires_at", "takes an ISO 8601 time or null")
    unix = unix_of("expires_at", text)
    if unix <= time.time():
        raise invalid("expires_at", "lies in the past")
    return unix


def _user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "name": user.name,
        "display_name": user.display_name or user.name,
        "email": user.email or None,
        "tenant_id": user.tenant_id,
        "partner_id": user.partner_id,
        "roles": list(user.roles),
        "permissions": sorted(permissions_of(user.roles)),
        "status": user.status,
        "declared_in": user.declared or None,
    }


def _key(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": key.prefix,
        "user_id": key.user_id,
        "scopes": [],
        "status": "revoked" if key.revoked_unix is not None else "active",
        "created_at": iso(key.created_unix or None),
        "expires_at": iso(key.expires_unix),
        "revoked_at": iso(key.revoked_unix),
        "declared_in": key.declared or None,
    }
