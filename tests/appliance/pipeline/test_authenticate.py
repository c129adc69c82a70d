"""The first step of the line: the credential becomes a Principal, or the call ends."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.pipeline.authenticate import authenticate
from support.build import make_exchange, make_state


def test_the_exchange_knows_who_calls() -> None:
    exchange, state = make_exchange(), make_state()
    exchange.principal = None
    authenticate(exchange, state)
    assert exchange.principal is not None
    assert exchange.principal.user_id == "acme:alice"


@pytest.mark.parametrize(("credential", "code"), [(None, "AUTH_TOKEN_MISSING"), ("sgk_other", "AUTH_TOKEN_INVALID")])
def test_without_a_known_key_nobody_calls(credential: str | None, code: str) -> None:
    exchange = make_exchange(credential=credential)
    exchange.principal = None
    with pytest.raises(GatewayError) as caught:
        authenticate(exchange, make_state())
    assert caught.value.code == code
    assert exchange.principal is None
