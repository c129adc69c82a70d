"""One attempt on a scripted upstream: what counts as an answer, how each failure is classed, what is given back."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Attempt, ConnectFailed, Exchange, Failure, UpstreamCut
from appliance.pipeline import call as call_file
from appliance.pipeline.admit import admit
from appliance.pipeline.call import call
from appliance.pipeline.route import rule_of
from appliance.pipeline.translate import translate
from appliance.state import State
from appliance.state.health import Permit
from appliance.state.tokens import TokenRefused
from support.build import FakePools, FakeUpstream, chat_body, journal_of, make_exchange, make_grid, make_state
from support.line import FOR_EVER, GRID, SECRET_OF_ONE, called, failed, whole
from support.routing_line import RoutedPools, Turn, refuses, says, silent, vectors

# -- an answer --------------------------------------------------------------------------------------------------------


async def test_a_whole_answer_is_read_understood_and_its_connection_given_back() -> None:
    upstream = whole()
    answered, exchange, attempt, state = await called(upstream)
    assert answered is True
    assert attempt.reply
    assert attempt.usage == attempt.reply.usage
    assert attempt.dispatched
    assert attempt.sent
    assert upstream.closed
    assert json.loads(attempt.reply_body)["id"] == "chatcmpl-1"
    assert [row["id"] for row in journal_of(state).begun] == [exchange.usage_id]


async def test_the_endpoint_gets_the_body_with_its_headers() -> None:
    _, _, attempt, state = await called(whole())
    pools: Any = state.pools
    ((name, url, headers, body),) = pools.opened
    assert (name, url, headers["Authorization"]) == (
        "one",
        "http://one.test/v1/chat/completions",
        f"Bearer {SECRET_OF_ONE}",
    )
    assert body == attempt.body


# -- failures ---------------------------------------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("stream", [False, True])


@BOTH
@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (ConnectFailed(f"refused by {SECRET_OF_ONE}"), "connect", "BACKEND_ERROR"),
        (UpstreamCut(f"garbage with {SECRET_OF_ONE}"), "server_error", "BACKEND_ERROR"),
    ],
)
async def test_no_answer_at_all(stream: bool, error: Exception, kind: str, code: str) -> None:
    assert (await failed(error, stream=stream))[:2] == (kind, code)


@BOTH
async def test_a_first_byte_that_is_too_late(stream: bool) -> None:
    assert (await failed(FOR_EVER, stream=stream))[:2] == ("timeout", "BACKEND_TIMEOUT")


@BOTH
async def test_the_deadline_of_the_call_ends_an_attempt(stream: bool) -> None:
    started = asyncio.get_running_loop().time()
    assert (await failed(FOR_EVER, model="hurried", stream=stream))[0] == "timeout"
    assert asyncio.get_running_loop().time() - started < 2


async def test_an_answer_beyond_the_limit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_file, "MAX_REPLY_BYTES", 1000)
    assert (await failed(FakeUpstream(*[b" " * 100] * 20)))[:2] == ("server_error", "UPSTREAM_SHAPE_MISMATCH")


# -- an answer of another status --------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "caller", "VALIDATION_ERROR"),
        (401, "operator", "BACKEND_ERROR"),
        (404, "operator", "BACKEND_ERROR"),
        (429, "rate_limited", "BACKEND_RATE_LIMITED"),
        (500, "server_error", "BACKEND_ERROR"),
        (503, "server_error", "BACKEND_ERROR"),
        (504, "timeout", "BACKEND_TIMEOUT"),
        (302, "operator", "BACKEND_ERROR"),
        (204, "operator", "BACKEND_ERROR"),
    ],
)
async def test_the_status_says_whose_fault_it_is(stream: bool, status: int, kind: str, code: str) -> None:
    body = {"error": {"message": f"no, {SECRET_OF_ONE}"}}
    assert (await failed(whole(body, status), stream=stream))[:2] == (kind, code)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"x" * 1000] * 1000,
        [b'{"error":', UpstreamCut("reset")],
        [b'{"error":', FOR_EVER],
        [b"\xff\xfe"],
        [],
    ],
    ids=["endless", "cut", "stalled", "no text", "empty"],
)
@pytest.mark.parametrize(("status", "kind"), [(401, "operator"), (429, "rate_limited"), (503, "server_error")])
async def test_the_status_counts_whatever_becomes_of_the_body(status: int, kind: str, pieces: list[Any]) -> None:
    upstream = FakeUpstream(*pieces, status=status, headers={"retry-after": "9"})
    answered, _, attempt, _ = await called(upstream)
    assert not answered
    assert attempt.failure
    assert (attempt.failure.kind, attempt.failure.status) == (kind, status)
    assert upstream.closed


async def test_who_answers_retry_after_is_spared() -> None:
    _, exchange, attempt, state = await called(whole({"error": {"message": "x"}}, 429, retry_after="9"))
    assert attempt.failure
    assert attempt.failure.retry_after == 9
    assert state.health.wait_s("one:a", exchange.clock()) == pytest.approx(9, abs=0.5)


# -- the journal, the pause, cancellation -----------------------------------------------------------------------------


async def test_nothing_is_sent_when_the_journal_cannot_be_written() -> None:
    state = make_state(pools=FakePools(whole()))
    journal_of(state).failing = True
    exchange = make_exchange(GRID, surface="openai", clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    translate(exchange, attempt)
    with pytest.raises(GatewayError) as caught:
        await call(exchange, attempt, state)
    assert caught.value.code == "JOURNAL_UNAVAILABLE"
    pools: Any = state.pools
    assert pools.opened == []
    assert exchange.attempts == []


async def test_the_pause_comes_before_the_call() -> None:
    state = make_state(pools=FakePools(whole()))
    loop = asyncio.get_running_loop()
    exchange = make_exchange(GRID, surface="openai", clock=loop.time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(2, exchange.model.policy.targets[0], delay_s=0.05)
    translate(exchange, attempt)
    before = loop.time()
    assert await call(exchange, attempt, state)
    assert attempt.started_at - before >= 0.045
    assert attempt.latency_ms < 45, "the pause is ours, not the upstream's"


@BOTH
@pytest.mark.parametrize("seconds", [0.0, 0.02])
async def test_a_caller_who_leaves_cancels_the_upstream_at_once(stream: bool, seconds: float) -> None:
    upstream = FakeUpstream(FOR_EVER)
    task = asyncio.ensure_future(called(seconds, upstream, model="patient", stream=stream))
    await asyncio.sleep(0.05)
    assert upstream.reads
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.closed


class Busy(FakePools):
    """All connections are taken for the time being."""

    async def open(self, *_: Any, **__: Any) -> Any:
        await asyncio.sleep(FOR_EVER)


async def test_a_caller_who_leaves_before_a_connection_is_free_had_nothing_sent() -> None:
    state = make_state(pools=Busy())
    exchange = make_exchange(GRID, chat_body("patient"), surface="openai", clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    assert translate(exchange, attempt)
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attempt.dispatched
    assert not attempt.sent


async def test_a_provider_in_this_process_is_at_work_at_once() -> None:
    grid = make_grid(
        """
