"""What routing may know of a call and of how backends fare: exchange and state in the words of the strategies."""

from __future__ import annotations

from appliance.exchange import Exchange
from appliance.grid.conditions import Facts, expected_output
from appliance.grid.sticky import sticky_key
from appliance.state.health import Health


def facts_of(exchange: Exchange) -> Facts:
    """After admission."""
    assert exchange.principal and exchange.model
    principal, metadata = exchange.principal, exchange.metadata or {}
    members = exchange.members
    sticky = exchange.model.policy.sticky
    return Facts(
        partner=principal.partner_id,
        tenant=principal.tenant_id,
        user=principal.user,
        roles=(*principal.roles, *principal.custom_roles),
        groups=principal.groups,
        metadata=metadata,
        input_tokens=exchange.input_estimate,
        output_tokens=expected_output(exchange.asked_cap, exchange.n),
        usage=exchange.bound,
        needs=exchange.needs,
        sticky_key=sticky_key(sticky, principal.tenant_id, principal.user_id, metadata, members),
    )


class Measured:
    """What was measured of backends, for the strategies. Only streamed calls have a first token; where none was
    streamed, the whole time counts."""

    __slots__ = ("_health",)

    def __init__(self, health: Health) -> None:
        self._health = health

    def ttft_s(self, backend: str, percentile: int, now: float) -> float | None:
        latency = self._health.latency(backend)
        first = latency.first_token.percentile(percentile / 100, now)
        return first if first is not None else latency.total.percentile(percentile / 100, now)

    def in_flight(self, backend: str) -> int:
        return self._health.in_flight(backend)
