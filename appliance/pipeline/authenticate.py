"""Credential → Principal: one digest, one lookup; and what ends a call whose key loses its access half-way."""

from __future__ import annotations

import asyncio

from appliance.errors import GatewayError
from appliance.exchange import Exchange, Principal
from appliance.grid.grid import Grid
from appliance.pipeline.rates import refusal
from appliance.state import State
from appliance.state.limiter import Limited


def authenticate(exchange: Exchange, state: State) -> None:
    """Raises AUTH_TOKEN_MISSING or AUTH_TOKEN_INVALID, and RATE_LIMITED for an address that keeps on guessing."""
    exchange.principal = principal_of(exchange.credential, exchange.ip, exchange.grid, state, exchange.clock())


def principal_of(credential: str | None, ip: str, grid: Grid, state: State, now: float) -> Principal:
    """The same for every URL: calls without a valid key are limited by address (API reference, section 8.4)."""
    try:
        return state.directory.principal(credential)
    except GatewayError:
        try:
            state.limiter.count(f"ip:{ip}", grid.unauthenticated, now)
        except Limited as limited:
            raise refusal(limited) from None
        raise


def end_when_cut_off(exchange: Exchange) -> None:
    """From here to the end of its task the call ends at once when the key is revoked or its owner suspended."""
    task, principal = asyncio.current_task(), exchange.principal
    assert task
    assert principal

    def end() -> None:
        if not exchange.cut_off:
            exchange.cut_off = True
            task.cancel()

    principal.running.add(end)
    exchange.on_end = lambda: principal.running.discard(end)


def cut_off(exchange: Exchange) -> GatewayError:
    """The cancellation was ours: the task goes on to tell its caller why."""
    task, principal = asyncio.current_task(), exchange.principal
    assert task
    assert principal
    task.uncancel()
    code, reason = principal.inactive or ("AUTH_TOKEN_INVALID", "access was cut")
    return GatewayError(code, f"the API key gives no access any more: {reason}")
