"""The whole line on upstreams that are scripted by provider and answer when the test says: races, queues, fallbacks.

After each call `settled` asserts what must hold whatever happened: nothing is held, nothing is under way, one row.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.exchange import Exchange, Upload, Upstream
from appliance.grid.grid import Grid
from appliance.pipeline.run import run
from appliance.state import State
from appliance.state.fair_queue import Slot
from support.build import (
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    journal_of,
    make_budget,
    make_exchange,
    make_grid,
    make_state,
)
from support.upstream import DONE, USAGE, chunk, completion, text_stream

FOR_EVER = 60.0
MIN_DELAY_S = 0.03
"""What the policies of the tests say: no hedge comes earlier."""
LATE_S = 0.2
"""Much later than a hedge is begun."""
OTHER_USAGE = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
"""What the second target reports; the first says 7 and 3."""


def hedging_yaml(policy: str = "", hedge: str = "min_delay: 30ms, max_share: 1", providers: str = "") -> str:
    """Models `m` (chat) and `v` (embeddings) over three targets in this order; the first is the dearest for us."""
    route = f"""
      hedge: {{{hedge}}}
      {policy}
      targets:
        - {{backend: "one:a", cost: {{input: "5", output: "6"}}}}
        - {{backend: "two:b", cost: {{input: "3", output: "4"}}}}
        - {{backend: "three:c", cost: {{input: "1", output: "1"}}}}"""
    return f"""
providers:
  one: {{type: custom, base_url: "http://one.test/v1"{providers}}}
  two: {{type: custom, base_url: "http://two.test/v1"{providers}}}
  three: {{type: custom, base_url: "http://three.test/v1"{providers}}}
models:
  m:
    price: {{input: "10", output: "20"}}
    route:{route}
  v:
    modality: embedding
    price: {{input: "10"}}
    route:{route}
partners: {{reseller: {{tenants: {{acme: {{users: {{alice: {{roles: [tenant_user]}}}}}}}}}}}}
"""


GRID = make_grid(hedging_yaml())


@dataclass
class Turn:
    """What an upstream does with one call: say nothing for a while, then answer or fail. `gate` is waited for first."""

    answer: FakeUpstream | Exception
    after_s: float = 0.0
    gate: asyncio.Event | None = None


class _Held:
    """An upstream's answer that keeps its place until it is closed, as the real ones do."""

    def __init__(self, upstream: FakeUpstream, slot: Slot | None, closed: Callable[[], None]) -> None:
        self._upstream, self._slot, self._closed = upstream, slot, closed
        self.status, self.headers = upstream.status, upstream.headers
        self.open = True

    async def chunk(self) -> bytes:
        return await self._upstream.chunk()

    def close(self) -> None:
        self._upstream.close()
        if self.open:
            self.open = False
            self._closed()
        if self._slot:
            self._slot.release()


class RoutedPools(FakePools):
    """Each provider has its own script. Knows how many calls were under way at once, and when each one ended."""

    def __init__(self, scripts: Mapping[str, list[Turn]]) -> None:
        super().__init__()
        self.scripts = {name: list(turns) for name, turns in scripts.items()}
        self.asked: list[str] = []
        self.asked_at: list[float] = []
        self.under_way = 0
        self.most_at_once = 0
        self.ended_at: dict[str, float] = {}

    async def open(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        max_connections: int,
        connect_s: float,
        sent: Callable[[], None],
        method: str = "POST",
        upload: Upload | None = None,
        slot: Slot | None = None,
    ) -> Upstream:
        sent()
        self.asked.append(name)
        self.asked_at.append(asyncio.get_running_loop().time())
        self.opened.append((name, url, headers, body))
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        turn = self.scripts[name].pop(0)
        try:
            if turn.gate:
                await turn.gate.wait()
            if turn.after_s:
                await asyncio.sleep(turn.after_s)
            if isinstance(turn.answer, Exception):
                raise turn.answer
        except BaseException:
            self._ended(name)
            if slot:
                slot.release()
            raise
        return _Held(turn.answer, slot, lambda: self._ended(name))

    def _ended(self, name: str) -> None:
        self.under_way -= 1
        self.ended_at[name] = asyncio.get_running_loop().time()


# -- what upstreams say -----------------------------------------------------------------------------------------------


def says(
    text: str = "hello", after_s: float = 0.0, *, stream: bool = False, usage: dict[str, int] = USAGE, **more: Any
) -> Turn:
    body = text_stream(text, usage=usage) if stream else [json.dumps(completion(text, usage=usage)).encode()]
    return Turn(FakeUpstream(*body), after_s, **more)


def silent() -> Turn:
    return Turn(FakeUpstream(), FOR_EVER)


def begins_then_nothing(after_s: float = 0.0) -> Turn:
    """Headers and a stream's lifecycle come at once, content never."""
    return Turn(FakeUpstream(chunk({"role": "assistant", "content": ""}), FOR_EVER), after_s)


