"""What asking for a list of models comes to; the families of providers are asked in tests/appliance/api/test_providers.

Each way to fail has the kind that a call would have failed with, for the breaker counts by kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from appliance.providers.base import Endpoint
from appliance.state import State
from appliance.state.pools import Pools
from appliance.upstream_list import Answer, NoAnswer, ask_for_models
from support.appliance import free_port
from support.build import make_grid, make_state
from support.upstream import Call, Upstream

KEY = "upstream-key-0123456789"
TOKEN = "short-lived-token-0123456789"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
async def state() -> AsyncIterator[State]:
    pools = Pools()
    yield make_state(pools=cast(Any, pools))
    await pools.close()


def custom(upstream: Upstream, more: str = "") -> Endpoint:
    return endpoint_of(f"type: custom, base_url: '{upstream.url}/v1', api_key: {KEY}{more}")


def entra(upstream: Upstream) -> Endpoint:
    credential = f"{{tenant_id: t, client_id: c, client_secret: entra-secret-0123, authority: '{upstream.url}'}}"
    return endpoint_of(f"type: azure, base_url: '{upstream.url}', entra: {credential}")


def endpoint_of(entry: str) -> Endpoint:
    text = f'providers: {{up: {{{entry}}}}}\nmodels: {{m: {{price: free, route: [{{backend: "up:a"}}]}}}}\n'
    return make_grid(text).endpoints["up"]


async def ask(endpoint: Endpoint, state: State, within_s: float = 5.0, limit_bytes: int = 1000) -> Answer:
    async with asyncio.timeout(10):
        return await ask_for_models(endpoint, state, within_s, limit_bytes)


async def refused(endpoint: Endpoint, state: State, within_s: float = 5.0) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught:
        await ask(endpoint, state, within_s)
    assert "provider up" in caught.value.message
    assert KEY not in caught.value.message
    return caught.value


@pytest.mark.parametrize("status", [200, 301, 404, 503])
async def test_an_answer_of_any_status_is_an_answer(upstream: Upstream, state: State, status: int) -> None:
    upstream.answer(lambda call: call.reply(status, b"{}", {"X-A": "b"}))
    answer = await ask(custom(upstream), state)
    assert (answer.status, answer.headers["X-A"], answer.body) == (status, "b", b"{}")


async def test_it_asks_with_the_headers_of_the_provider(upstream: Upstream, state: State) -> None:
    await ask(custom(upstream, ", headers: {X-Team: gateway}"), state)
    assert upstream.calls[0].path == "/v1/models"
    assert upstream.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert upstream.calls[0].headers["x-team"] == "gateway"


async def test_no_more_is_read_than_was_asked_for(upstream: Upstream, state: State) -> None:
    async def script(call: Call) -> None:
        await call.start_stream("application/json")
        while not call.hung_up:
            await call.chunk(b"[" * 500)

    upstream.answer(script)
    answer = await ask(custom(upstream), state, limit_bytes=100_000)
    assert 100_000 < len(answer.body) < 1_000_000


async def test_nobody_there(upstream: Upstream, state: State) -> None:
    endpoint = endpoint_of(f"type: custom, base_url: 'http://127.0.0.1:{free_port()}/v1', api_key: {KEY}")
    error = await refused(endpoint, state)
    assert error.kind == "connect"
    assert "could not be asked" in error.message


async def test_a_connection_that_breaks_before_an_answer(upstream: Upstream, state: State) -> None:
    upstream.answer(Call.cut)
    assert (await refused(custom(upstream), state)).kind == "connect"


async def test_a_list_that_breaks_off(upstream: Upstream, state: State) -> None:
    async def script(call: Call) -> None:
        await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data": []}')
        await asyncio.sleep(0.02)
        call.cut()

    upstream.answer(script)
    assert (await refused(custom(upstream), state)).kind == "server_error"


async def test_who_is_silent(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.until_hung_up(5))
    error = await refused(custom(upstream), state, within_s=0.1)
    assert (error.kind, error.message) == ("timeout", "provider up gave no list within 0.1 s")


async def test_a_list_that_stalls(upstream: Upstream, state: State) -> None:
    async def script(call: Call) -> None:
        await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data"')
        await call.until_hung_up(5)

    upstream.answer(script)
    assert (await refused(custom(upstream), state, within_s=0.1)).kind == "timeout"


@pytest.mark.parametrize("ending", ["stalls", "breaks off"])
async def test_a_refusal_counts_whatever_becomes_of_its_text(
    upstream: Upstream, state: State, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.upstream_list.ERROR_BODY_S", 0.1)

    async def script(call: Call) -> None:
        await call.raw(b"HTTP/1.1 404 Nope\r\nContent-Length: 100\r\n\r\nno such")
        await asyncio.sleep(0.02)
        if ending == "breaks off":
            call.cut()
        else:
            await call.until_hung_up(5)

    upstream.answer(script)
    answer = await ask(custom(upstream), state)
    assert (answer.status, answer.body) == (404, b"no such")


# -- tokens -----------------------------------------------------------------------------------------------------------


def tokens_then(status: int, body: Any) -> Any:
    async def script(call: Call) -> None:
        if "token" in call.path:
            await call.reply(200, {"access_token": TOKEN, "expires_in": 3600})
        else:
            await call.reply(status, body)

    return script


async def test_a_token_is_sent_kept_and_scrubbed(upstream: Upstream, state: State) -> None:
    upstream.answer(tokens_then(200, {"data": []}))
    for _ in range(2):
        answer = await ask(entra(upstream), state)
    assert ["token" in call.path for call in upstream.calls] == [True, False, False]
    assert upstream.calls[-1].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in answer.endpoint.scrub(f"you sent {TOKEN}")


async def test_the_token_takes_the_place_of_a_header_of_that_name(upstream: Upstream, state: State) -> None:
    """Which of two would count, nobody knows."""
    credential = f"{{tenant_id: t, client_id: c, client_secret: entra-secret-0123, authority: '{upstream.url}'}}"
    entry = f"type: azure, base_url: '{upstream.url}', entra: {credential}, headers: {{authorization: Bearer old}}"
    upstream.answer(tokens_then(200, {"data": []}))
    await ask(endpoint_of(entry), state)
    assert upstream.calls[-1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_token_that_was_refused_is_not_used_again(upstream: Upstream, state: State) -> None:
    upstream.answer(tokens_then(401, {"error": {"message": "who is this?"}}))
    for _ in range(2):
        assert (await ask(entra(upstream), state)).status == 401
    assert ["token" in call.path for call in upstream.calls] == [True, False, True, False]


async def test_who_gives_no_token_is_the_operator_s_matter(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.reply(401, {"error": "invalid_client"}))
    assert (await refused(entra(upstream), state)).kind == "operator"
    assert len(upstream.calls) == 1


async def test_a_token_endpoint_that_is_away_is_no_connection(upstream: Upstream, state: State) -> None:
    upstream.answer(Call.cut)
    assert (await refused(entra(upstream), state)).kind == "connect"


async def test_the_wait_for_a_token_counts_too(upstream: Upstream, state: State) -> None:
    upstream.answer(lambda call: call.until_hung_up(5))
    assert (await refused(entra(upstream), state, within_s=0.1)).kind == "timeout"
