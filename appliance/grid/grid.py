"""Grid: what the operator says, as frozen records with every name resolved. A request only looks things up in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from appliance.grid.conditions import Condition
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
    when: Condition | None = None
    """The calls it is for; None: all."""

    @property
    def usable(self) -> bool:
        return self.enabled and self.endpoint.unconfigured is None


@dataclass(frozen=True, slots=True)
class Breaker:
    """So many failures within the window open the circuit of a target; after the cooldown one call probes it."""

    failures: int = 5
    window_s: float = 30.0
    cooldown_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a second target is asked beside the first: after this percentile of its own times to first token, not before
    `min_delay_s`, and for at most this share of the policy's calls."""

    percentile: int = 95
    min_delay_s: float = 0.2
    max_share: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """`tiers` are the targets by priority, best first. `retries` counts further attempts over all targets."""

    name: str
    strategy: Literal["priority", "weighted", "latency", "cost"]
    tiers: tuple[tuple[Target, ...], ...]
    retries: int
    retry_on: frozenset[str]
    deadline_s: float
    explore: float = 0.05
    """Share of calls that `latency` sends to another than the fastest."""
    sticky: Literal["none", "conversation", "user"] = "none"
    breaker: Breaker | None = Breaker()
    hedge: Hedge | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        return tuple(target for tier in self.tiers for target in tier)


@dataclass(frozen=True, slots=True)
class Fallback:
    """Names of the frontend models that take over calls which this one cannot serve; empty: none does."""

    context_window: str = ""
    content_filter: str = ""


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
    fallback: Fallback = Fallback()


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
    weight: int = 1
    """Its share of the turns in a provider's queue."""


@dataclass(frozen=True, slots=True)
class Queue:
    """How many calls run at a provider at once, how many may wait for that, and how long."""

    at_once: int
    size: int
    wait_s: float


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
    queues: Mapping[str, Queue] = field(default_factory=dict)
    """By provider."""
    probes: Mapping[str, float] = field(default_factory=dict)
    """Provider → seconds from one active probe to the next; those that are not probed are left out."""
