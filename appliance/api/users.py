"""/v1/users and /v1/me: who there is, and what each may do. Users of the YAML can only be looked at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso
from appliance.api.members import Listing, Text, listed, named, read, status_of
from appliance.api.partners import refuse_declared
from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import User
from appliance.overlay import user_of
from appliance.people import ADMIN_USER_ID, Person
from appliance.permissions import (
    Deed,
    Rights,
    Subject,
    Thing,
    authorize,
    not_module_keys,
    people_scope,
    permissions_of,
)
from appliance.state.people import Change
from config import Role
from config.entry import Entry, Listed
from config.scalars import Email, Slug

Roles = Listed[Annotated[tuple[Role, ...], Listing]]


class NewUser(Entry):
    name: Slug
    tenant_id: str | None = None
    email: Email | None = None
    display_name: Text | None = None
    roles: Roles = ("tenant_user",)


class UserMembers(Entry):
    display_name: Text | None = None
    email: Email | None = None
    status: Literal["active", "suspended"] = "active"


class RoleMembers(Entry):
    roles: Roles = ()
    custom_role_ids: Listed[Annotated[tuple[Text, ...], Listing]] = ()


class PermissionMembers(Entry):
    permissions: Listed[Annotated[tuple[Text, ...], Listing]]


async def me(call: Call) -> dict[str, Any]:
    return user_view(call, call.state.directory.users[call.principal.user_id]) | {"key_id": call.principal.key_id}


async def list_users(call: Call) -> Page:
    scope, status = people_scope(call.principal), status_of(call)
    users = (
        user
        for user in call.state.directory.users.values()
        if scope.holds(user.partner_id, user.tenant_id, user.id) and status in (None, user.status)
    )
    return listed(call, users, lambda user: user_view(call, user))


async def get_user(call: Call) -> dict[str, Any]:
    return user_view(call, find_user(call, named(call, "user_id"), "see"))


async def create_user(call: Call) -> dict[str, Any]:
    """`tenant_id` is the caller's own unless sent, `roles` are `["tenant_user"]`. A name once used stays taken."""
    return await call.people.alone(call.principal, lambda: _create(call))


async def _create(call: Call) -> dict[str, Any]:
    members = read(call, NewUser)
    roles = tuple(dict.fromkeys(members.roles))
    tenant_id = home(call, "user", members.tenant_id, Rights(roles))
    user_id = f"{tenant_id}:{members.name}"
    call.people.refuse_taken_user(user_id)
    now = time.time()
    person = Person(
        id=user_id,
        tenant_id=tenant_id,
        name=members.name,
        email=members.email or "",
        display_name=members.display_name or "",
        roles=roles,
        created_unix=now,
        created_by=call.principal.user_id,
    )
    # Keys that an earlier user of the YAML left under this id must not come to life again.
    await call.people.save(Change(now, people=[person], without_keys=[user_id]))
    return user_view(call, call.state.directory.users[user_id])


async def update_user(call: Call) -> dict[str, Any]:
    """Applies the members that are sent. A user who is suspended loses access at once, running streams included."""
    return await call.people.alone(call.principal, lambda: _update(call))


async def _update(call: Call) -> dict[str, Any]:
    person = _changeable(call)
    members = read(call, UserMembers)
    sent = members.model_fields_set
    if "display_name" in sent:
        person = replace(person, display_name=members.display_name or "")
    if "email" in sent:
        person = replace(person, email=members.email or "")
    if "status" in sent:
        person = replace(person, status=members.status)
    return await _saved(call, person)


async def set_roles(call: Call) -> dict[str, Any]:
    """Replaces the built-in roles, the custom roles, or both: what is sent. Nobody gives more than he holds."""
    return await call.people.alone(call.principal, lambda: _set_roles(call))


async def _set_roles(call: Call) -> dict[str, Any]:
    person = _changeable(call)
    members = read(call, RoleMembers)
    if not members.model_fields_set:
        raise invalid("roles", "or custom_role_ids is required")
    if "roles" in members.model_fields_set:
        person = replace(person, roles=tuple(dict.fromkeys(members.roles)))
    if "custom_role_ids" in members.model_fields_set:
        person = replace(person, custom_role_ids=_known_roles(call, person.tenant_id, members.custom_role_ids))
    _may_become(call, person)
    return await _saved(call, person)


def _known_roles(call: Call, tenant_id: str, role_ids: Sequence[str]) -> tuple[str, ...]:
    for role_id in role_ids:
        role = call.people.serving.roles.get(role_id)
        if role is None or role.tenant_id != tenant_id:
            raise invalid("custom_role_ids", f"the tenant {tenant_id} has no custom role {clipped(role_id)!r}")
    return tuple(dict.fromkeys(role_ids))