providers: {p: {type: demo}}
models: {m: {price: free, route: [{backend: "p:x"}]}}
partners: {reseller: {tenants: {acme: {}}}}
"""
    )
    state = make_state()
    exchange = make_exchange(grid, clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    attempt = Attempt(1, grid.models["m"].policy.targets[0])
    assert translate(exchange, attempt)
    assert await call(exchange, attempt, state)
    assert attempt.sent


# -- headers and tokens -----------------------------------------------------------------------------------------------


class FakeTokens:
    """Gives a token, or refuses like a service that does not know the account."""

    def __init__(self, *, refusing: bool = False) -> None:
        self.refusing = refusing
        self.forgotten: list[Any] = []

    async def headers(self, credential: Any) -> dict[str, str]:
        if self.refusing:
            raise TokenRefused("the account is not known")
        return {"Authorization": f"Bearer token-of-{credential}"}

    def forget(self, credential: Any, refused: str) -> None:
        self.forgotten.append((credential, refused))


async def with_token(tokens: FakeTokens, *script: FakeUpstream) -> tuple[Attempt, FakePools]:
    """An attempt on an endpoint whose credential is exchanged for a token."""
    pools = FakePools(*script)
    state = make_state(pools=pools)
    state.tokens = tokens  # type: ignore[assignment]
    exchange = make_exchange(GRID, surface="openai", clock=asyncio.get_running_loop().time)
    admit(exchange, state)
    assert exchange.model
    target = exchange.model.policy.targets[0]
    endpoint = dataclasses.replace(target.endpoint, credential="service")  # type: ignore[arg-type]
    attempt = Attempt(1, dataclasses.replace(target, endpoint=endpoint))
    assert translate(exchange, attempt)
    await call(exchange, attempt, state)
    return attempt, pools


async def test_a_token_takes_the_place_of_the_key() -> None:
    attempt, pools = await with_token(FakeTokens(), whole())
    assert attempt.failure is None
    assert pools.opened[0][2]["Authorization"] == "Bearer token-of-service"


async def test_without_a_token_the_operator_has_to_act_and_nothing_is_sent() -> None:
    attempt, pools = await with_token(FakeTokens(refusing=True))
    assert attempt.failure
    assert (attempt.failure.kind, attempt.failure.code) == ("operator", "BACKEND_ERROR")
    assert "not known" in attempt.failure.detail
    assert "not known" not in attempt.failure.message
    assert (pools.opened, attempt.sent) == ([], False)


@pytest.mark.parametrize(("status", "forgotten"), [(401, [("service", "token-of-service")]), (403, []), (500, [])])
async def test_a_token_that_is_not_taken_is_forgotten(status: int, forgotten: list[tuple[str, str]]) -> None:
    tokens = FakeTokens()
    await with_token(tokens, whole({"error": {"message": "no"}}, status))
    assert tokens.forgotten == forgotten


@pytest.mark.parametrize(("surface", "sent"), [("openai", True), ("native", False)])
async def test_the_caller_s_headers_go_to_his_own_dialect_only(surface: str, sent: bool) -> None:
    pools = FakePools(whole())
    state = make_state(pools=pools)
    exchange = make_exchange(GRID, surface=surface, clock=asyncio.get_running_loop().time)
    exchange.forwarded = {"X-Beta": "new", "Authorization": "Bearer the caller's"}
    admit(exchange, state)
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[0])
    assert translate(exchange, attempt)
    assert await call(exchange, attempt, state)
    headers = pools.opened[0][2]
    assert ("X-Beta" in headers) is sent
    assert headers["Authorization"] == f"Bearer {SECRET_OF_ONE}", "ours are not replaced by the caller's"
    assert headers["Content-Type"] == "application/json"


# -- a place at the provider ------------------------------------------------------------------------------------------

PLACES = make_grid(
    """
