"""The client leaves: the upstream sees it within 250 ms, what was used is booked, and nothing stays in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Gateway, running
from support.calling import SURFACES
from support.faults import Play, begins
from support.upstream import Call, Upstream, chunk
from support.wire import Wire, request_bytes

SOON_S = 0.25
"""How soon the upstream has to see it. The contract asks for a second (section 3)."""
TRIES = 3
"""The best of them counts: a loaded machine is late now and then, a gateway that waits for something is each time."""


async def role_only(call: Call) -> None:
    """The headers and a role are here, the first content is not."""
    await call.start_stream()
    await call.chunk(chunk({"role": "assistant", "content": ""}))
    await call.until_hung_up()


async def endless(call: Call) -> None:
    await call.start_stream()
    while not call.hung_up:
        await call.chunk(chunk({"content": "word "}))
        await asyncio.sleep(0.01)


async def fails_then_waits(call: Call) -> None:
    """The first attempt fails; the second one never answers."""
    if call.number % 2 == 0:
        await call.reply(500, {"error": {"message": "once more, please"}})
    else:
        await call.until_hung_up()


STREAMS: dict[str, Play] = {
    "waiting-for-headers": faults.never_answer,
    "waiting-for-content": role_only,
    "between-words": begins(faults.stalls),
    "in-full-flow": endless,
}
WHOLE: dict[str, Play] = {
    "waiting-for-headers": faults.never_answer,
    "waiting-for-body": faults.half_the_body_then_stall,
}
PHASES = [(name, play, True) for name, play in STREAMS.items()] + [(name, play, False) for name, play in WHOLE.items()]
IDS = [f"{name}-{'stream' if stream else 'whole'}" for name, _, stream in PHASES]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
  demo: {{type: demo}}
models:
  m: {{price: {{input: "1000", output: "2000"}}, route: [{{backend: "up:m"}}]}}
  pool: {{price: free, route: [{{backend: "tight:m"}}]}}
  demo-slow: {{price: free, route: [{{backend: "demo:d,first=20s"}}]}}
  demo-stream: {{price: free, route: [{{backend: "demo:d,pace=20ms,tokens=1000"}}]}}
""".replace("  demo: {", f'  tight: {{type: custom, base_url: "{upstream.url}/v1", max_connections: 1}}\n  demo: {{')
    with running(yaml_text, tmp_path_factory.mktemp("hangup")) as gateway:
        yield gateway


def until(what: str, condition: Callable[[], Any], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def ask(gateway: Gateway, wire: Wire, model: str, request_id: str, surface: str, stream: bool) -> None:
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "tell me a story"}]}
    wire.send(request_bytes(SURFACES[surface], body, gateway.admin_key, {"X-Request-ID": request_id}))


def soon(leave: Callable[[int], float]) -> None:
    """`leave` plays the case once, for the try of that number, and says how long it took until it was seen."""
    took: list[float] = []
    while len(took) < TRIES and min(took, default=SOON_S) >= SOON_S:
        took.append(leave(len(took)))
    assert min(took) < SOON_S, f"the hang-up was seen after {', '.join(f'{seconds:.3f} s' for seconds in took)}"


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("name", "play", "stream"), PHASES, ids=IDS)
def test_the_client_leaves(
    gateway: Gateway, upstream: Upstream, name: str, play: Play, stream: bool, surface: str, leave: str
) -> None:
    case = f"hangup-{name}-{'stream' if stream else 'whole'}-{surface}-{leave}"
    upstream.answer(play)
    soon(lambda number: leaves(gateway, upstream, f"{case}-{number}", name, stream, surface, leave))


