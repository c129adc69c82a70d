"""Credential → Principal: one digest, one lookup."""

from __future__ import annotations

from appliance.exchange import Exchange
from appliance.state import State


def authenticate(exchange: Exchange, state: State) -> None:
    """Raises AUTH_TOKEN_MISSING or AUTH_TOKEN_INVALID."""
    exchange.principal = state.directory.principal(exchange.credential)
