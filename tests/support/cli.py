"""The `scaigrid` command as people run it: in a pipe with scaigrid(), on a terminal with Terminal."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.appliance import SCAIGRID

TIMEOUT_S = 30.0
# The child makes the terminal its own, so that Ctrl-C reaches it as a signal.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|\x1b[=>]")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the person who runs the tests: no URL, no key, no colours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "TERM": "xterm", "COLUMNS": "80", "LINES": "24", **(extra or {})}


def scaigrid(
    *arguments: str | Path, cwd: Path, stdin: bytes | str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to its end, in a pipe. `cwd` is where ./scaigrid.yaml is looked for."""
    data = stdin if isinstance(stdin, bytes) else stdin.encode()
    done = subprocess.run(
        [SCAIGRID, *arguments], cwd=cwd, input=data, capture_output=True, env=environment(env), timeout=TIMEOUT_S
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


class Terminal:
    """A command on a pseudo-terminal of 80 columns. `screen` is what it has written so far, without escape codes."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.raw = b""
        self._master = master
        self._seen = 0

    @property
    def screen(self) -> str:
        return _ESCAPES.sub("", self.raw.decode(errors="replace")).replace("\r\n", "\n")

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def wait_for(self, text: str, timeout_s: float = TIMEOUT_S) -> str:
        """Read until the text appears behind what the last wait found; gives what came up to it."""
        end = time.monotonic() + timeout_s
        while (found := self.screen.find(text, self._seen)) < 0:
            if time.monotonic() > end or not self._read(end):
                raise AssertionError(f"{text!r} did not appear; the terminal shows:\n{self.screen}")
        passed = self.screen[self._seen : found]
        self._seen = found + len(text)
        return passed

    def end(self, timeout_s: float = TIMEOUT_S) -> int:
        """Read to the end, then the exit status."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._read(end):
            pass
        return self.process.wait(timeout_s)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        try:
            piece = os.read(self._master, 65536) if ready else b""
        except OSError:  # Linux says EIO when the last writer has gone
            piece = b""
        self.raw += piece
        return bool(piece)


@contextlib.contextmanager
def terminal(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, SCAIGRID, *arguments],
        cwd=cwd,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(env),
        start_new_session=True,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        os.close(master)
