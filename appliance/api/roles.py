"""/v1/iam/custom-roles: named sets of permissions of one tenant, given to its users beside the built-in roles."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace
from typing import Annotated, Any

from appliance.api.accept import Call
from appliance.api.envelope import Page, iso
from appliance.api.members import Listing, Text, listed, named, read
from appliance.api.users import check_module_keys, home
from appliance.errors import GatewayError, clipped, invalid
from appliance.people import CustomRole
from appliance.permissions import PERMISSIONS, ROLES, Deed, Rights, Subject, authorize, reach
from appliance.state.people import Change
from config.entry import Entry, Listed
from config.scalars import Slug

Keys = Listed[Annotated[tuple[Text, ...], Listing]]

_NOT_IN_SLUGS = re.compile(r"[^a-z0-9]+")


class RoleMembers(Entry):
    name: Text = "role"
    slug: Slug | None = None
    description: Text | None = None
    core_permissions: Keys = ()
    module_permissions: Keys = ()


class NewRole(RoleMembers):
    name: Text
    tenant_id: str | None = None


async def list_roles(call: Call) -> Page:
    scope = reach(call.principal, "see", "role")
    return listed(call, (role for role in call.people.serving.roles.values() if scope and _in(call, role)), role_view)


def _in(call: Call, role: CustomRole) -> bool:
    scope = reach(call.principal, "see", "role")
    partner_id = call.people.serving.tenants[role.tenant_id].partner_id
    return scope is not None and scope.holds(partner_id, role.tenant_id, "")


async def get_role(call: Call) -> dict[str, Any]:
    return role_view(_find(call, "see"))


async def create_role(call: Call) -> dict[str, Any]:
    """`name` is required; `slug` is made of it unless sent; `tenant_id` is the caller's own.

    The permissions must exist, and the caller must hold them or be able to give a built-in role that does.
    """
    return await call.people.alone(call.principal, lambda: _create(call))


async def _create(call: Call) -> dict[str, Any]:
    members = read(call, NewRole)
    now = time.time()
    role = CustomRole(
        id=f"role_{secrets.token_hex(8)}",
        tenant_id="",
        name=members.name,
        slug=members.slug or _slug_of(members.name),
        description=members.description or "",
        core_permissions=tuple(sorted(set(members.core_permissions))),
        module_permissions=tuple(sorted(set(members.module_permissions))),
        created_by=call.principal.user_id,
        created_unix=now,
        updated_unix=now,
    )
    role = replace(role, tenant_id=home(call, "role", members.tenant_id, Rights()))
    return await _checked_and_saved(call, role)


def _slug_of(name: str) -> str:
    slug = _NOT_IN_SLUGS.sub("-", name.lower()).strip("-")[:64].rstrip("-")
    if not slug:
        raise invalid("slug", "is required when the name has no letters a-z or digits to make it of")
    return slug


async def update_role(call: Call) -> dict[str, Any]:
    """Applies the members that are sent; whoever has the role has it as it is now, at once."""
    return await call.people.alone(call.principal, lambda: _update(call))


async def _update(call: Call) -> dict[str, Any]:
    role = _find(call, "change")
    members = read(call, RoleMembers)
    sent = members.model_fields_set
    if "name" in sent:
        role = replace(role, name=members.name)
    if "slug" in sent:
        role = replace(role, slug=members.slug or _slug_of(role.name))
    if "description" in sent:
        role = replace(role, description=members.description or "")
    if "core_permissions" in sent:
        role = replace(role, core_permissions=tuple(sorted(set(members.core_permissions))))
    if "module_permissions" in sent:
        role = replace(role, module_permissions=tuple(sorted(set(members.module_permissions))))
    return await _checked_and_saved(call, replace(role, updated_unix=time.time()))


async def _checked_and_saved(call: Call, role: CustomRole) -> dict[str, Any]:
    for permission in role.core_permissions:
        if permission not in PERMISSIONS:
            raise invalid("core_permissions", f"there is no permission {clipped(permission)!r}")
    check_module_keys("module_permissions", role.module_permissions)
    authorize(call.principal, "change", _subject(call, role), "the custom role does not exist")
    if role.slug in ROLES:
        raise GatewayError("SLUG_CONFLICT", f"{role.slug!r} is the name of a built-in role", param="slug")
    call.people.refuse_taken_role(role.tenant_id, role.slug, but=role.id)
    await call.people.save(Change(role.updated_unix, roles=[role]))
    return role_view(role)


async def delete_role(call: Call) -> dict[str, Any]:
    """It is taken from all who have it, at once."""
    return await call.people.alone(call.principal, lambda: _delete(call))


async def _delete(call: Call) -> dict[str, Any]:
    role = _find(call, "change")
    holders = [
        replace(person, custom_role_ids=tuple(each for each in person.custom_role_ids if each != role.id))
        for person in call.people.serving.people.values()
        if role.id in person.custom_role_ids
    ]
    await call.people.save(Change(time.time(), people=holders, dropped_roles=[role.id]))
    return role_view(role)


def _find(call: Call, deed: Deed) -> CustomRole:
    role_id = named(call, "role_id")
    role = call.people.serving.roles.get(role_id)
    missing = f"the custom role {clipped(role_id)!r} does not exist"
    if role is None:
        raise GatewayError("NOT_FOUND", missing)
    authorize(call.principal, deed, _subject(call, role), missing)
    return role


def _subject(call: Call, role: CustomRole) -> Subject:
    partner_id = call.people.serving.tenants[role.tenant_id].partner_id
    rights = Rights((), frozenset(role.core_permissions), frozenset(role.module_permissions))
    return Subject("role", partner_id, role.tenant_id, rights=rights)


def role_view(role: CustomRole) -> dict[str, Any]:
    return {
        "id": role.id,
        "tenant_id": role.tenant_id,
        "name": role.name,
        "slug": role.slug,
        "description": role.description,
        "core_permissions": list(role.core_permissions),
        "module_permissions": list(role.module_permissions),
        "created_by": role.created_by,
        "created_at": iso(role.created_unix),
        "updated_at": iso(role.updated_unix),
    }
