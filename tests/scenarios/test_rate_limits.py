"""Rate limits over HTTP: every level and kind, the headers of every answer, an honest Retry-After, no slot that leaks.

That capacity returns after 60 s is played with a clock of its own in tests/appliance/state/test_limiter.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.faults import begins
from support.upstream import Call, Upstream, completion, text_stream
from support.wire import Wire, request_bytes

OFF = "{requests_per_minute: unlimited}"
LEVELS = ("key", "user", "tenant", "partner")
KINDS = {
    "requests": "{requests_per_minute: 2}",
    "tokens": "{requests_per_minute: unlimited, tokens_per_minute: 700}",
    "concurrent": "{requests_per_minute: unlimited, concurrent_requests: 2}",
}
WAYS = [("native", False), ("native", True), ("compat", False), ("compat", True)]
WAY_IDS = [f"{surface}-{'stream' if stream else 'whole'}" for surface, stream in WAYS]
LIMIT, REMAINING, RESET = (f"X-Scaigrid-Ratelimit-{name}" for name in ("Limit", "Remaining", "Reset"))
USED = 300
"""Tokens that the upstream reports for every answer."""


def answer(call: Call) -> Any:
    usage = {"prompt_tokens": USED - 50, "completion_tokens": 50, "total_tokens": USED}
    if call.model in PLAYS:
        return PLAYS[call.model](call)
    if call.json.get("stream"):
        return call.stream(text_stream("one", usage=usage))
    return call.reply(200, completion("one", usage=usage))


PLAYS: dict[str, Callable[[Call], Any]] = {
    "silent": faults.never_answer,
    "broken": faults.answers(500),
    "stalled": begins(faults.stalls),
    "resetting": begins(faults.resets),
}


# -- the appliance: one partner per case ------------------------------------------------------------------------------


def partner(name: str, level: str, limits: str) -> str:
    shown = {each: limits if each == level else OFF for each in LEVELS}
    return f"""
  {name}:
    rate_limits: {shown["partner"]}
    tenants:
      {name}:
        rate_limits: {shown["tenant"]}
        user_rate_limits: {shown["user"]}
        key_rate_limits: {shown["key"]}
        users:
          u: {{api_keys: [{{key: {key_of(name)}}}, {{name: other, key: {key_of(name, "other")}}}]}}
          v: {{api_keys: [{{key: {key_of(name, "v")}}}]}}
"""


def key_of(name: str, whose: str = "u") -> str:
    return f"sgk_key-of-{name}-{whose}-0123456789abcdef"


ONE_SLOT = "{requests_per_minute: unlimited, concurrent_requests: 1}"
MATRIX = [(level, kind) for level in LEVELS for kind in KINDS]


def partners() -> Iterator[str]:
    for level, kind in MATRIX:
        yield partner(f"{level}-{kind}", level, KINDS[kind])
    for way in WAY_IDS:
        yield partner(f"headers-{way}", "user", "{requests_per_minute: 3}")
    for name in ("slots", "slots-kill"):
        yield partner(name, "key", ONE_SLOT)
    yield partner("crowd", "tenant", "{requests_per_minute: 30}")
    yield partner("failed", "user", "{requests_per_minute: 50}")
    yield partner("nothing", "key", OFF)
    yield partner("refused", "key", "{requests_per_minute: 2}")
    yield partner("corrected", "key", "{requests_per_minute: unlimited, tokens_per_minute: 2000}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(answer)
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    route = "{retries: 0, circuit_breaker: off, targets: [{backend: 'up:%s'}]}"
    models = "\n".join(f"  {name}: {{price: free, route: {route % name}}}" for name in ("m", *PLAYS))
    yaml_text = f"""
