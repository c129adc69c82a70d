"""Who may call, and how much: Partner, Tenant, Group, User, ApiKey."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from config.entry import Entry, Listed, Section
from config.limits import Budget, RateLimits
from config.problems import flaw
from config.scalars import Email, Moment, Name, Slug, setting

Role = Literal["tenant_viewer", "tenant_user", "tenant_admin", "partner_viewer", "partner_admin", "super_admin"]
Status = Literal["active", "suspended"]

DEFAULT = "default"
"""The partner and the tenant that exist without being declared."""

ADMIN = "admin"
"""The user of tenant `default` that exists without being declared, and may not be."""

_KEY = re.compile(r"sgk_[A-Za-z0-9_-]{16,252}")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def check_key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise flaw("this is no API key", "`sgk_` and at least 16 letters, digits, `_` or `-`")
    return text


def check_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise flaw("this is no SHA-256 digest", "64 hexadecimal digits: printf %s KEY | sha256sum")
    return text.lower()


Budgets = Listed[tuple[Budget, ...]]


class ApiKey(Entry):
    """A key of a user; exactly one of `key` and `sha256` is written."""

    name: Name = Field("key", description="what people call it")
    key: Annotated[str, AfterValidator(check_key)] | None = setting(
        None, "the whole key, best as a `${env:…}` or `${file:…}`", secret=True
    )
    sha256: Annotated[str, AfterValidator(check_sha256)] | None = setting(
        None, "the hexadecimal SHA-256 digest of the whole key, instead of the key", secret=True
    )
    expires_at: Moment | None = Field(None, description="the key stops working then; default: never")
    budgets: Budgets = setting([], "what may be used with this key")
    rate_limits: RateLimits | None = Field(None, description="default: what the tenant's `key_rate_limits` say")

    @model_validator(mode="after")
    def _has_one_form(self) -> ApiKey:
        if (self.key is None) == (self.sha256 is None):
            raise flaw("an API key is written as either `key` or `sha256`", "write exactly one of them")
        return self

    @property
    def digest(self) -> str:
        """The lower-case SHA-256 digest under which the key is looked up."""
        if self.sha256 is not None:
            return self.sha256
        assert self.key is not None
        return hashlib.sha256(self.key.encode()).hexdigest()


class User(Entry):
    """A person or a service, in exactly one tenant."""

    display_name: Name | None = Field(None, description="the name that people see")
    email: Email | None = Field(None, description="an e-mail address")
    status: Status = Field("active", description="a suspended user's keys are refused")
    roles: Listed[tuple[Role, ...]] = setting(["tenant_user"], "what the user may do")
    budgets: Budgets = setting([], "what this user may use, over all keys together")
    rate_limits: RateLimits | None = Field(None, description="default: what the tenant's `user_rate_limits` say")
    api_keys: Listed[tuple[ApiKey, ...]] = setting([], "the user's keys")


class Group(Entry):
    """Users of one tenant who share budgets; a user may be in several groups."""

    users: Listed[tuple[Slug, ...]] = setting([], "names of users of this tenant")
    budgets: Budgets = setting([], "what the group's users may use together")


class Tenant(Entry):
    """A customer: users, and the models they may use."""

    display_name: Name | None = Field(None, description="the name that people see")
    status: Status = Field("active", description="a suspended tenant's calls are refused")
    models: Listed[tuple[Name, ...]] = setting(["*"], "globs over model names that this tenant may use")
    rate_limits: RateLimits | None = Field(None, description="for all of the tenant's users together")
    user_rate_limits: RateLimits | None = Field(None, description="for each user, where the user's own say nothing")
    key_rate_limits: RateLimits | None = Field(None, description="for each key, where the key's own say nothing")
    budgets: Budgets = setting([], "what the tenant's users may use together")
    weight: int = Field(
        1, ge=1, le=1000, description="its share in a provider's queue: a tenant of weight 2 has twice as many turns"
    )
    users: Section[dict[Slug, User]] = setting({}, "users by name")
    groups: Section[dict[Slug, Group]] = setting({}, "groups of users by name")


class Partner(Entry):
    """A group of tenants, such as a reseller's."""

    display_name: Name | None = Field(None, description="the name that people see")
    rate_limits: RateLimits | None = Field(None, description="for all of the partner's tenants together")
    budgets: Budgets = setting([], "what the partner's tenants may use together")
    tenants: Section[dict[Slug, Tenant]] = setting(
        {}, "tenants by name; a tenant's name stands once in the whole configuration"
    )
