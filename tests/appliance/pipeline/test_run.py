"""The whole line in one process: its order, its endings, and that a row is written before the last byte leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from appliance.exchange import ConnectFailed, Exchange
from appliance.pipeline import run as run_file
from appliance.pipeline.run import run
from appliance.pipeline.settle import settle
from appliance.state import State
from support.build import (
    Clock,
    FakeClient,
    FakePools,
    FakeUpstream,
    chat_body,
    client_of,
    journal_of,
    make_budget,
    make_directory,
    make_exchange,
    make_grid,
    make_key,
    make_state,
)
from support.sse import ended, failure_of
from support.upstream import chunk, completion, text_stream

FOR_EVER = 60.0
BOTH = pytest.mark.parametrize("surface", ["native", "openai"])
STREAMED = pytest.mark.parametrize("stream", [False, True])


def upstream_of(stream: bool) -> FakeUpstream:
    return FakeUpstream(*text_stream("hello")) if stream else FakeUpstream(json.dumps(completion()).encode())


def refusal(status: int, **headers: str) -> FakeUpstream:
    return FakeUpstream(b'{"error":{"message":"no"}}', status=status, headers=headers)


def exchange_of(surface: str = "native", client: FakeClient | None = None, **changes: Any) -> Exchange:
    clock = asyncio.get_running_loop().time
    exchange = make_exchange(make_grid(), chat_body(**changes), surface=surface, clock=clock)
    if client:
        exchange.client = client
    return exchange


async def line(exchange: Exchange, *script: Any) -> State:
    state = make_state(pools=FakePools(*script))
    async with asyncio.timeout(5):
        await run(exchange, state)
    return state


def opened(state: State) -> list[str]:
    pools: Any = state.pools
    return [name for name, *_ in pools.opened]


# -- order ------------------------------------------------------------------------------------------------------------


class Witness(FakeClient):
    """Looks into the journal at the moment the last bytes arrive."""

    def __init__(self) -> None:
        super().__init__()
        self.state: State | None = None
        self.rows_at_the_end: list[str] = []
        self.rows_before = 0

    async def whole(
        self, status: int, headers: dict[str, str], body: bytes, content_type: str = "application/json"
    ) -> None:
        self._look()
        await super().whole(status, headers, body, content_type)

    async def send(self, data: bytes) -> None:
        assert self.state
        if b"[DONE]" in data:
            self._look()
        else:
            self.rows_before += len(journal_of(self.state).ended)
        await super().send(data)

    def _look(self) -> None:
        assert self.state
        self.rows_at_the_end += [row["status"] for row in journal_of(self.state).ended]


@BOTH
@STREAMED
async def test_the_row_is_written_before_the_last_bytes_leave(surface: str, stream: bool) -> None:
    witness = Witness()
    exchange = exchange_of(surface, witness, stream=stream)
    witness.state = make_state(pools=FakePools(upstream_of(stream)))
    await run(exchange, witness.state)
    assert witness.ended
    assert witness.rows_at_the_end == ["completed"]
    assert witness.rows_before == 0


@pytest.mark.parametrize(
    ("credential", "body", "code"),
    [
        ("sgk_wrong", b"not JSON", "AUTH_TOKEN_INVALID"),
        (None, chat_body("unknown"), "AUTH_TOKEN_MISSING"),
        ("", chat_body(), "AUTH_TOKEN_MISSING"),
    ],
)
async def test_nothing_is_read_before_the_caller_is_known(credential: str | None, body: bytes, code: str) -> None:
    exchange = make_exchange(make_grid(), body, credential=credential, clock=asyncio.get_running_loop().time)
    state = await line(exchange)
    assert client_of(exchange).json()["error"]["code"] == code
    assert opened(state) == []
    assert journal_of(state).begun == []


@BOTH
async def test_what_is_refused_goes_nowhere(surface: str) -> None:
    exchange = exchange_of(surface, model="unknown")
    state = await line(exchange)
    assert client_of(exchange).status == 404
    assert (opened(state), journal_of(state).begun, exchange.attempts) == ([], [], [])


# -- failing over -----------------------------------------------------------------------------------------------------


FIRST: dict[str, Callable[[], FakeUpstream | Exception]] = {
    "no connection": lambda: ConnectFailed("refused"),
    "a broken server": lambda: refusal(500),
    "a limit": lambda: refusal(429),
    "a refused key": lambda: refusal(401),
    "an unknown model": lambda: refusal(404),
    "no answer in a 200": lambda: FakeUpstream(b"garbage"),
}


@STREAMED
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST)
async def test_before_the_first_content_the_next_target_takes_over(stream: bool, first: Callable[[], Any]) -> None:
    exchange = exchange_of(stream=stream)
    state = await line(exchange, first(), upstream_of(stream))
    client = client_of(exchange)
    assert client.status == 200
    told = {
        name: value for name, value in client.headers.items() if name in ("X-Scaigrid-Backend", "X-Scaigrid-Attempts")
    }
    assert told == {"X-Scaigrid-Backend": "two:b", "X-Scaigrid-Attempts": "2"}
    (row,) = journal_of(state).ended
    assert [attempt["status"] for attempt in json.loads(row["attempts"])] == ["failed", "completed"]
    assert (row["status"], row["backend_id"]) == ("completed", "two:b")
    assert len(journal_of(state).begun) == 1


async def test_after_the_first_content_nobody_takes_over() -> None:
    exchange = exchange_of(stream=True)
    state = await line(exchange, FakeUpstream(chunk({"content": "half"})), upstream_of(True))
    assert opened(state) == ["one"]
    assert failure_of(client_of(exchange).body)


async def test_the_caller_s_fault_is_not_carried_from_target_to_target() -> None:
    exchange = exchange_of()
    state = await line(exchange, refusal(400), upstream_of(False))
    assert opened(state) == ["one"]
    assert client_of(exchange).status == 422


async def test_when_all_fail_the_caller_gets_the_last_failure_and_pays_nothing() -> None:
    exchange = exchange_of()
    state = await line(exchange, refusal(500), refusal(500), refusal(429, **{"retry-after": "30"}))
    client = client_of(exchange)
    assert (client.status, client.headers["Retry-After"]) == (429, "30")
    assert client.headers["X-Scaigrid-Attempts"] == "3"
    assert client.json()["error"]["retry_after"] == 30
    (row,) = journal_of(state).ended
    assert (row["status"], row["cost_nano"], row["error_code"]) == ("failed", 0, "BACKEND_RATE_LIMITED")
    assert len(json.loads(row["attempts"])) == 3


# -- the caller leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pieces", "output"), [([FOR_EVER], 0), ([chunk({"content": "x" * 40}), FOR_EVER], 10)], ids=["waiting", "reading"]
)
async def test_a_caller_who_leaves_is_booked_and_the_upstream_let_go(pieces: list[Any], output: int) -> None:
    upstream = FakeUpstream(*pieces)
    state = make_state(pools=FakePools(upstream))
    exchange = exchange_of(stream=True)
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = journal_of(state).ended
    assert (row["status"], row["estimated"], row["output_tokens"]) == ("cancelled", True, output)
    assert row["input_tokens"] == exchange.input_estimate
    assert row["cost_nano"] > 0
    assert upstream.closed
    assert not client_of(exchange).ended


async def test_a_caller_who_leaves_while_he_is_sent_to_is_booked() -> None:
    class Deaf(FakeClient):
        async def send(self, data: bytes) -> None:
            await asyncio.sleep(FOR_EVER)

    upstream = upstream_of(True)
    state = make_state(pools=FakePools(upstream))
    task = asyncio.ensure_future(run(exchange_of(client=Deaf(), stream=True), state))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row["status"] for row in journal_of(state).ended] == ["cancelled"]
    assert upstream.closed


async def test_a_caller_who_leaves_during_the_pause_between_attempts_pays_nothing() -> None:
    state = make_state(pools=FakePools(refusal(500), refusal(429, **{"retry-after": "1.5"})))
    task = asyncio.ensure_future(run(exchange_of(), state))
    await asyncio.sleep(0.03)
    assert len(opened(state)) == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = journal_of(state).ended
    assert (row["status"], row["cost_nano"], row["input_tokens"]) == ("cancelled", 0, 0)


# -- our own failures -------------------------------------------------------------------------------------------------


@BOTH
async def test_no_call_is_made_that_cannot_be_booked(surface: str) -> None:
    exchange, state = exchange_of(surface), make_state(pools=FakePools(upstream_of(False)))
    journal_of(state).failing = True
    await run(exchange, state)
    assert client_of(exchange).status == 503
    assert opened(state) == []


@pytest.fixture
def full_at_the_end(monkeypatch: pytest.MonkeyPatch) -> State:
    """A state whose disk fills up while the call runs; it answers whatever is asked of it first."""
    state = make_state()

    def settle_and_fill_the_disk(exchange: Exchange, of: State) -> None:
        settle(exchange, of)
        journal_of(state).failing = True

    monkeypatch.setattr(run_file, "settle", settle_and_fill_the_disk)
    return state


@BOTH
async def test_a_whole_answer_that_cannot_be_booked_is_not_given_out(surface: str, full_at_the_end: State) -> None:
    exchange = exchange_of(surface)
    full_at_the_end.pools = cast(Any, FakePools(upstream_of(False)))
    await run(exchange, full_at_the_end)
    client = client_of(exchange)
    assert client.status == 503
    assert b"hello" not in client.body


async def test_a_stream_that_cannot_be_booked_ends_with_an_error(full_at_the_end: State) -> None:
    exchange = exchange_of(stream=True)
    full_at_the_end.pools = cast(Any, FakePools(upstream_of(True)))
    await run(exchange, full_at_the_end)
    told = failure_of(client_of(exchange).body)
    assert told
    assert told["code"] == "JOURNAL_UNAVAILABLE"
    assert ended(client_of(exchange).body)


async def test_a_fault_of_ours_is_booked_and_passed_on() -> None:
    class Faulty(FakePools):
        async def open(self, *_: Any, **__: Any) -> Any:
            raise ZeroDivisionError("a fault of ours")

    exchange, state = exchange_of(), make_state(pools=Faulty())
    with pytest.raises(ZeroDivisionError):
        await run(exchange, state)
    (row,) = journal_of(state).ended
    assert (row["status"], row["error_code"]) == ("failed", "INTERNAL_ERROR")
    assert client_of(exchange).status == 0


# -- access is cut half-way -------------------------------------------------------------------------------------------


async def cut_after(seconds: float, exchange: Exchange, *script: Any) -> State:
    """The line, with the caller's key revoked after a moment."""
    state = make_state(pools=FakePools(*script))
    handle = asyncio.get_running_loop().call_later(seconds, state.directory.revoke_key, "apikey_1")
    async with asyncio.timeout(5):
        await run(exchange, state)
    handle.cancel()
    return state