server:
  unauthenticated_rate_limits: {{requests_per_minute: 5}}
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1", timeouts: {{first_byte: 400ms, idle: 400ms}}}}
models:
{models}
partners:
{"".join(partners())}
"""
    with running(yaml_text, tmp_path_factory.mktemp("rates")) as gateway:
        yield gateway


def ask(
    gateway: Gateway, name: str, way: tuple[str, bool] = WAYS[0], *, model: str = "m", whose: str = "u", **members: Any
) -> Answer:
    body = {"model": model, "stream": way[1], "messages": [{"role": "user", "content": "hi"}]} | members
    return gateway.post(SURFACES[way[0]], body, key=key_of(name, whose))


def assert_limited(answer: Answer, what: str) -> None:
    assert answer.status == 429
    error = answer.json()["error"]
    assert error["code"] in ("RATE_LIMITED", "rate_limit_exceeded")
    assert what in error["message"]
    assert 0 < int(answer.headers["Retry-After"]) <= 61


def until(condition: Callable[[], Any], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


# -- every level and kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_requests_are_limited_on_every_level(gateway: Gateway, level: str) -> None:
    name = f"{level}-requests"
    for _ in range(2):
        assert ask(gateway, name).status == 200
    assert_limited(ask(gateway, name), f"the limit of the {level}, 2 requests a minute")
    others = [ask(gateway, name, whose=whose).status for whose in ("other", "v")]
    assert others == {"key": [200, 200], "user": [429, 200]}.get(level, [429, 429])


@pytest.mark.parametrize("level", LEVELS)
def test_tokens_are_limited_on_every_level_by_what_was_used(gateway: Gateway, level: str) -> None:
    """700 a minute; a call is taken for some 50 at first, and uses 300."""
    name = f"{level}-tokens"
    for _ in range(2):
        assert ask(gateway, name, max_tokens=20).status == 200
    assert_limited(ask(gateway, name, max_tokens=100), "700 tokens a minute")
    assert ask(gateway, name, max_tokens=20).status == 200, "what is left is left"
    never = ask(gateway, name, max_tokens=1000)
    assert (never.status, never.headers["Retry-After"]) == (429, None)


@pytest.mark.parametrize("level", LEVELS)
def test_calls_at_the_same_time_are_limited_on_every_level(gateway: Gateway, level: str) -> None:
    name = f"{level}-concurrent"
    with Wire(gateway.url) as first, Wire(gateway.url) as second:
        for wire in (first, second):
            wire.send(request_bytes(SURFACES["native"], body_of("stalled"), key_of(name)))
            wire.wait_for(b"two")
        assert_limited(ask(gateway, name), "2 requests at the same time")
    until(lambda: ask(gateway, name).status == 200)


def body_of(model: str, *, stream: bool = True) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}


def test_a_crowd_gets_exactly_its_limit(gateway: Gateway) -> None:
    with ThreadPoolExecutor(60) as threads:
        statuses = list(threads.map(lambda _: ask(gateway, "crowd").status, range(90)))
    assert (statuses.count(200), statuses.count(429)) == (30, 60)


def test_tokens_reserved_for_an_open_cap_are_corrected(gateway: Gateway) -> None:
    """1000 are held for an answer of unknown length; 300 were used, so six calls in turn fit into 2000, and not two."""
    statuses = [ask(gateway, "corrected").status for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    assert ask(gateway, "corrected", max_tokens=100).status == 200


# -- without a key ----------------------------------------------------------------------------------------------------


def test_calls_without_a_valid_key_are_limited_by_address(gateway: Gateway) -> None:
    """On any URL; who has a key is not touched by it."""
    urls = ["/v1/models", SURFACES["native"], SURFACES["compat"], "/v1/me", "/oai/v1/models", "/v1/users"]
    statuses = []
    for number, url in enumerate(urls * 2):
        key = None if number % 2 else f"sgk_guess-{number:030}"
        body = body_of("m") if "chat" in url else None
        answer = gateway.request("POST" if body else "GET", url, body, key=key)
        statuses.append(answer.status)
        if answer.status == 429:
            assert 0 < int(answer.headers["Retry-After"]) <= 61
    assert statuses == [401] * 5 + [429] * 7
    assert ask(gateway, "nothing").status == 200
    assert gateway.get("/health").status == 200


# -- headers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS, ids=WAY_IDS)
def test_every_inference_answer_tells_the_tightest_limit(gateway: Gateway, way: tuple[str, bool]) -> None:
    name = f"headers-{WAY_IDS[WAYS.index(way)]}"
    for remaining in (2, 1, 0):
        answer = ask(gateway, name, way)
        assert answer.status == 200
        assert_headers(answer, 3, remaining)
    refused = ask(gateway, name, way)
    assert_limited(refused, "3 requests a minute")
    assert_headers(refused, 3, 0)
    assert int(refused.headers[RESET]) >= time.time() + int(refused.headers["Retry-After"]) - 2


def assert_headers(answer: Answer, limit: int, remaining: int) -> None:
    assert int(answer.headers[LIMIT]) == limit
    assert int(answer.headers[REMAINING]) == remaining
    assert time.time() + 55 < int(answer.headers[RESET]) < time.time() + 64


@pytest.mark.parametrize(("model", "status"), [("broken", 502), ("silent", 504)])
def test_failed_answers_tell_it_too(gateway: Gateway, model: str, status: int) -> None:
    answer = ask(gateway, "failed", model=model)
    assert answer.status == status
    assert int(answer.headers[LIMIT]) == 50
    assert 45 < int(answer.headers[REMAINING]) < 50


def test_where_nothing_is_limited_nothing_is_told(gateway: Gateway) -> None:
    answer = ask(gateway, "nothing")
    assert [answer.headers[name] for name in (LIMIT, REMAINING, RESET)] == [None, None, None]


# -- what is refused takes nothing, and what has ended holds nothing --------------------------------------------------


def test_what_something_else_refuses_takes_no_request(gateway: Gateway) -> None:
    for _ in range(5):
        assert ask(gateway, "refused", temperature="warm").status == 422
        assert ask(gateway, "refused", model="no-such-model").status == 404
    assert [ask(gateway, "refused").status for _ in range(3)] == [200, 200, 429]


ENDINGS = [(model, stream) for model in ("m", *PLAYS) for stream in (False, True)]


@pytest.mark.parametrize(("model", "stream"), ENDINGS, ids=[f"{model}-{stream}" for model, stream in ENDINGS])
def test_a_slot_is_free_again_whatever_became_of_the_call(gateway: Gateway, model: str, stream: bool) -> None:
    """One slot: answered, failed, timed out, cut before the first byte and after."""
    for _ in range(3):
        assert ask(gateway, "slots", ("native", stream), model=model).status != 429
    assert ask(gateway, "slots").status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["silent", "stalled"])
@pytest.mark.parametrize("leave", ["hang_up", "reset"])
def test_a_slot_is_free_again_when_the_caller_leaves(
    gateway: Gateway, upstream: Upstream, model: str, stream: bool, leave: str
) -> None:
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["native"], body_of(model, stream=stream), key_of("slots")))
        until(lambda: len(upstream.calls) > calls)
        assert ask(gateway, "slots").status == 429
        getattr(wire, leave)()
    until(lambda: gateway.in_flight() == 0)
    assert ask(gateway, "slots").status == 200


def test_a_kill_leaves_no_slot_taken(gateway: Gateway, upstream: Upstream) -> None:
    """Runs last. Windows are kept in memory: a restart begins with empty ones."""
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES["native"], body_of("silent"), key_of("slots-kill")))
        until(lambda: len(upstream.calls) > calls)
        gateway.kill()
        gateway.start()
    assert ask(gateway, "slots-kill").status == 200