def refuses(status: int, after_s: float = 0.0, error: Mapping[str, Any] | None = None, **headers: str) -> Turn:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": f"no, {status}"} | dict(error or {})}).encode()
    return Turn(FakeUpstream(body, status=status, headers=named), after_s)


def vectors(after_s: float = 0.0, usage: dict[str, int] = USAGE, count: int = 1) -> Turn:
    data = [{"index": place, "embedding": [0.5]} for place in range(count)]
    return Turn(FakeUpstream(json.dumps({"object": "list", "data": data, "usage": usage}).encode()), after_s)


def filtered(*, stream: bool, usage: dict[str, int] | None = USAGE, text: str = "") -> Turn:
    """A 200 whose answer the provider's filter took away; `text` was said before."""
    if not stream:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "content_filter"}
        return Turn(FakeUpstream(json.dumps(completion(choices=[choice], usage=usage)).encode()))
    said = [chunk({"content": text})] if text else []
    pieces = [chunk({"role": "assistant", "content": ""}), *said, chunk({}, "content_filter")]
    return Turn(FakeUpstream(*pieces, *([chunk(None, usage=usage)] if usage else []), DONE))


# -- one call ---------------------------------------------------------------------------------------------------------


def measured(state: State, backend: str, seconds: float = 0.0, calls: int = 20) -> None:
    """The backend has answered so many calls of late, each in this time."""
    now = asyncio.get_running_loop().time()
    state.health.permit(backend, None, now)  # from here on it is known
    latency = state.health.latency(backend)
    for _ in range(calls):
        latency.first_token.add(now, seconds)
        latency.total.add(now, seconds)


@dataclass
class Raced:
    """A call that is over, or that is under way as `task`."""

    exchange: Exchange
    state: State
    pools: RoutedPools
    task: asyncio.Task[None] = field(repr=False)

    @property
    def client(self) -> FakeClient:
        return client_of(self.exchange)

    @property
    def row(self) -> dict[str, Any]:
        (row,) = journal_of(self.state).ended
        return row

    @property
    def attempts(self) -> list[tuple[str, str]]:
        """Backend and status of each attempt, as the row has them."""
        return [(attempt["backend"], attempt["status"]) for attempt in json.loads(self.row["attempts"])]

    @property
    def booked(self) -> tuple[int, int, int]:
        """Cost, requests and what is still held in the tenant's budget."""
        account = self.state.ledger.account("b", 0)
        assert account
        return account.balance.cost, account.balance.requests, account.balance.pending_cost


def begin(
    scripts: Mapping[str, list[Turn]],
    *,
    grid: Grid = GRID,
    model: str = "m",
    operation: str = "chat",
    stream: bool = False,
    state: State | None = None,
    known_s: float | None = 0.0,
    client: FakeClient | None = None,
    **body: Any,
) -> Raced:
    """The call as a task. `known_s`: how fast all targets have been of late; None: nobody has measured them."""
    pools = RoutedPools(scripts)
    state = state or make_state(budgets=[make_budget(10**12)])
    state.pools = pools  # type: ignore[assignment]
    if known_s is not None:
        for backend in ("one:a", "two:b", "three:c"):
            measured(state, backend, known_s)
    sent = json.dumps({"model": model, "input": "hello"} | body).encode() if operation == "embed" else None
    sent = sent or chat_body(model, **({"stream": True} if stream else {}), **body)
    clock = asyncio.get_running_loop().time
    exchange = make_exchange(grid, sent, surface="openai", operation=operation, clock=clock)
    if client:
        exchange.client = client
    return Raced(exchange, state, pools, asyncio.get_running_loop().create_task(run(exchange, state)))


async def settled(raced: Raced) -> Raced:
    """Wait for the call's end; then nothing may be held by it anywhere."""
    await asyncio.wait([raced.task], timeout=5)
    assert raced.task.done(), "the call goes on for ever"
    if not raced.task.cancelled():
        raced.task.result()
    exchange, state, pools = raced.exchange, raced.state, raced.pools
    assert (pools.in_use, pools.under_way) == (0, 0), "a place at a provider, or a connection"
    assert pools.most_at_once <= 2
    assert len(pools.asked) <= exchange.most_attempts
    assert [state.health.in_flight(backend) for backend in ("one:a", "two:b", "three:c")] == [0, 0, 0]
    assert state.ledger.open_reservations == 0
    assert state.limiter.concurrent("user:acme:alice") == 0
    assert exchange.principal
    assert not exchange.principal.running
    assert len(journal_of(state).ended) == min(1, len(pools.asked))
    account = state.ledger.account("b", 0)
    if account:
        assert account.balance.pending_cost == 0
        assert account.balance.cost == sum(row["cost_nano"] for row in journal_of(state).ended)
    return raced


async def raced(scripts: Mapping[str, list[Turn]], **options: Any) -> Raced:
    return await settled(begin(scripts, **options))