def running(exchange: Exchange) -> int:
    assert exchange.principal
    return len(exchange.principal.running)


@BOTH
@STREAMED
async def test_a_call_that_waits_for_its_answer_ends_at_once_when_its_key_is_revoked(
    surface: str, stream: bool
) -> None:
    upstream = FakeUpstream(FOR_EVER)
    exchange = exchange_of(surface, stream=stream)
    state = await cut_after(0.03, exchange, upstream)
    client = client_of(exchange)
    assert client.status == 401
    assert "revoked" in client.json()["error"]["message"]
    assert upstream.closed
    (row,) = journal_of(state).ended
    assert (row["status"], row["error_code"], row["input_tokens"]) == (
        "cancelled",
        "AUTH_TOKEN_INVALID",
        exchange.input_estimate,
    )
    assert running(exchange) == 0


@BOTH
async def test_a_stream_that_says_nothing_ends_at_once_when_its_key_is_revoked(surface: str) -> None:
    upstream = FakeUpstream(chunk({"content": "half"}), FOR_EVER)
    exchange = exchange_of(surface, stream=True)
    state = await cut_after(0.03, exchange, upstream)
    client = client_of(exchange)
    assert failure_of(client.body)
    assert ended(client.body)
    assert upstream.closed
    (row,) = journal_of(state).ended
    assert (row["status"], row["estimated"], row["output_tokens"]) == ("cancelled", True, 1)
    assert running(exchange) == 0