async def get_module_permissions(call: Call) -> dict[str, Any]:
    """What was given to the user directly; roles may hold more."""
    user = find_user(call, named(call, "user_id"), "see")
    return {"user_id": user.id, "permissions": sorted(user.module_permissions)}


async def set_module_permissions(call: Call) -> dict[str, Any]:
    """Replaces the whole set. Keys have the form `module:action` or `module:resource:action`."""
    return await call.people.alone(call.principal, lambda: _set_module_permissions(call))


async def _set_module_permissions(call: Call) -> dict[str, Any]:
    person = _changeable(call)
    permissions = tuple(sorted(set(read(call, PermissionMembers).permissions)))
    check_module_keys("permissions", permissions)
    person = replace(person, module_permissions=permissions)
    _may_become(call, person)
    await _saved(call, person)
    return {"user_id": person.id, "permissions": list(permissions)}


def check_module_keys(field: str, keys: Sequence[str]) -> None:
    if wrong := not_module_keys(keys):
        raise invalid(field, f"{clipped(wrong[0])!r} is no module:action or module:resource:action")


async def delete_user(call: Call) -> dict[str, Any]:
    """His keys are revoked and his calls end at once. His usage stays, and so his name stays taken."""
    return await call.people.alone(call.principal, lambda: _delete(call))


async def _delete(call: Call) -> dict[str, Any]:
    person = _changeable(call)
    shown = user_view(call, call.state.directory.users[person.id])
    gone = replace(person, status="deleted")
    await call.people.save(Change(time.time(), people=[gone], without_keys=[person.id]))
    return shown | {"status": "deleted"}


# -- who is meant, and whether he may be changed ----------------------------------------------------------------------


def find_user(call: Call, wanted: str, deed: Deed, thing: Thing = "user") -> User:
    """By id (`tenant:user`), or by bare name inside the caller's own tenant."""
    users = call.state.directory.users
    user = users.get(wanted) or users.get(f"{call.principal.tenant_id}:{wanted}")
    missing = f"the user {clipped(wanted)!r} does not exist"
    if user is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, deed, subject_of(call, user, thing), missing)
    return user


def subject_of(call: Call, user: User, thing: Thing) -> Subject:
    """With the user's rights, so that nobody changes, or acts as, one who holds more than he does himself."""
    own = user.id == call.principal.user_id
    rights = Rights() if own else call.state.directory.rights(user)
    return Subject(thing, user.partner_id, user.tenant_id, user.id, rights)


def home(call: Call, thing: Thing, wanted: str | None, rights: Rights) -> str:
    """The tenant in which the caller makes something: his own, or another of his scope. Returns its id."""
    tenant_id = call.principal.tenant_id if wanted is None else wanted
    tenant = call.people.serving.tenants.get(tenant_id)
    missing = f"the tenant {clipped(tenant_id)!r} does not exist"
    if tenant is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, "change", Subject(thing, tenant.partner_id, tenant.id, rights=rights), missing)
    return tenant.id


def _changeable(call: Call) -> Person:
    user = find_user(call, named(call, "user_id"), "change")
    refuse_declared("user", user.id, user.declared)
    if user.id == ADMIN_USER_ID:
        raise GatewayError(
            "DECLARED_IN_CONFIG",
            f"the user {user.id} always exists, so that nobody is locked out, and cannot be changed over the API",
        )
    return call.people.serving.people[user.id]


def _may_become(call: Call, person: Person) -> None:
    tenant = call.people.serving.tenants[person.tenant_id]
    user = user_of(person, tenant.partner_id)
    rights = call.state.directory.rights(user)
    missing = f"the user {person.id} does not exist"
    authorize(call.principal, "change", Subject("user", user.partner_id, user.tenant_id, user.id, rights), missing)


async def _saved(call: Call, person: Person) -> dict[str, Any]:
    await call.people.save(Change(time.time(), people=[person]))
    return user_view(call, call.state.directory.users[person.id])


def user_view(call: Call, user: User) -> dict[str, Any]:
    rights = call.state.directory.rights(user)
    return {
        "id": user.id,
        "name": user.name,
        "display_name": user.display_name or user.name,
        "email": user.email or None,
        "tenant_id": user.tenant_id,
        "partner_id": user.partner_id,
        "roles": list(user.roles),
        "custom_role_ids": list(user.custom_role_ids),
        "permissions": sorted(permissions_of(user.roles) | rights.core),
        "module_permissions": sorted(rights.module),
        "status": user.status,
        "created_at": iso(user.created_unix or None),
        "declared_in": user.declared or None,
    }
