"""Records of people and what they belong to: Partner, Tenant, Person, CustomRole; and Overlay, all of them.

They hold what was written, in the YAML or over the API; what follows from it is worked out in grid/tenants.py (limits,
models) and state/directory.py (permissions). No behaviour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rates = Mapping[str, int | str]
"""The written members of a `rate_limits`; `unlimited` switches one off, and what is not written has its default."""

DEFAULT = "default"
"""The partner and the tenant that always exist (contract section 1)."""

ADMIN_USER_ID = f"{DEFAULT}:admin"


@dataclass(frozen=True, slots=True)
class Partner:
    """`declared` is FILE:LINE of the YAML entry, empty for one made over the API; here and below."""

    id: str
    display_name: str = ""
    rate_limits: Rates = field(default_factory=dict)
    status: Literal["active", "deleted"] = "active"
    created_unix: float = 0.0
    created_by: str = ""
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Tenant:
    """`models` are globs over the names of frontend models."""

    id: str
    partner_id: str
    display_name: str = ""
    status: Literal["active", "suspended", "deleted"] = "active"
    models: tuple[str, ...] = ("*",)
    rate_limits: Rates = field(default_factory=dict)
    user_rate_limits: Rates = field(default_factory=dict)
    key_rate_limits: Rates = field(default_factory=dict)
    created_unix: float = 0.0
    created_by: str = ""
    declared: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """A user that was made over the API. His partner is his tenant's."""

    id: str
    tenant_id: str
    name: str
    email: str = ""
    display_name: str = ""
    status: Literal["active", "suspended", "deleted"] = "active"
    roles: tuple[str, ...] = ()
    custom_role_ids: tuple[str, ...] = ()
    module_permissions: tuple[str, ...] = ()
    created_unix: float = 0.0
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class CustomRole:
    """A named set of permissions that users of one tenant may be given."""

    id: str
    tenant_id: str
    name: str
    slug: str
    description: str = ""
    core_permissions: tuple[str, ...] = ()
    module_permissions: tuple[str, ...] = ()
    created_by: str = ""
    created_unix: float = 0.0
    updated_unix: float = 0.0


@dataclass(frozen=True, slots=True)
class Overlay:
    """What the database says beside the YAML, by id."""

    partners: Mapping[str, Partner] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    people: Mapping[str, Person] = field(default_factory=dict)
    roles: Mapping[str, CustomRole] = field(default_factory=dict)