def leaves(
    gateway: Gateway, upstream: Upstream, request_id: str, name: str, stream: bool, surface: str, leave: str
) -> float:
    """Once; when the upstream saw it."""
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        ask(gateway, wire, "m", request_id, surface, stream)
        until("the upstream is called", lambda: len(upstream.calls) > calls)
        if name in ("between-words", "in-full-flow"):
            wire.wait_for(b"two" if name == "between-words" else b"word")
        time.sleep(0.05)
        assert gateway.in_flight() == 1
        left_at = float(getattr(wire, leave)())
    (call,) = upstream.calls[calls:]
    until("the upstream sees the hang-up", lambda: call.hung_up)
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of(request_id)
    assert (row["status"], row["estimated"]) == ("cancelled", True)
    assert row["tokens_in"] > 0
    assert (row["tokens_out"] > 0) == (name in ("between-words", "in-full-flow"))
    assert row["cost"] != "0", "the upstream worked, so it is owed"
    assert [attempt["status"] for attempt in row["attempts"]] == ["cancelled"]
    assert row["latency_ms"] < 20_000
    return call.hung_up_at - left_at


def test_a_hang_up_ends_the_waiting_between_attempts(gateway: Gateway, upstream: Upstream) -> None:
    """The first attempt failed, the second is under way: both are in the row, and the second one is given up."""
    upstream.answer(fails_then_waits)
    if len(upstream.calls) % 2:
        upstream.calls.append(upstream.calls[-1])
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        ask(gateway, wire, "m", "hangup-second-attempt", "native", stream=True)
        until("the second attempt", lambda: len(upstream.calls) == calls + 2)
        wire.hang_up()
    until("the upstream sees the hang-up", lambda: upstream.calls[-1].hung_up)
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of("hangup-second-attempt")
    assert row["status"] == "cancelled"
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "cancelled"]


def test_a_hang_up_gives_the_connection_back(gateway: Gateway, upstream: Upstream) -> None:
    """max_connections is 1: a connection that leaked would hold up the next call for ever."""
    for play, stream in ((faults.never_answer, False), (role_only, True), (endless, True)):
        upstream.answer(play)
        upstream.calls.clear()
        with Wire(gateway.url) as wire:
            ask(gateway, wire, "pool", f"hangup-pool-{play.__name__}", "native", stream)
            until("the upstream is called", lambda: upstream.calls)
            wire.hang_up()
        upstream.answer(faults.good)
        body = {"model": "pool", "messages": [{"role": "user", "content": "hi"}]}
        assert gateway.post("/v1/inference/chat", body, timeout_s=2).status == 200


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_waits_in_the_provider_s_queue_may_leave_too(
    gateway: Gateway, upstream: Upstream, stream: bool, leave: str
) -> None:
    """The upstream never sees it, also when a place is free again, and it owes nothing."""
    upstream.answer(faults.never_answer)
    soon(lambda number: leaves_the_queue(gateway, upstream, f"hangup-queue-{stream}-{leave}-{number}", stream, leave))


def leaves_the_queue(gateway: Gateway, upstream: Upstream, case: str, stream: bool, leave: str) -> float:
    """Once; when the gateway has given the call up."""
    calls = len(upstream.calls)
    with Wire(gateway.url) as first, Wire(gateway.url) as second:
        ask(gateway, first, "pool", f"{case}-first", "native", stream=False)
        until("the upstream is called", lambda: len(upstream.calls) > calls)
        ask(gateway, second, "pool", f"{case}-second", "native", stream=stream)
        until("both are in flight", lambda: gateway.in_flight() == 2)
        assert waiting(gateway) == 1
        left_at = float(getattr(second, leave)())
        until("the second one is gone", lambda: gateway.in_flight() == 1)
        took = time.monotonic() - left_at
        assert waiting(gateway) == 0
        first.hang_up()
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    time.sleep(0.05)
    assert len(upstream.calls) == calls + 1
    assert gateway.usage(request_id=f"{case}-second") == [], "it never reached an upstream"
    return took


def waiting(gateway: Gateway) -> int:
    explained = gateway.get("/v1/routing/explain?model=pool&tenant=default").json()["data"]
    count: int = explained["targets"][0]["queue"]["waiting"]
    return count


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
@pytest.mark.parametrize("surface", SURFACES)
def test_a_client_that_does_not_read_holds_the_upstream_back_and_may_leave(
    gateway: Gateway, upstream: Upstream, surface: str, leave: str
) -> None:
    """What it does not take is not piled up here: the upstream is slowed down instead."""
    soon(lambda number: leaves_unread(gateway, upstream, f"hangup-unread-{surface}-{leave}-{number}", surface, leave))


