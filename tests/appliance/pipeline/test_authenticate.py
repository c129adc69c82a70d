"""The first step of the line: the credential becomes a Principal, or the call ends."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.authenticate import authenticate, principal_of
from appliance.state import State
from support.build import SECRET, Clock, make_exchange, make_grid, make_state


def authenticated(credential: str | None, state: State | None = None, ip: str = "192.0.2.1") -> Exchange:
    exchange = make_exchange(credential=credential, ip=ip)
    exchange.principal = None
    authenticate(exchange, state or make_state())
    return exchange


def test_the_exchange_knows_who_calls() -> None:
    principal = authenticated(SECRET).principal
    assert principal
    assert (principal.user_id, principal.tenant_id, principal.key_id) == ("acme:alice", "acme", "apikey_1")


@pytest.mark.parametrize(("credential", "code"), [(None, "AUTH_TOKEN_MISSING"), ("sgk_other", "AUTH_TOKEN_INVALID")])
def test_without_a_known_key_nobody_calls(credential: str | None, code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        authenticated(credential)
    assert caught.value.code == code


# -- who keeps on guessing --------------------------------------------------------------------------------------------


def refusals(state: State, count: int, credential: str | None = "sgk_guess", ip: str = "192.0.2.1") -> list[str]:
    """The error codes of so many calls in a row."""
    codes: list[str] = []
    for _ in range(count):
        with pytest.raises(GatewayError) as caught:
            authenticated(credential, state, ip)
        codes.append(caught.value.code)
    return codes


@pytest.mark.parametrize("credential", [None, "sgk_guess"])
def test_an_address_may_be_wrong_60_times_a_minute(credential: str | None) -> None:
    state = make_state()
    codes = refusals(state, 70, credential)
    assert "RATE_LIMITED" not in codes[:60]
    assert set(codes[60:]) == {"RATE_LIMITED"}


def test_other_addresses_are_not_made_to_pay() -> None:
    state = make_state()
    refusals(state, 70)
    assert refusals(state, 1, ip="192.0.2.2") == ["AUTH_TOKEN_INVALID"]


def test_who_has_a_key_is_let_in_from_any_address_and_counts_nowhere() -> None:
    state = make_state()
    refusals(state, 70)
    for _ in range(100):
        assert authenticated(SECRET, state).principal
    assert refusals(state, 1, ip="192.0.2.3") == ["AUTH_TOKEN_INVALID"]


def test_a_guesser_is_told_when_to_come_back_and_may_then() -> None:
    state, clock = make_state(), Clock()
    grid = make_grid()
    for _ in range(60):
        with pytest.raises(GatewayError, match="not known"):
            principal_of("sgk_guess", "192.0.2.1", grid, state, clock())
    with pytest.raises(GatewayError, match="60 requests a minute") as caught:
        principal_of("sgk_guess", "192.0.2.1", grid, state, clock())
    assert caught.value.retry_after
    clock.advance(caught.value.retry_after)
    with pytest.raises(GatewayError, match="not known"):
        principal_of("sgk_guess", "192.0.2.1", grid, state, clock())


def test_the_limit_may_be_switched_off() -> None:
    text = "server: {unauthenticated_rate_limits: {requests_per_minute: unlimited}}\nproviders: {p: {type: demo}}\n"
    state, grid = make_state(), make_grid(text)
    for _ in range(200):
        with pytest.raises(GatewayError, match="not known"):
            principal_of("sgk_guess", "192.0.2.1", grid, state, 1000.0)
