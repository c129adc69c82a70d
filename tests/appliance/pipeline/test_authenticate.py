"""The first step of the line: the credential becomes a Principal, or the call ends."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.authenticate import authenticate
from support.build import SECRET, make_exchange, make_state


def authenticated(credential: str | None) -> Exchange:
    exchange = make_exchange(credential=credential)
    exchange.principal = None
    authenticate(exchange, make_state())
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
