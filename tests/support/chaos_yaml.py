"""The appliance of a storm: three providers, a model for each way of routing, two tenants, budgets of every scope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

COOLDOWN_S = 0.6
KEYS = {"acme": "sgk_chaos-key-of-acme-0123456789abcdef", "beta": "sgk_chaos-key-of-beta-0123456789abcdef"}
DIALECTS = {"a": "openai", "b": "openai", "c": "anthropic"}
"""Provider → what it speaks."""
SECRETS = {name: f"sk-chaos-secret-of-{name}" for name in DIALECTS}
PRICE_NANO = {"input": 1_000_000, "cached": 500_000, "output": 2_000_000}
"""What a token costs the caller, as PRICE says it per million."""
PRICE = {"input": "1000", "cached_input": "500", "output": "2000"}
BUDGETS = 5
CONNECT_S, QUEUE_S = 1.0, 1.0


@dataclass(frozen=True)
class Size:
    """How long, how many callers at once; times grow with the crowd, for two cores serve all of it."""

    seconds: float
    callers: int

    @property
    def pace(self) -> float:
        return 1.0 if self.callers <= 50 else 2.0

    @property
    def first_byte_s(self) -> float:
        return 0.8 * self.pace

    @property
    def idle_s(self) -> float:
        return 0.6 * self.pace

    @property
    def total_s(self) -> float:
        return 4.0 * self.pace

    @property
    def deadline_s(self) -> float:
        return 3.0 * self.pace

    @property
    def lease_s(self) -> float:
        """So long one probe keeps others from trying."""
        return CONNECT_S + self.first_byte_s + QUEUE_S

    @property
    def places(self) -> int:
        """At one provider: enough when all three serve, too few when one alone does."""
        return max(6, self.callers // 3)


def written(urls: Sequence[str], size: Size) -> str:
    document = {
        "providers": {name: _provider(name, url, size) for name, url in zip(DIALECTS, urls, strict=True)},
        "models": _models(size),
        "partners": _partners(),
    }
    return yaml.safe_dump(document, sort_keys=False)


def _provider(name: str, url: str, size: Size) -> dict[str, Any]:
    limits = {"connect": CONNECT_S, "first_byte": size.first_byte_s, "idle": size.idle_s, "total": size.total_s}
    is_openai = DIALECTS[name] == "openai"
    return {
        "type": "custom" if is_openai else DIALECTS[name],
        "base_url": url + "/v1" if is_openai else url,
        "api_key": SECRETS[name],
        "timeouts": {limit: _ms(seconds) for limit, seconds in limits.items()},
        "max_connections": size.places,
        "queue": {"size": size.places * 2, "wait": _ms(QUEUE_S)},
    }


def _models(size: Size) -> dict[str, Any]:
    """Their attempts and habits stand in chaos_callers.MODELS too."""
    breaker = {"failures": 8, "window": "4s", "cooldown": _ms(COOLDOWN_S)}

    def model(*backends: str, **policy: Any) -> dict[str, Any]:
        targets = [{"backend": backend} for backend in backends or ("a:x", "b:x", "c:x")]
        usual = {"strategy": "weighted", "deadline": _ms(size.deadline_s), "circuit_breaker": breaker}
        return {"price": PRICE, "max_output_tokens": 60_000, "route": {"targets": targets, **usual, **policy}}

    hedge = {"percentile": 50, "min_delay": "30ms", "max_share": 0.5}
    return {
        "steady": model(),
        "once": model(retries=0),
        "twice": model(retries=1),
        "many": model(retries=4),
        "hedged": model(hedge=hedge),
        "sticky": model(sticky="conversation"),
        "quick": model(strategy="latency", explore=0.2),
        "stubborn": model(circuit_breaker="off"),
        "small": model("a:small", "b:small") | {"fallback": {"context_window": "steady"}},
        "strict": model("a:strict", "b:strict") | {"fallback": {"content_filter": "steady"}},
    }


def _partners() -> dict[str, Any]:
    off = {"requests_per_minute": "unlimited"}
    limits = {name: off for name in ("rate_limits", "user_rate_limits", "key_rate_limits")}
    budgets = [{"period": "total", "cost_limit": "1000000000"}]
    tenants = {
        name: {
            **limits,
            "weight": weight,
            "budgets": budgets,
            "users": {"u": {"budgets": budgets, "api_keys": [{"key": KEYS[name]}]}},
        }
        for name, weight in (("acme", 1), ("beta", 3))
    }
    return {
        "default": {"rate_limits": off},
        "p": {"rate_limits": off, "budgets": budgets, "tenants": tenants},
    }


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
