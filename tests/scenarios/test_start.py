"""What cannot start says why in one line; what starts keeps its files and its socket to itself."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.appliance import SCAIGRID, Gateway, running

MODELS = """
providers:
  demo: {type: demo}
models:
  quick: {price: free, route: [{backend: "demo:q"}]}
"""


ASKED: dict[str, Any] = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with running(MODELS, tmp_path) as gateway:
        yield gateway


def eventually(condition: Callable[[], bool], seconds: float = 3) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


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
    assert gateway.post("/v1/inference/chat", ASKED).status == 200, "the first one serves on"


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
    gateway.post("/v1/inference/chat", ASKED)
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
