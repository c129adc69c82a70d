"""Start and stop: SIGTERM lets running calls finish and refuses new ones; what cannot start says why in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import SCAIGRID, Gateway, running
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


# -- what cannot start says so in one line ----------------------------------------------------------------------------


def refused_start(config: Path) -> tuple[int, str]:
    """Exit status and standard error of a start that must not succeed; nothing may stand on standard output."""
    done = subprocess.run([SCAIGRID, "serve", "-c", config], capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


def test_a_second_appliance_on_the_same_data_dir_is_refused(gateway: Gateway) -> None:
    second = gateway.folder / "second.yaml"
    second.write_text("version: 1\nserver: {listen: '127.0.0.1:0', data_dir: ./var}\n" + MODELS)
    status, said = refused_start(second)
    assert status == 1
    assert said.count("\n") == 1
    assert str(gateway.data_dir) in said
    assert gateway.post("/v1/inference/chat", asked("quick")).status == 200, "the first one serves on"


def test_a_port_in_use_is_refused(gateway: Gateway) -> None:
    second = gateway.folder / "second.yaml"
    address = gateway.url.removeprefix("http://")
    second.write_text(f"version: 1\nserver: {{listen: '{address}', data_dir: ./other}}\n" + MODELS)
    status, said = refused_start(second)
    assert status == 1
    assert said.count("\n") == 1
    assert address in said


BROKEN_YAML = {
    "syntax": ("version: 1\nmodels: {a: [\n", r":\d+:\d+: "),
    "unknown-key": ("version: 1\nmodles: {}\n", r"scaigrid.yaml:2:1: .*modles"),
    "unknown-provider": (
        "version: 1\nmodels:\n  m: {price: free, route: [{backend: 'x:y'}]}\n",
        r"scaigrid.yaml:3:\d+: ",
    ),
    "missing-price": ("version: 1\nproviders: {d: {type: demo}}\nmodels:\n  m: {route: [{backend: 'd:y'}]}\n", "price"),
}


@pytest.mark.parametrize("name", BROKEN_YAML)
def test_a_broken_yaml_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    text, pattern = BROKEN_YAML[name]
    config = tmp_path / "scaigrid.yaml"
    config.write_text(text)
    status, said = refused_start(config)
    assert status == 1
    assert len([line for line in said.splitlines() if "scaigrid.yaml:" in line]) == 1, said
    assert re.search(pattern, said), said
    assert not (tmp_path / "var").exists(), "nothing is made before the configuration is good"


def test_a_missing_file_is_refused_in_one_line(tmp_path: Path) -> None:
    status, said = refused_start(tmp_path / "nowhere.yaml")
    assert status == 1
    assert said.count("\n") == 1
    assert "nowhere.yaml" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir(mode=0o500)
    (tmp_path / "scaigrid.yaml").write_text("version: 1\nserver: {listen: '127.0.0.1:0'}\n" + MODELS)
    status, said = refused_start(tmp_path / "scaigrid.yaml")
    assert (status, said.count("\n")) == (1, 1)


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("not a folder")
    (tmp_path / "scaigrid.yaml").write_text("version: 1\nserver: {listen: '127.0.0.1:0'}\n" + MODELS)
    status, said = refused_start(tmp_path / "scaigrid.yaml")
    assert (status, said.count("\n")) == (1, 1)
    assert "var" in said


def test_a_database_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "scaigrid.db").write_bytes(b"this is no database, " * 500)
    (tmp_path / "scaigrid.yaml").write_text("version: 1\nserver: {listen: '127.0.0.1:0'}\n" + MODELS)
    status, said = refused_start(tmp_path / "scaigrid.yaml")
    assert (status, said.count("\n")) == (1, 1)
    assert "scaigrid.db" in said


def test_an_admin_key_file_without_a_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "admin.key").write_text("hello\n")
    (tmp_path / "var" / "admin.key").chmod(0o600)
    (tmp_path / "scaigrid.yaml").write_text("version: 1\nserver: {listen: '127.0.0.1:0'}\n" + MODELS)
    status, said = refused_start(tmp_path / "scaigrid.yaml")
    assert (status, said.count("\n")) == (1, 1)
    assert "admin.key" in said


# -- files and sockets ------------------------------------------------------------------------------------------------


def test_the_data_dir_is_the_owners_alone(gateway: Gateway) -> None:
    assert stat.S_IMODE(gateway.data_dir.stat().st_mode) == 0o700
    gateway.post("/v1/inference/chat", asked("quick"))
    loose = [path for path in gateway.data_dir.rglob("*") if path.stat().st_mode & 0o077]
    assert loose == []


def test_the_admin_key_stays_the_same_over_a_restart(gateway: Gateway) -> None:
    key = gateway.admin_key
    gateway.terminate()
    gateway.start()
    assert gateway.admin_key == key
    assert gateway.get("/v1/me").json()["data"]["id"] == "default:admin"
    assert stat.S_IMODE((gateway.data_dir / "admin.key").stat().st_mode) == 0o600


def test_a_unix_socket_serves_and_is_closed_to_strangers(tmp_path: Path) -> None:
    path = tmp_path / "grid.sock"
    gateway = Gateway(tmp_path, {})
    gateway.write(f"server:\n  listen: unix:{path}\n" + MODELS)
    gateway.launch()
    try:
        assert eventually(lambda: path.is_socket() and b"200 OK" in over_unix(path, b"GET /health"), 10), (
            gateway.output()
        )
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        gateway.kill()
        assert path.is_socket(), "a killed appliance leaves it behind"
        gateway.launch()
        assert eventually(lambda: b"200 OK" in over_unix(path, b"GET /health"), 10), gateway.output()
        assert gateway.terminate() == 0
        assert not path.exists(), "an orderly end takes it away"
    finally:
        gateway.stop()


def over_unix(path: Path, what: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(3)
        try:
            client.connect(str(path))
        except OSError:
            return b""
        client.sendall(what + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while piece := client.recv(4096):
            received += piece
        return received