async def test_a_pause_between_attempts_ends_when_the_key_is_revoked() -> None:
    exchange = exchange_of()
    state = await cut_after(0.03, exchange, refusal(500), refusal(429, **{"retry-after": "1.5"}))
    assert client_of(exchange).status == 401
    assert len(opened(state)) == 2
    assert journal_of(state).ended[0]["cost_nano"] == 0


async def test_an_expired_key_ends_its_stream_with_the_next_frame() -> None:
    clock = Clock(100.0)
    key = make_key()
    key.expires_unix = 150.0
    upstream = FakeUpstream(chunk({"content": "half"}), 0.05, *text_stream("never seen"))
    state = make_state(pools=FakePools(upstream), directory=make_directory(keys=[key], clock=clock))
    exchange = exchange_of(stream=True)
    asyncio.get_running_loop().call_later(0.02, clock.advance, 60.0)
    await run(exchange, state)
    told = failure_of(client_of(exchange).body)
    assert told
    assert "expired" in told["message"]
    assert b"never seen" not in client_of(exchange).body
    assert upstream.closed


@STREAMED
async def test_a_call_that_is_over_is_not_ended_once_more(stream: bool) -> None:
    exchange = exchange_of(stream=stream)
    state = await line(exchange, upstream_of(stream))
    assert running(exchange) == 0
    state.directory.revoke_key("apikey_1")
    await asyncio.sleep(0.01)
    assert client_of(exchange).ended
    assert exchange.status == "completed"


