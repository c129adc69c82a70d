"""The real appliance as a child process: `with running(yaml_text, folder) as gateway:`. Its output is kept."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from support.unlimited import without_limits

ROOT = Path(__file__).resolve().parents[2]
SCAIGRID = Path(sys.executable).parent / "scaigrid"
START_TIMEOUT_S = 30


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Answer:
    """One HTTP answer, read whole."""

    def __init__(self, status: int, headers: Message[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        return json.loads(self.body)


class Gateway:
    """A running appliance. `folder` holds its scaigrid.yaml and var/; it may be killed and started again."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.config = folder / "scaigrid.yaml"
        self.data_dir = folder / "var"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._env = {**_clean_environment(), **env}
        self.process: subprocess.Popen[bytes] = None  # type: ignore[assignment]

    def write(self, yaml_text: str) -> None:
        """`version` and `server` are put before the YAML when it has none; so is `listen`."""
        yaml_text = without_limits(yaml_text)
        listen = self.url.removeprefix("http://")
        has_server = "\nserver:" in "\n" + yaml_text
        server = "" if has_server else "server: {}\n"
        version = "" if "\nversion:" in "\n" + yaml_text else "version: 1\n"
        text = f"{version}{server}{yaml_text}"
        if "listen:" not in text:
            text = text.replace("server: {}", f"server: {{listen: '{listen}'}}", 1)
            text = text.replace("server:\n", f"server:\n  listen: '{listen}'\n", 1)
        self.config.write_text(text)

    def start(self) -> None:
        """Start the appliance and wait until it answers."""
        self.launch()
        self._wait_until_up()

    def launch(self) -> None:
        """Start the appliance and wait for nothing."""
        output = (self.folder / "stdout.log").open("ab")
        errors = (self.folder / "stderr.log").open("ab")
        self.process = subprocess.Popen(
            [SCAIGRID, "serve", "-c", self.config],
            stdout=output,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=self._env,
            cwd=self.folder,
            start_new_session=True,
        )
        output.close()
        errors.close()

    def _wait_until_up(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"the appliance ended with {self.process.returncode}:\n{self.output()}")
            with contextlib.suppress(OSError):
                if self.get("/health").status == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(f"the appliance did not start:\n{self.output()}")

    def kill(self) -> None:
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def terminate(self, timeout_s: float = 20) -> int:
        """SIGTERM, then the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    @property
    def admin_key(self) -> str:
        return (self.data_dir / "admin.key").read_text().strip()

    def output(self) -> str:
        return "".join(
            path.read_text(errors="replace") for path in sorted(self.folder.glob("std*.log")) if path.exists()
        )

    def log_lines(self) -> list[dict[str, Any]]:
        lines = (self.folder / "stdout.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30,
    ) -> Answer:
        """`key` is the admin's unless given; None sends none. `body` is bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, method=method)
        if key is not None:
            request.add_header("Authorization", f"Bearer {key or self.admin_key}")
        if data is not None:
            request.add_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            request.add_header(name, value)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=timeout_s) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def get(self, path: str, **options: Any) -> Answer:
        options.setdefault("key", None if path in ("/health", "/health/ready", "/metrics") else "")
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any, **options: Any) -> Answer:
        return self.request("POST", path, body, **options)

    def usage_of(self, request_id: str) -> dict[str, Any]:
        """The one usage row of the call with this request id."""
        rows = self.usage(request_id=request_id)
        assert len(rows) == 1, f"{len(rows)} usage rows for {request_id}, not one"
        return rows[0]

    def in_flight(self) -> int:
        count: int = self.get("/health/detailed").json()["data"]["in_flight"]
        return count

    def usage(self, **query: str) -> list[dict[str, Any]]:
        """All usage rows that the admin sees, newest first."""
        rows: list[dict[str, Any]] = []
        cursor = ""
        while True:
            extra = "".join(f"&{name}={value}" for name, value in query.items())
            answer = self.get(f"/v1/accounting/usage?limit=1000&cursor={cursor}{extra}").json()
            rows += answer["data"]["items"]
            cursor = answer["pagination"]["next_cursor"]
            if not cursor:
                return rows


def _clean_environment() -> dict[str, str]:
    """No provider keys, proxies or settings of the person who runs the tests."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}


@contextlib.contextmanager
def running(yaml_text: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> Iterator[Gateway]:
    """Start the appliance with this YAML in `folder` (a tmp_path; by default a new one); it is stopped at the end."""
    with contextlib.ExitStack() as stack:
        gateway = Gateway(folder or Path(stack.enter_context(tempfile.TemporaryDirectory())), env or {})
        gateway.write(yaml_text)
        stack.callback(gateway.stop)
        gateway.start()
        yield gateway