def leaves_unread(gateway: Gateway, upstream: Upstream, request_id: str, surface: str, leave: str) -> float:
    """Once; when the upstream saw it."""
    taken: list[int] = []

    async def gush(call: Call) -> None:
        await call.start_stream()
        while not call.hung_up:
            await call.chunk(chunk({"content": "x" * 60_000}))
            taken.append(60_000)

    upstream.answer(gush)
    upstream.calls.clear()
    with Wire(gateway.url) as wire:
        ask(gateway, wire, "m", request_id, surface, stream=True)
        until("it flows", lambda: len(taken) > 10)
        until("it stops", lambda: stands_still(taken), 5)
        assert sum(taken) < 64_000_000
        left_at = float(getattr(wire, leave)())
    until("the upstream sees the hang-up", lambda: upstream.calls[0].hung_up)
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of(request_id)
    assert row["status"] == "cancelled"
    assert row["tokens_out"] > 1000
    return upstream.calls[0].hung_up_at - left_at


def stands_still(growing: list[int]) -> bool:
    before = len(growing)
    time.sleep(0.3)
    return len(growing) == before


@pytest.mark.parametrize(("model", "stream"), [("demo-slow", True), ("demo-slow", False), ("demo-stream", True)])
def test_a_call_inside_the_process_is_given_up_too(gateway: Gateway, model: str, stream: bool) -> None:
    request_id = f"hangup-{model}-{stream}"
    with Wire(gateway.url) as wire:
        ask(gateway, wire, model, request_id, "native", stream)
        until("it is in flight", lambda: gateway.in_flight() == 1)
        if model == "demo-stream":
            wire.wait_for(b"delta")
        wire.hang_up()
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    assert gateway.usage_of(request_id)["status"] == "cancelled"


def test_a_client_that_sends_its_end_but_still_reads_gets_its_answer_or_is_cancelled(
    gateway: Gateway, upstream: Upstream
) -> None:
    """A half-closed connection is either served to its end or booked as cancelled; never half of both."""
    upstream.answer(
        lambda call: call.stream([chunk({"content": "word "}), chunk({}, "stop"), b"data: [DONE]\n\n"], 0.05)
    )
    with Wire(gateway.url) as wire:
        ask(gateway, wire, "m", "hangup-half-close", "native", stream=True)
        wire.end_of_sending()
        received = wire.rest()
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of("hangup-half-close")
    assert row["status"] == ("completed" if b"[DONE]" in received else "cancelled")


def test_many_that_leave_at_once_leave_nothing_behind(gateway: Gateway, upstream: Upstream) -> None:
    upstream.answer(endless)
    wires = [Wire(gateway.url) for _ in range(40)]
    for number, wire in enumerate(wires):
        ask(gateway, wire, "m", f"hangup-crowd-{number:03}", "native", stream=number % 2 == 0)
    until("all are in flight", lambda: gateway.in_flight() == 40, 5)
    for wire in wires:
        wire.reset()
    until("nothing is in flight", lambda: gateway.in_flight() == 0, 3)
    until("every upstream call is given up", lambda: all(call.hung_up for call in upstream.calls[-40:]), 3)
    rows = [gateway.usage_of(f"hangup-crowd-{number:03}") for number in range(40)]
    assert {row["status"] for row in rows} == {"cancelled"}


def test_no_hang_up_leaves_a_traceback(gateway: Gateway) -> None:
    """Runs last. A hang-up is nobody's fault, so no line of it is an error."""
    assert "traceback" not in gateway.output().lower()
    assert [line for line in gateway.log_lines() if line.get("level") == "error"] == []
    lines = [line for line in gateway.log_lines() if line.get("request_id", "").startswith("hangup-crowd")]
    assert len(lines) == 40, "a call that was given up has its log line too"
    assert {line["outcome"] for line in lines} == {"cancelled"}
