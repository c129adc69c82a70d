"""One attempt on a scripted upstream, ready as the line makes it, and what must hold after any failure of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from appliance.exchange import Attempt, Exchange
from appliance.pipeline.admit import admit
from appliance.pipeline.call import call
from appliance.pipeline.translate import translate
from appliance.state import State
from support.build import FakePools, FakeUpstream, chat_body, make_exchange, make_grid, make_state
from support.upstream import completion

SECRET_OF_ONE = "secret-of-one"
FOR_EVER = 60.0
GRID = make_grid(
    """
providers:
  one:
    type: custom
    base_url: http://one.test/v1
    api_key: secret-of-one
    timeouts: {connect: 1s, first_byte: 100ms, idle: 50ms, total: 400ms}
  long: {type: custom, base_url: "http://long.test/v1", timeouts: {first_byte: 100ms}}
  patient: {type: custom, base_url: "http://patient.test/v1"}
models:
  m: {price: free, route: [{backend: "one:a"}]}
  long: {price: free, route: [{backend: "long:a"}]}
  patient: {price: free, route: [{backend: "patient:a"}]}
  hurried: {price: free, route: {targets: [{backend: "patient:a"}], deadline: 20ms}}
partners: {reseller: {tenants: {acme: {}}}}
"""
)


def whole(body: Any = None, status: int = 200, **headers: str) -> FakeUpstream:
    data = body if isinstance(body, bytes) else json.dumps(completion() if body is None else body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return FakeUpstream(data, status=status, headers=named)


async def called(
    *script: FakeUpstream | Exception | float, model: str = "m", surface: str = "openai", **changes: Any
) -> tuple[bool, Exchange, Attempt, State]:
    """One attempt on an upstream that answers with `script`."""
    pools = FakePools(*script)
    state = make_state(pools=pools)
    clock = asyncio.get_running_loop().time
    exchange = make_exchange(GRID, chat_body(model, **changes), surface=surface, clock=clock)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    assert translate(exchange, attempt)
    async with asyncio.timeout(5):
        return await call(exchange, attempt, state), exchange, attempt, state


async def failed(*script: FakeUpstream | Exception | float, **changes: Any) -> tuple[str, str, str]:
    """Kind, code and message of the failure; all that must hold after any failure is asserted here."""
    answered, exchange, attempt, _ = await called(*script, **changes)
    assert answered is False
    assert attempt.failure
    assert exchange.answered is None
    assert exchange.attempts == [attempt]
    assert SECRET_OF_ONE not in attempt.failure.message
    assert SECRET_OF_ONE not in attempt.failure.detail
    for upstream in script:
        assert not isinstance(upstream, FakeUpstream) or upstream.closed
    return attempt.failure.kind, attempt.failure.code, attempt.failure.message
