"""Grid: what the operator says, as frozen records with every name resolved. A request only looks things up in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from appliance.grid.prices import Price
from appliance.limits import Limits
from appliance.providers.base import Endpoint


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One backend model behind a routing policy. `backend` is `provider:upstream_model`."""

    backend: str
    endpoint: Endpoint
    upstream_model: str
    priority: int
    weight: int
    cost: Price
    enabled: bool
    lacks: frozenset[str] = frozenset()
    """Features that the backend model cannot do (providers/capabilities.py, and the operator's word)."""

    @property
    def usable(self) -> bool:
        return self.enabled and self.endpoint.unconfigured is None


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """`tiers` are the targets by priority, best first. `retries` counts further attempts over all targets."""

    name: str
    strategy: Literal["priority", "weighted"]
    tiers: tuple[tuple[Target, ...], ...]
    retries: int
    retry_on: frozenset[str]
    deadline_s: float

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for tier in self.tiers for target in tier)


@dataclass(frozen=True, slots=True, eq=False)
class FrontendModel:
    """The stable name callers ask for. Token limits are whole tokens, None where the operator does not say."""

    name: str
    display_name: str
    description: str
    modality: str
    context_window: int | None
    max_output_tokens: int | None
    price: Price
    default_params: Mapping[str, Any]
    system_prompt: str | None
    status: Literal["active", "deprecated", "disabled"]
    policy: Policy


@dataclass(frozen=True, slots=True, eq=False)
class Tenant:
    id: str
    partner_id: str
    display_name: str
    suspended: bool
    models: frozenset[str]
    """Names of the frontend models it may use; the globs of the YAML are resolved here."""
    partner_limits: Limits
    limits: Limits
    user_limits: Limits
    key_limits: Limits
    """What holds for each user and key that has no limits of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    generation: int
    hash: str
    endpoints: Mapping[str, Endpoint]
    models: Mapping[str, FrontendModel]
    tenants: Mapping[str, Tenant]
    own_limits: Mapping[str, Limits]
    """Of users and keys that have limits of their own, by subject (`user:acme:alice`)."""
    unauthenticated: Limits
    body_limit: int
    created_unix: int
