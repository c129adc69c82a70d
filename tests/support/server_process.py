"""Runs a program that listens on a loopback port of its own choice, for as long as a block lasts."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn

import pytest

_URL = re.compile(rb"http://127\.0\.0\.1:\d+")


@contextmanager
def running_server(
    command: Sequence[str | Path], *, env: Mapping[str, str], cwd: Path | None = None, start_seconds: float = 20.0
) -> Iterator[str]:
    """Yields the first loopback URL that the program prints; `env` is its whole environment."""
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(env), cwd=cwd
        )
        try:
            yield _wait_for_url(process, output, start_seconds)
        finally:
            _stop(process)


def _wait_for_url(process: subprocess.Popen[bytes], output: IO[bytes], start_seconds: float) -> str:
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline:
        stopped = process.poll() is not None
        if found := _URL.search(_said(output)):
            return found[0].decode()
        if stopped:
            _fail(f"stopped with {process.returncode}", process, output)
        time.sleep(0.02)
    _fail(f"printed no URL within {start_seconds:.0f} s", process, output)


def _fail(what: str, process: subprocess.Popen[bytes], output: IO[bytes]) -> NoReturn:
    said = _said(output).decode(errors="replace")
    pytest.fail(f"{process.args!r} {what}. It said:\n{said}", pytrace=False)


def _said(output: IO[bytes]) -> bytes:
    # The program writes through the same file offset, which reading must not move.
    return os.pread(output.fileno(), 1 << 20, 0)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
