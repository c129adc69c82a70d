"""/v1/api-keys. Secrets are shown once, at creation, and kept nowhere."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso, unix_of
from appliance.api.members import listed, named
from appliance.api.users import find_user, subject_of
from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Key, User
from appliance.permissions import authorize, reach
from appliance.state.directory import digest_of

SECRET_BYTES = 32
NAME_LIMIT = 128


async def list_keys(call: Call) -> Page:
    """The caller's own keys; an administrator sees all keys of his scope (contract section 5)."""
    directory = call.state.directory
    scope = reach(call.principal, "see", "key")
    owners = (directory.users[key.user_id] for key in directory.keys.values())
    keys = (
        key
        for key, user in zip(directory.keys.values(), owners, strict=True)
        if scope and scope.holds(user.partner_id, user.tenant_id, user.id)
    )
    return listed(call, keys, key_view)


async def create_key(call: Call) -> dict[str, Any]:
    """`name` is required; `expires_at` and `assigned_user_id` are optional. Another user's key needs users:manage."""
    return await call.people.alone(call.principal, lambda: _create(call))


async def _create(call: Call) -> dict[str, Any]:
    body = call.body()
    unknown = sorted(set(body) - {"name", "expires_at", "assigned_user_id"})
    if unknown:
        raise invalid(unknown[0], "is not a member of this request; known are name, expires_at, assigned_user_id")
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > NAME_LIMIT or not name.isprintable():
        raise invalid("name", f"is required: a printable text of 1 to {NAME_LIMIT} characters")
    user = _owner(call, body.get("assigned_user_id"))
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
    return key_view(key) | {"key": secret}


async def revoke_key(call: Call) -> dict[str, Any]:
    """Takes effect at once, also for answers that are streaming now."""
    return await call.people.alone(call.principal, lambda: _revoke(call))


async def _revoke(call: Call) -> dict[str, Any]:
    directory = call.state.directory
    key_id = named(call, "key_id")
    key = directory.keys.get(key_id)
    missing = f"the API key {clipped(key_id)!r} does not exist"
    if key is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, "change", subject_of(call, directory.users[key.user_id], "key"), missing)
    if key.declared:
        raise GatewayError("DECLARED_IN_CONFIG", f"the key is declared in {key.declared}; remove it there")
    if key.revoked_unix is None:
        directory.revoke_key(key.id)  # first in memory: from here on nobody gets in, whatever the disk does
    await asyncio.wrap_future(call.state.store.save_key(key))  # also when an earlier attempt could not be saved
    return key_view(key)


def _owner(call: Call, wanted: Any) -> User:
    if wanted is None:
        return call.state.directory.users[call.principal.user_id]
    if not isinstance(wanted, str):
        raise invalid("assigned_user_id", "takes a user's id, such as acme:alice")
    try:
        return find_user(call, wanted, "change", "key")
    except GatewayError as error:
        if error.code == "NOT_FOUND":  # of the body, not of the URL
            raise invalid("assigned_user_id", error.message) from None
        raise


def _expiry(text: Any) -> float | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise invalid("expires_at", "takes an ISO 8601 time or null")
    unix = unix_of("expires_at", text)
    if unix <= time.time():
        raise invalid("expires_at", "lies in the past")
    return unix


def key_view(key: Key) -> dict[str, Any]:
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
