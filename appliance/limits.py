"""Records of what limits a subject: Limits (rates) and Budget (amounts per period). No behaviour.

A subject is `partner:NAME`, `tenant:NAME`, `group:TENANT:NAME`, `user:TENANT:NAME`, `key:ID` or `ip:ADDRESS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Period = Literal["daily", "weekly", "monthly", "total"]
HardAction = Literal["block", "notify", "throttle"]
Scope = Literal["partner", "tenant", "user", "group", "key"]


@dataclass(frozen=True, slots=True)
class Limits:
    """In 60 rolling seconds, and at the same time. None: not limited."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on one subject for a period; at least one of the three limits is set. `cost_limit` is in nano-USD.

    `soft_ppm` is the soft limit's share of the limit in millionths. `declared` is FILE:LINE of the YAML entry, empty
    for one that was made over the API.
    """

    id: str
    scope: Scope
    subject: str
    period: Period
    timezone: str = "UTC"
    cost_limit: int | None = None
    token_limit: int | None = None
    request_limit: int | None = None
    soft_ppm: int = 800_000
    hard_action: HardAction = "block"
    name: str = ""
    declared: str = ""

    def limits(self) -> tuple[tuple[str, int], ...]:
        pairs = (("cost", self.cost_limit), ("tokens", self.token_limit), ("requests", self.request_limit))
        return tuple((name, limit) for name, limit in pairs if limit is not None)
