"""The way back: what every answer's head tells, and the last bytes, or the error that takes their place."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.reply import close, headers
from appliance.pipeline.run import run
from appliance.state import State
from support.build import (
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    failure,
    make_attempt,
    make_budget,
    make_exchange,
    make_grid,
    make_state,
)
from support.upstream import completion, text_stream

FOR_EVER = 60.0
GRID = make_grid(
    """
providers:
  one: {type: custom, base_url: "http://one.test/v1", api_key: secret-of-one, timeouts: {idle: 100ms}}
  claude: {type: anthropic, api_key: secret-of-claude}
models:
  m: {price: {input: "1.00", output: "2.00"}, route: [{backend: "one:a"}]}
  c: {price: {input: "1.00", output: "2.00"}, route: [{backend: "claude:claude-x"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""
)
BOTH = pytest.mark.parametrize("surface", ["native", "openai"])


def with_pieces(*pieces: bytes | float | Exception) -> State:
    return make_state(pools=FakePools(FakeUpstream(*pieces)))


async def answered(surface: str, state: State, **changes: Any) -> tuple[FakeClient, Exchange]:
    exchange = make_exchange(GRID, chat_body(**changes), surface=surface, clock=asyncio.get_running_loop().time)
    async with asyncio.timeout(5):
        await run(exchange, state)
    client = client_of(exchange)
    assert client.ended
    return client, exchange


def whole(**changes: Any) -> State:
    return with_pieces(json.dumps(completion("hello") | changes).encode())


# -- headers ----------------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_names_backend_and_attempts(surface: str, stream: bool) -> None:
    state = with_pieces(*text_stream("a")) if stream else whole()
    client, _ = await answered(surface, state, stream=stream)
    told = {name: value for name, value in client.headers.items() if "Ratelimit" not in name}
    assert told == {"X-Scaigrid-Backend": "one:a", "X-Scaigrid-Attempts": "1", "X-Scaigrid-Generation": "1"}


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_every_answer_tells_the_tightest_rate_limit(surface: str, stream: bool) -> None:
    state = with_pieces(*text_stream("a")) if stream else whole()
    client, exchange = await answered(surface, state, stream=stream)
    told = {name: int(value) for name, value in client.headers.items() if "Ratelimit" in name}
    assert exchange.rate_limit == (60, 59, told["X-Scaigrid-Ratelimit-Reset"] - int(exchange.received_unix) - 1)
    assert (told["X-Scaigrid-Ratelimit-Limit"], told["X-Scaigrid-Ratelimit-Remaining"]) == (60, 59)


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_clamped_answer_says_to_how_many_tokens(surface: str, stream: bool) -> None:
    pieces = text_stream("a") if stream else [json.dumps(completion("hello")).encode()]
    state = make_state(pools=FakePools(FakeUpstream(*pieces)), budgets=[make_budget(token_limit=3000)])
    client, exchange = await answered(surface, state, stream=stream)
    assert exchange.output_cap
    assert client.headers["X-Scaigrid-Budget-Clamped"] == str(exchange.output_cap)


async def test_a_cap_that_was_not_lowered_is_not_called_clamped() -> None:
    pieces = [json.dumps(completion("hello")).encode()]
    state = make_state(pools=FakePools(FakeUpstream(*pieces)), budgets=[make_budget(token_limit=10**6)])
    client, exchange = await answered("native", state)
    assert exchange.output_cap
    assert "X-Scaigrid-Budget-Clamped" not in client.headers


# -- close ------------------------------------------------------------------------------------------------------------


@BOTH
async def test_an_error_has_the_surface_s_body_and_retry_after(surface: str) -> None:
    exchange = make_exchange(GRID, surface=surface)
    exchange.error = GatewayError("BACKEND_RATE_LIMITED", "slow down", retry_after=2.2)
    await close(exchange, make_state())
    client = client_of(exchange)
    assert (client.status, client.headers) == (429, {"Retry-After": "3", "X-Scaigrid-Generation": "1"})
    error = client.json()["error"]
    assert error["message"] == "slow down"
    assert error["code"] == {"native": "BACKEND_RATE_LIMITED", "openai": "rate_limit_exceeded"}[surface]


def test_a_failed_call_names_the_last_backend_that_was_asked() -> None:
    exchange = make_exchange(GRID)
    assert headers(exchange) == {"X-Scaigrid-Generation": "1"}
    (target,) = GRID.models["m"].policy.targets
    exchange.attempts = [make_attempt(target, place, failure=failure("timeout")) for place in (1, 2)]
    assert headers(exchange) == {
        "X-Scaigrid-Backend": "one:a",
        "X-Scaigrid-Attempts": "2",
        "X-Scaigrid-Generation": "1",
    }


@BOTH
async def test_a_refusal_tells_the_rate_limit_too(surface: str) -> None:
    exchange = make_exchange(GRID, surface=surface)
    exchange.rate_limit = (60, 0, 17)
    exchange.error = GatewayError("RATE_LIMITED", "too many", retry_after=5)
    await close(exchange, make_state())
    assert client_of(exchange).headers == {
        "X-Scaigrid-Ratelimit-Limit": "60",
        "X-Scaigrid-Ratelimit-Remaining": "0",
        "X-Scaigrid-Ratelimit-Reset": "1700000018",
        "X-Scaigrid-Generation": "1",
        "Retry-After": "5",
    }
