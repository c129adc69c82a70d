"""SIGTERM lets running calls finish and refuses new ones, up to the drain timeout; SIGHUP kills nothing."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.sse import ended, events, failure_of
from support.wire import Wire, request_bytes

MODELS = """
providers:
  demo: {type: demo}
models:
  quick: {price: free, route: [{backend: "demo:q"}]}
  steady: {price: {input: "1", output: "2"}, route: [{backend: "demo:s,pace=40ms,tokens=30"}]}
  endless: {price: {input: "1", output: "2"}, route: [{backend: "demo:e,pace=40ms,tokens=100000"}]}
  slow: {price: free, route: [{backend: "demo:w,first=1s"}]}
"""


def asked(model: str, stream: bool = False) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running("server:\n  drain_timeout: 5s\n" + MODELS, tmp_path) as gateway:
        yield gateway


class Running(threading.Thread):
    """One call on a connection of its own; `received` is everything that came."""

    def __init__(
        self, gateway: Gateway, model: str, request_id: str, stream: bool, surface: str = "/v1/inference/chat"
    ) -> None:
        super().__init__()
        self.received = b""
        self._wire = Wire(gateway.url)
        headers = {"X-Request-ID": request_id, "Connection": "close"}
        self._wire.send(request_bytes(surface, asked(model, stream), gateway.admin_key, headers))
        if stream:
            self._wire.wait_for(b"delta")
        self.start()

    def run(self) -> None:
        with self._wire:
            self._wire.closed_within(15)
            self.received = self._wire.received

    def body(self) -> bytes:
        """The joined chunks of a streamed answer, or the whole one."""
        self.join()
        head, _, rest = self.received.partition(b"\r\n\r\n")
        if b"chunked" not in head:
            return rest
        body = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body


def eventually(condition: Callable[[], bool], seconds: float = 3) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def after_restart(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """The call's usage row, as the next start finds it."""
    gateway.start()
    return gateway.usage_of(request_id)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_calls_finish_and_new_ones_are_refused(gateway: Gateway, number: signal.Signals) -> None:
    stream = Running(gateway, "steady", "drain-stream", stream=True)
    whole = Running(gateway, "slow", "drain-whole", stream=False)
    compat = Running(gateway, "steady", "drain-compat", stream=True, surface="/oai/v1/chat/completions")
    assert eventually(lambda: gateway.in_flight() == 3)
    gateway.process.send_signal(number)
    assert eventually(lambda: gateway.get("/health/ready").status == 503)

    refused = gateway.post("/v1/inference/chat", asked("quick"))
    assert (refused.status, refused.json()["error"]["code"]) == (503, "SHUTTING_DOWN")
    assert refused.json()["error"]["retry_after"] >= 1
    assert int(refused.headers["Retry-After"]) >= 1
    refused = gateway.post("/oai/v1/chat/completions", asked("quick"))
    assert refused.status == 503
    assert set(refused.json()["error"]) == {"message", "type", "param", "code"}
    assert int(refused.headers["Retry-After"]) >= 1
    assert gateway.get("/v1/models").status == 503
    ready = gateway.get("/health/ready").json()
    assert ready["status"] != "ready"
    assert "draining" in ready["checks"]
    assert gateway.get("/health").status == 200, "the process is alive"

    assert gateway.process.wait(10) == 0
    for running_stream in (stream, compat):
        body = running_stream.body()
        assert ended(body)
        assert failure_of(body) is None
        words = [data for _, data in events(body) if isinstance(data, dict) and data["choices"]]
        assert len(words) >= 30
    assert json.loads(whole.body())["status"] == "ok"
    assert "traceback" not in gateway.output().lower()
    gateway.start()
    rows = {row["request_id"]: row["status"] for row in gateway.usage()}
    assert rows == {"drain-stream": "completed", "drain-whole": "completed", "drain-compat": "completed"}
    assert "recovered" not in gateway.output(), "after an orderly end nothing has to be recovered"


def test_without_calls_it_stops_at_once(gateway: Gateway) -> None:
    begun = time.monotonic()
    assert gateway.terminate() == 0
    assert time.monotonic() - begun < 2
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2])))


def test_an_idle_connection_does_not_hold_up_the_end(gateway: Gateway) -> None:
    with Wire(gateway.url) as silent, Wire(gateway.url) as kept:
        silent.send(b"POST /v1/inference/chat HTTP/1.1\r\n")
        kept.send(request_bytes("/v1/inference/chat", asked("quick"), gateway.admin_key))
        assert kept.answer()[0] == 200
        begun = time.monotonic()
        assert gateway.terminate() == 0
        assert time.monotonic() - begun < 2


def test_a_kept_connection_is_refused_too_while_draining(gateway: Gateway) -> None:
    with Wire(gateway.url) as kept:
        kept.send(request_bytes("/v1/inference/chat", asked("quick"), gateway.admin_key))
        assert kept.answer()[0] == 200
        running_stream = Running(gateway, "steady", "drain-kept", stream=True)
        gateway.process.send_signal(signal.SIGTERM)
        assert eventually(lambda: gateway.get("/health/ready").status == 503)
        kept.send(request_bytes("/v1/inference/chat", asked("quick"), gateway.admin_key))
        assert kept.answer()[0] == 503
    assert gateway.process.wait(10) == 0
    assert ended(running_stream.body())


def test_what_is_too_slow_is_cut_and_booked(tmp_path: Path) -> None:
    with running("server:\n  drain_timeout: 500ms\n" + MODELS, tmp_path) as gateway:
        running_stream = Running(gateway, "endless", "drain-cut", stream=True)
        begun = time.monotonic()
        assert gateway.terminate() == 0
        assert 0.4 < time.monotonic() - begun < 3
        assert failure_of(running_stream.body()) or not ended(running_stream.body()), "a cut is no orderly end"
        row = after_restart(gateway, "drain-cut")
        assert row["status"] in ("cancelled", "interrupted")
        assert row["estimated"] is True
        assert row["tokens_in"] > 0
        assert "traceback" not in gateway.output().lower()


def test_a_second_signal_cuts_what_runs_and_books_it(gateway: Gateway) -> None:
    """The first signal alone would wait up to 5 s."""
    running_stream = Running(gateway, "endless", "drain-twice", stream=True)
    gateway.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert gateway.process.poll() is None
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(3) == 0
    assert not ended(running_stream.body()) or failure_of(running_stream.body())
    row = after_restart(gateway, "drain-twice")
    assert row["status"] in ("cancelled", "interrupted")
    assert row["estimated"] is True


def test_a_hangup_signal_kills_nothing(gateway: Gateway) -> None:
    running_stream = Running(gateway, "steady", "drain-hup", stream=True)
    for _ in range(3):
        gateway.process.send_signal(signal.SIGHUP)
    assert ended(running_stream.body())
    assert gateway.process.poll() is None
    assert gateway.post("/v1/inference/chat", asked("quick")).status == 200