@pytest.mark.parametrize("how", ["refused", "failed", "fault", "hang-up"])
async def test_no_ending_leaves_a_trace_at_the_principal(how: str) -> None:
    scripts: dict[str, list[Any]] = {"failed": [refusal(400)], "fault": [ZeroDivisionError()], "hang-up": [FOR_EVER]}
    exchange = exchange_of(model="unknown" if how == "refused" else "m")
    task = asyncio.ensure_future(run(exchange, make_state(pools=FakePools(*scripts.get(how, [])))))
    await asyncio.sleep(0.03)
    task.cancel()
    await asyncio.wait([task])
    assert running(exchange) == 0


async def test_a_caller_who_leaves_just_when_his_key_is_revoked_is_booked_once() -> None:
    exchange, state = exchange_of(stream=True), make_state(pools=FakePools(FakeUpstream(FOR_EVER)))
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.03)
    state.directory.revoke_key("apikey_1")
    task.cancel()
    await asyncio.wait([task], timeout=2)
    assert task.done()
    assert [row["status"] for row in journal_of(state).ended] == ["cancelled"]


# -- budgets and rate limits ------------------------------------------------------------------------------------------

USED_COST = 7 * 1000 + 3 * 2000
"""Of an answer with 7 input and 3 output tokens."""


def held(state: State) -> tuple[int, int]:
    """What is still held when all is over: reservations, and rate slots of the user."""
    return state.ledger.open_reservations, state.limiter.concurrent("user:acme:alice")


def booked(state: State) -> int:
    account = state.ledger.account("b", 0)
    assert account
    assert account.balance.pending_cost == 0
    return account.balance.cost


@BOTH
@STREAMED
async def test_a_call_is_booked_with_what_it_used(surface: str, stream: bool) -> None:
    exchange = exchange_of(surface, stream=stream)
    state = make_state(pools=FakePools(upstream_of(stream)), budgets=[make_budget(10**9)])
    await run(exchange, state)
    (row,) = journal_of(state).ended
    assert booked(state) == row["cost_nano"] == USED_COST
    assert row["entry"] == 1
    assert row["reserved_nano"] > USED_COST
    assert held(state) == (0, 0)


ENDINGS: dict[str, Callable[[], list[Any]]] = {
    "answered": lambda: [FakeUpstream(json.dumps(completion()).encode())],
    "failed everywhere": lambda: [refusal(500)] * 3,
    "answered by the second": lambda: [refusal(500), FakeUpstream(json.dumps(completion()).encode())],
    "the caller's fault": lambda: [refusal(400)],
    "our fault": lambda: [ZeroDivisionError()],
    "hang-up": lambda: [FOR_EVER],
    "cut off": lambda: [FOR_EVER],
    "the disk is full": lambda: [],
    "unknown model": lambda: [],
    "no money": lambda: [],
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_no_ending_leaves_anything_held(how: str) -> None:
    limit = 1 if how == "no money" else 10**9
    state = make_state(pools=FakePools(*ENDINGS[how]()), budgets=[make_budget(limit)])
    journal_of(state).failing = how == "the disk is full"
    exchange = exchange_of(model="unknown" if how == "unknown model" else "m")
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.02)
    if how == "hang-up":
        task.cancel()
    if how == "cut off":
        state.directory.revoke_key("apikey_1")
    await asyncio.wait([task], timeout=2)
    assert task.done()
    if not task.cancelled():
        assert isinstance(task.exception(), ZeroDivisionError | None)
    assert held(state) == (0, 0)
    assert booked(state) == sum(row["cost_nano"] for row in journal_of(state).ended)


