"""Rate limits of one call: taken from key, user, tenant and partner together, given back when it ends."""

from __future__ import annotations

import math

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.limits import Limits
from appliance.pipeline.reserve import largest_answer
from appliance.state import State
from appliance.state.limiter import Limited, throttled

OPEN_CAP_TOKENS = 1_000
"""What an answer of open length counts in the token limits until it is known."""


def take_rates(exchange: Exchange, state: State) -> None:
    """Sets `grant`. Raises RATE_LIMITED with the seconds until the capacity really returns."""
    assert exchange.principal
    assert exchange.model
    wanted = limits_of(exchange, state)
    tokens = tokens_counted(exchange, wanted)
    try:
        exchange.grant = state.limiter.take(wanted, tokens, exchange.clock())
        exchange.rate_limit = exchange.grant.headers
    except Limited as limited:
        exchange.rate_limit = state.limiter.headers(wanted, exchange.clock())
        raise refusal(limited) from None


def tokens_counted(exchange: Exchange, wanted: list[tuple[str, Limits]]) -> int:
    """What the call counts until it is known what it used."""
    assert exchange.model
    if exchange.bound is not None:
        return exchange.operation.estimate(exchange, None).total_tokens
    cap = largest_answer(exchange.model, exchange.asked_cap)
    if exchange.asked_cap is None:
        # Our own guess must not be what makes the call too large for its limits.
        limits = [limits.tokens_per_minute for _, limits in wanted if limits.tokens_per_minute is not None]
        room = min(limits, default=OPEN_CAP_TOKENS + exchange.input_estimate) - exchange.input_estimate
        cap = max(0, min(cap, OPEN_CAP_TOKENS, room // exchange.n))
    return exchange.input_estimate + cap * exchange.n


def limits_of(exchange: Exchange, state: State) -> list[tuple[str, Limits]]:
    principal, grid = exchange.principal, exchange.grid
    assert principal
    tenant = grid.tenants[principal.tenant_id]
    key, user = f"key:{principal.key_id}", f"user:{principal.user_id}"
    wanted = [
        (key, grid.own_limits.get(key, tenant.key_limits)),
        (user, grid.own_limits.get(user, tenant.user_limits)),
        (f"tenant:{tenant.id}", tenant.limits),
        (f"partner:{tenant.partner_id}", tenant.partner_limits),
    ]
    if not state.ledger.any_throttles:
        return wanted
    now_ms = int(exchange.received_unix * 1000)
    groups = [subject for subject in principal.subjects if subject.startswith("group:")]
    # A group has no rate limits of its own: its throttle falls on the user who calls.
    also = {user: groups}
    return [
        (subject, throttled(limits) if state.ledger.throttled([subject, *also.get(subject, ())], now_ms) else limits)
        for subject, limits in wanted
    ]


def refusal(limited: Limited) -> GatewayError:
    what = {
        "requests": f"{limited.limit} requests a minute",
        "tokens": f"{limited.limit} tokens a minute",
        "concurrent": f"{limited.limit} requests at the same time",
    }[limited.kind]
    scope = limited.subject.partition(":")[0]
    if limited.kind == "tokens" and limited.retry_after_s is None:
        return GatewayError("RATE_LIMITED", f"the call is larger than the limit of the {scope}, {what}: it never fits")
    wait = 1.0 if limited.retry_after_s is None else max(1.0, math.ceil(limited.retry_after_s))
    return GatewayError("RATE_LIMITED", f"the limit of the {scope}, {what}, is reached", retry_after=wait)


def rate_headers(exchange: Exchange) -> dict[str, str]:
    """The three documented headers, for the tightest request limit of the call."""
    limit, remaining, reset_s = exchange.rate_limit
    if not limit:
        return {}
    return {
        "X-Scaigrid-Ratelimit-Limit": str(limit),
        "X-Scaigrid-Ratelimit-Remaining": str(remaining),
        "X-Scaigrid-Ratelimit-Reset": str(math.ceil(exchange.received_unix + reset_s)),
    }
