"""Large bodies one at a time, small ones past them; whatever happens inside, the turn goes on to the next."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange
from appliance.pipeline import turns
from appliance.pipeline.admit import admit
from appliance.pipeline.operations.chat import Chat
from appliance.pipeline.turns import LARGE_BODY_BYTES, admit_in_turn, translate_in_turn
from appliance.state import State
from support.build import chat_body, make_exchange, make_principal, make_state
from support.operations import GRID


def exchange_of(*, large: bool, **changes: Any) -> Exchange:
    text = "x" * (LARGE_BODY_BYTES if large else 1)
    return make_exchange(body=chat_body(messages=[{"role": "user", "content": text}], **changes))


def attempt_of(exchange: Exchange) -> Attempt:
    assert exchange.model
    return Attempt(1, exchange.model.policy.targets[0])


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was admitted, in order, with what else the loop did in between."""
    seen: list[str] = []

    def admit_and_note(exchange: Exchange, state: State) -> None:
        admit(exchange, state)
        seen.append("large" if len(exchange.body) >= LARGE_BODY_BYTES else "small")

    monkeypatch.setattr(turns, "admit", admit_and_note)
    return seen


async def test_others_are_served_between_two_large_bodies(order: list[str]) -> None:
    state = make_state()

    async def somebody_else() -> None:
        for _ in range(30):
            order.append("else")
            await asyncio.sleep(0)

    large = [admit_in_turn(exchange_of(large=True), state) for _ in range(3)]
    await asyncio.gather(*large, somebody_else())
    assert order.count("large") == 3
    assert all(pair != ("large", "large") for pair in itertools.pairwise(order)), order


async def test_a_small_body_waits_for_nobody(order: list[str]) -> None:
    state = make_state()
    async with state.large:
        waiting = asyncio.ensure_future(admit_in_turn(exchange_of(large=True), state))
        await asyncio.sleep(0)
        small = exchange_of(large=False)
        await admit_in_turn(small, state)
        assert await translate_in_turn(small, attempt_of(small), state)
        assert order == ["small"]
    await waiting
    assert order == ["small", "large"]


@pytest.mark.parametrize("large", [True, False])
async def test_what_comes_out_is_what_the_stages_give(large: bool) -> None:
    state, exchange = make_state(), exchange_of(large=large)
    await admit_in_turn(exchange, state)
    attempt = attempt_of(exchange)
    assert await translate_in_turn(exchange, attempt, state) is True
    assert attempt.body
    exchange.model = exchange.grid.models["claude"]
    beyond = exchange_of(large=large, n=3)
    await admit_in_turn(beyond, state)
    assert await translate_in_turn(beyond, Attempt(1, exchange.model.policy.targets[0]), state) is False
    assert not state.large.locked()


async def test_a_refused_body_gives_its_turn_on() -> None:
    state = make_state()
    with pytest.raises(GatewayError):
        await admit_in_turn(exchange_of(large=True, model="unknown"), state)
    assert not state.large.locked()
    await admit_in_turn(exchange_of(large=True), state)


async def test_who_leaves_in_the_queue_gives_his_turn_on() -> None:
    state = make_state()
    async with state.large:
        gone, next_one = (asyncio.ensure_future(admit_in_turn(exchange_of(large=True), state)) for _ in range(2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    async with asyncio.timeout(1):
        await next_one
    assert not state.large.locked()


# -- what has to be waited for ----------------------------------------------------------------------------------------


class Preparing(Chat):
    """Notes what was there when it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    async def prepare(self, exchange: Exchange, state: State) -> None:
        self.seen.append((exchange.model_name, state.large.locked()))
        await asyncio.sleep(0)
        exchange.body = chat_body("claude")


@pytest.mark.parametrize("large", [True, False])
async def test_a_request_is_prepared_before_it_is_read(large: bool) -> None:
    state, exchange = make_state(), exchange_of(large=large)
    exchange.operation = preparing = Preparing()
    await admit_in_turn(exchange, state)
    assert preparing.seen == [("", False)], "waiting for a caller's upload must not hold the turn of others"
    assert exchange.model_name == "claude", "what was prepared is what is read"


async def test_who_may_not_call_is_not_waited_for() -> None:
    exchange = exchange_of(large=False)
    exchange.principal = make_principal("tenant_viewer")
    exchange.operation = preparing = Preparing()
    with pytest.raises(GatewayError) as caught:
        await admit_in_turn(exchange, make_state())
    assert caught.value.code == "AUTHZ_PERMISSION_DENIED"
    assert preparing.seen == []


async def test_what_fails_while_it_is_prepared_takes_nothing() -> None:
    class Failing(Chat):
        async def prepare(self, exchange: Exchange, state: State) -> None:
            raise GatewayError("NOT_FOUND", "no such answer")

    state, exchange = make_state(), exchange_of(large=True)
    exchange.operation = Failing()
    with pytest.raises(GatewayError):
        await admit_in_turn(exchange, state)
    assert not state.large.locked()
    assert state.limiter.concurrent("key:apikey_1") == 0


@pytest.mark.parametrize("surface", ["native", "openai"])
async def test_a_large_call_that_is_no_chat_takes_its_turn_too(surface: str) -> None:
    body = json.dumps({"model": "vectors", "input": ["x" * 1000] * 150}).encode()
    assert len(body) > LARGE_BODY_BYTES
    state, exchange = make_state(), make_exchange(GRID, body, surface=surface, operation="embed")
    await admit_in_turn(exchange, state)
    attempt = attempt_of(exchange)
    assert await translate_in_turn(exchange, attempt, state) is True
    assert len(json.loads(attempt.body)["input"]) == 150
    assert not state.large.locked()