@BOTH
@STREAMED
async def test_without_money_nothing_is_called(surface: str, stream: bool) -> None:
    exchange, state = exchange_of(surface, stream=stream), make_state(budgets=[make_budget(1)])
    await run(exchange, state)
    client = client_of(exchange)
    assert (client.status, client.started) == (429, False)
    assert exchange.error
    assert exchange.error.code == "BUDGET_EXCEEDED"
    assert (opened(state), journal_of(state).begun, journal_of(state).ended) == ([], [], [])


@BOTH
async def test_a_clamped_call_says_so_and_the_upstream_is_held_to_it(surface: str) -> None:
    exchange = exchange_of(surface)
    state = make_state(pools=FakePools(upstream_of(False)), budgets=[make_budget(token_limit=3000)])
    await run(exchange, state)
    shown = client_of(exchange).headers["X-Scaigrid-Budget-Clamped"]
    pools: Any = state.pools
    ((*_, body),) = pools.opened
    assert json.loads(body)["max_tokens"] == int(shown) == 3000 - exchange.input_bound


@BOTH
async def test_a_call_beyond_its_rate_is_refused_and_told_when_to_come_back(surface: str) -> None:
    state = make_state(pools=FakePools(*(upstream_of(False) for _ in range(60))))
    for _ in range(60):
        await run(exchange_of(surface), state)
    exchange = exchange_of(surface)
    await run(exchange, state)
    client = client_of(exchange)
    assert client.status == 429
    assert 0 < int(client.headers["Retry-After"]) <= 61
    assert (client.headers["X-Scaigrid-Ratelimit-Limit"], client.headers["X-Scaigrid-Ratelimit-Remaining"]) == (
        "60",
        "0",
    )
    assert len(opened(state)) == 60


async def test_a_call_without_money_does_not_count_against_the_rate() -> None:
    state = make_state(budgets=[make_budget(1)])
    for _ in range(70):
        exchange = exchange_of()
        await run(exchange, state)
        assert exchange.error
        assert exchange.error.code == "BUDGET_EXCEEDED"


async def test_who_waits_for_room_is_let_in_when_there_is_some() -> None:
    """Both calls could cost all there is; the first uses little, so that the second is served after it."""
    answer = json.dumps(completion()).encode()
    state = make_state(
        pools=FakePools(FakeUpstream(0.05, answer), FakeUpstream(answer)), budgets=[make_budget(token_limit=4000)]
    )
    exchanges = [exchange_of(max_tokens=1500) for _ in range(2)]
    await asyncio.gather(*(run(exchange, state) for exchange in exchanges))
    assert [exchange.status for exchange in exchanges] == ["completed", "completed"]
    assert held(state) == (0, 0)


@pytest.mark.parametrize("how", ["hang-up", "cut off"])
async def test_who_leaves_while_he_waits_for_room_holds_nothing(how: str) -> None:
    state = make_state(pools=FakePools(FOR_EVER), budgets=[make_budget(token_limit=4000)])
    first = asyncio.ensure_future(run(exchange_of(max_tokens=1500), state))
    await asyncio.sleep(0.01)
    exchange = exchange_of(max_tokens=1500)
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.02)
    assert not task.done()
    if how == "hang-up":
        task.cancel()
    else:
        state.directory.revoke_key("apikey_1")
    await asyncio.wait([task], timeout=2)
    assert exchange.status == "cancelled"
    assert not exchange.begun
    first.cancel()
    await asyncio.wait([first], timeout=2)
    assert held(state) == (0, 0)