providers:
  one:
    type: custom
    base_url: http://one.test/v1
    max_connections: 1
    queue: {size: 2, wait: 200ms}
    timeouts: {first_byte: 100ms, idle: 50ms, total: 400ms}
  two: {type: custom, base_url: "http://two.test/v1", max_connections: 1, queue: {size: 0}}
  ten: {type: qwen, base_url: "http://ten.test/v1", api_key: secret-of-ten, max_connections: 2}
  demo: {type: demo}
models:
  m: {price: free, route: [{backend: "one:a"}]}
  strict:
    price: free
    route: {circuit_breaker: {failures: 1, window: 30s, cooldown: 15s}, targets: [{backend: "one:a"}]}
  none-waits: {price: free, route: [{backend: "two:a"}]}
  hurried: {price: free, route: {deadline: 60ms, targets: [{backend: "one:a"}]}}
  vectors: {modality: embedding, price: free, route: [{backend: "ten:v4"}]}
  demo:
    price: free
    route: {circuit_breaker: {failures: 1, window: 30s, cooldown: 15s}, targets: [{backend: "demo:x"}]}
partners: {reseller: {tenants: {acme: {}}}}
"""
)


def waiting(
    *turns: Turn, model: str = "m", operation: str = "chat", body: bytes | None = None, **changes: Any
) -> tuple[Exchange, Attempt, State, RoutedPools]:
    """An attempt that is about to be made."""
    target = PLACES.models[model].policy.targets[0]
    pools = RoutedPools({target.endpoint.name: list(turns)})
    state = make_state(pools=pools)
    clock = asyncio.get_running_loop().time
    body = body or chat_body(model, **changes)
    exchange = make_exchange(PLACES, body, surface="openai", operation=operation, clock=clock)
    admit(exchange, state)
    permit = state.health.permit(target.backend, rule_of(PLACES.models[model].policy), clock())
    assert isinstance(permit, Permit)
    attempt = Attempt(1, target, permit=permit)
    assert translate(exchange, attempt)
    return exchange, attempt, state, pools


ENDINGS: dict[str, Turn] = {
    "answered": says(),
    "refused": refuses(400),
    "broken": refuses(500),
    "refused with an endless body": Turn(FakeUpstream(*[b"x" * 1000] * 1000, status=503)),
    "no connection": Turn(ConnectFailed("refused")),
    "no HTTP": Turn(UpstreamCut("garbage")),
    "no first byte": Turn(FakeUpstream(), FOR_EVER),
    "garbage": Turn(FakeUpstream(b"It works!")),
    "stalled": Turn(FakeUpstream(b'{"id"', FOR_EVER)),
    "cut": Turn(FakeUpstream(b'{"id"', UpstreamCut("reset"))),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_every_ending_gives_the_place_back(how: str) -> None:
    exchange, attempt, state, pools = waiting(ENDINGS[how])
    assert await call(exchange, attempt, state) is (how == "answered")
    assert (pools.in_use, pools.under_way) == (0, 0)


@pytest.mark.parametrize("how", ["journal", "hang-up", "fault"])
async def test_an_ending_on_our_side_gives_the_place_back_too(how: str) -> None:
    turn = Turn(ZeroDivisionError()) if how == "fault" else silent()
    exchange, attempt, state, pools = waiting(turn)
    journal_of(state).failing = how == "journal"
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.02)
    if how == "hang-up":
        assert pools.in_use == 1
        task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.exception()
    assert (pools.in_use, pools.under_way) == (0, 0)


async def test_a_stream_keeps_its_place_until_it_is_closed() -> None:
    exchange, attempt, state, pools = waiting(says(stream=True), stream=True)
    assert await call(exchange, attempt, state)
    assert pools.in_use == 1
    assert attempt.upstream
    attempt.upstream.close()
    attempt.upstream.close()
    assert pools.in_use == 0


async def test_a_call_waits_for_its_place_and_nothing_is_noted_before_it_has_it() -> None:
    exchange, attempt, state, pools = waiting(says())
    place = await pools.queue("one", 1, 2).slot("other", 1, 10)
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.05)
    assert (attempt.dispatched, journal_of(state).begun, pools.asked) == (False, [], [])
    place.release()
    assert await task
    assert attempt.latency_ms < 45, "the wait is ours, not the upstream's"


async def test_who_hangs_up_while_he_waits_for_a_place_leaves_no_trace() -> None:
    exchange, attempt, state, pools = waiting(says())
    queue = pools.queue("one", 1, 2)
    place = await queue.slot("other", 1, 10)
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.02)
    assert queue.waiting == 1
    task.cancel()
    await asyncio.wait([task])
    assert (queue.waiting, queue.in_use, attempt.dispatched) == (0, 1, False)
    place.release()
    assert queue.in_use == 0


async def refused_for_want_of_room(model: str = "m", *, hedge: bool = False) -> tuple[Failure, float]:
    """The only place is taken for ever. The failure, and after how many seconds it came."""
    exchange, attempt, state, pools = waiting(model=model)
    attempt.hedge = hedge
    endpoint = attempt.target.endpoint.name
    terms = PLACES.queues[endpoint]
    await pools.queue(endpoint, terms.at_once, terms.size).acquire()
    begun = asyncio.get_running_loop().time()
    assert not await call(exchange, attempt, state)
    assert attempt.failure
    assert exchange.busy is attempt.failure
    assert (attempt.dispatched, exchange.attempts, pools.asked, pools.in_use) == (False, [], [], 1)
    return attempt.failure, asyncio.get_running_loop().time() - begun


@pytest.mark.parametrize(
    ("model", "hedge", "seconds"),
    [("m", False, 0.2), ("hurried", False, 0.06), ("none-waits", False, 0), ("m", True, 0)],
    ids=["the queue's wait", "the deadline", "size 0", "a hedge"],
)
async def test_nobody_waits_longer_than_he_may(model: str, hedge: bool, seconds: float) -> None:
    failure, waited_s = await refused_for_want_of_room(model, hedge=hedge)
    assert seconds - 0.02 <= waited_s < seconds + 0.1
    assert (failure.kind, failure.code) == ("busy", "BACKEND_RATE_LIMITED")
    assert failure.retry_after
    assert failure.retry_after >= 1


async def test_of_two_busy_providers_the_shorter_wait_is_told() -> None:
    exchange, attempt, state, pools = waiting(model="none-waits")
    await pools.queue("two", 1, 0).acquire()
    exchange.busy = Failure("busy", "BACKEND_RATE_LIMITED", "busy", retry_after=0.5)
    assert not await call(exchange, attempt, state)
    assert exchange.busy.retry_after == 0.5


@pytest.mark.parametrize("probe", [False, True])
async def test_a_backend_that_failed_while_a_call_waited_is_not_run_into(probe: bool) -> None:
    exchange, attempt, state, pools = waiting(says(), model="strict")
    place = await pools.queue("one", 1, 2).slot("other", 1, 10)
    task = asyncio.ensure_future(call(exchange, attempt, state))
    await asyncio.sleep(0.02)
    now, rule = exchange.clock(), rule_of(PLACES.models["strict"].policy)
    failed = state.health.permit("one:a", rule, now)
    state.health.finished(failed, "timeout", now)  # type: ignore[arg-type]
    assert attempt.permit
    attempt.permit.lease = int(probe)
    place.release()
    assert await task is probe, "a probe is there to find out"
    assert pools.in_use == 0
    if not probe:
        assert attempt.failure
        assert (attempt.failure.kind, attempt.failure.code) == ("busy", "MODEL_UNAVAILABLE")
        assert (attempt.dispatched, pools.asked, journal_of(state).begun) == (False, [], [])
        assert exchange.held_back_s == pytest.approx(15, abs=0.5)


async def test_a_provider_in_this_process_has_places_enough_and_is_left_alone_too() -> None:
    exchange, attempt, state, pools = waiting(model="demo")
    attempt.delay_s = 0.02
    task = asyncio.ensure_future(call(exchange, attempt, state))
    now, rule = exchange.clock(), rule_of(PLACES.models["demo"].policy)
    state.health.finished(state.health.permit("demo:x", rule, now), "timeout", now)  # type: ignore[arg-type]
    assert not await task
    assert pools.places == {}


@pytest.mark.parametrize("fails", [False, True])
async def test_each_part_of_a_long_list_has_a_place_of_its_own(fails: bool) -> None:
    """Four parts and two places: nobody waits for himself."""
    last = refuses(500, 0.01) if fails else vectors(0.01, count=5)
    turns = [vectors(0.01, count=10), vectors(0.01, count=10), vectors(0.01, count=10), last]
    body = json.dumps({"model": "vectors", "input": [str(number) for number in range(35)]}).encode()
    exchange, attempt, state, pools = waiting(*turns, model="vectors", operation="embed", body=body)
    assert await call(exchange, attempt, state) is not fails
    assert len(pools.asked) == 4
    assert pools.most_at_once == 2
    assert (pools.in_use, pools.under_way, pools.places["ten"].waiting) == (0, 0, 0)
