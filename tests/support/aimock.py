"""Runs aimock, a mock of the providers' APIs that nobody here wrote, as an upstream on a free loopback port.

What it answers is in aimock_fixtures/*.json, chosen by words of the last user message, in the OpenAI and the Anthropic
dialect alike; a request that no fixture fits is answered with 503 `no_fixture_match`, one with any other credential
than API_KEY with 401. It must not be used to show that a parameter is right: it takes any model name and any value.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.server_process import running_server

VERSION = "1.43.0"
API_KEY = "aimock-upstream-key"
FIXTURES = Path(__file__).with_name("aimock_fixtures")
HOME = Path(__file__).resolve().parents[2] / ".toolbox" / "aimock"


@dataclass(frozen=True, slots=True)
class Aimock:
    """A running aimock; `url` has no path."""

    url: str

    @property
    def openai_base_url(self) -> str:
        return f"{self.url}/v1"

    @property
    def anthropic_base_url(self) -> str:
        return self.url

    def requests(self) -> list[dict[str, Any]]:
        """What it was asked since the last `forget`, oldest first: method, path, headers, body, response.

        Keys are redacted there. The body of an Anthropic request is shown in OpenAI's shape, and only in part.
        """
        entries: list[dict[str, Any]] = json.loads(self._control("GET", "journal"))
        return entries

    def forget(self) -> None:
        """Empties the list of requests."""
        self._control("POST", "reset/journal")

    def _control(self, method: str, path: str) -> bytes:
        request = urllib.request.Request(f"{self.url}/__aimock/{path}", method=method)
        request.add_header("Authorization", f"Bearer {API_KEY}")
        with urllib.request.urlopen(request, timeout=5) as answer:
            body: bytes = answer.read()
        return body


@contextmanager
def running_aimock(fixtures: Path = FIXTURES) -> Iterator[Aimock]:
    """An aimock over the fixture files of a folder, stopped at the end of the block."""
    program = HOME / VERSION / "dist" / "cli.js"
    if not program.is_file():
        pytest.fail(f"no aimock {VERSION} in {HOME}: run `sh tests/support/install_aimock.sh`", pytrace=False)
    command: list[str | Path] = [
        HOME / "node",
        program,
        *["--port", "0", "--validate-on-load", "--strict", "--fixtures"],
        fixtures,
    ]
    # Nothing else of our environment: aimock has more switches there, set on some machine or other.
    with running_server(command, env={"AIMOCK_API_KEYS": API_KEY}) as url:
        yield Aimock(url)


@pytest.fixture(scope="session")
def aimock() -> Iterator[Aimock]:
    """One aimock for the whole run; a conftest.py that imports this name offers it to its tests."""
    with running_aimock() as running:
        yield running
