"""What serves of the people in the database, beside those of the YAML. Pure: the YAML wins, and says so.

An entry that the YAML also declares, or whose home (partner, tenant) is gone from it, stays in the database and is not
served. Its name stays taken, so that nobody inherits another's users and keys by choosing a name that was in use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from appliance.exchange import User
from appliance.people import CustomRole, Overlay, Partner, Person, Tenant


@dataclass(slots=True)
class Serving:
    """Partners and tenants are all there are, declared ones included; people and roles those made at run time."""

    partners: dict[str, Partner] = field(default_factory=dict)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    roles: dict[str, CustomRole] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def overlay(self) -> Overlay:
        return Overlay(dict(self.partners), dict(self.tenants), dict(self.people), dict(self.roles))


def merged(declared: Overlay, declared_users: Iterable[User], stored: Overlay) -> Serving:
    """`declared` is what grid.tenants.declared() reads out of the YAML."""
    serving = Serving(dict(declared.partners), dict(declared.tenants))
    for partner in stored.partners.values():
        if partner.status == "deleted":
            continue
        if partner.id in declared.partners:
            serving.warnings.append(
                _twice(f"the partner {partner.id}", declared.partners[partner.id].declared, partner)
            )
        else:
            serving.partners[partner.id] = partner
    moved = _merge_tenants(serving, declared, stored)
    _merge_people(serving, {user.id: user.declared for user in declared_users}, moved, stored)
    return serving


def _merge_tenants(serving: Serving, declared: Overlay, stored: Overlay) -> set[str]:
    """Returns the tenants that the YAML declares under another partner: the people of the database are not theirs."""
    moved: set[str] = set()
    for tenant in stored.tenants.values():
        if tenant.status == "deleted":
            continue
        known = declared.tenants.get(tenant.id)
        if known:
            serving.warnings.append(_twice(f"the tenant {tenant.id}", known.declared, tenant))
            if known.partner_id != tenant.partner_id:
                moved.add(tenant.id)
        elif tenant.partner_id not in serving.partners:
            serving.warnings.append(_homeless(f"the tenant {tenant.id}", f"the partner {tenant.partner_id}"))
        else:
            serving.tenants[tenant.id] = tenant
    return moved


def _merge_people(serving: Serving, declared_users: dict[str, str], moved: set[str], stored: Overlay) -> None:
    homes = set(serving.tenants) - moved
    for person in stored.people.values():
        if person.status == "deleted":
            continue
        if person.id in declared_users:
            serving.warnings.append(_twice(f"the user {person.id}", declared_users[person.id], person))
        elif person.tenant_id not in homes:
            serving.warnings.append(_homeless(f"the user {person.id}", f"the tenant {person.tenant_id}"))
        else:
            serving.people[person.id] = person
    for role in stored.roles.values():
        if role.tenant_id in homes:
            serving.roles[role.id] = role
        else:
            serving.warnings.append(_homeless(f"the custom role {role.id}", f"the tenant {role.tenant_id}"))


def _twice(what: str, declared: str, made: Partner | Tenant | Person) -> str:
    when = datetime.fromtimestamp(made.created_unix, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return (
        f"{declared}: {what} is declared here and was also made over the API ({when}, by {made.created_by}); "
        "the declaration counts, the entry of the database is left aside"
    )


def _homeless(what: str, home: str) -> str:
    return (
        f"{what} of the database is out of service: {home} that it belongs to is gone, or stands elsewhere in the YAML"
    )


def user_of(person: Person, partner_id: str) -> User:
    assert person.status != "deleted"
    return User(
        id=person.id,
        name=person.name,
        tenant_id=person.tenant_id,
        partner_id=partner_id,
        roles=person.roles,
        status=person.status,
        email=person.email,
        display_name=person.display_name,
        custom_role_ids=person.custom_role_ids,
        module_permissions=person.module_permissions,
        created_unix=person.created_unix,
    )
