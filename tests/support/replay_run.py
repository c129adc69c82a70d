"""One recording through the running gateway in one dialect, and all that it left: answer, usage row, upstream calls."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.grammar import Answer as Told
from support.replay import Case, cases, serves, yaml_of
from support.replay_dialects import Dialect, request
from support.upstream import Call, Script, Upstream

CASES = cases()
GOOD = [case for case in CASES if case.status == 200 and "/garbage-" not in case.name and "-error-" not in case.name]
BROKEN = [case for case in CASES if "/stream-error-" in case.name]
REFUSED = [case for case in CASES if case.status != 200]
GARBAGE = [case for case in CASES if "/garbage-" in case.name]

_numbers = itertools.count(1)


def each(chosen: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", chosen, ids=[case.name for case in chosen])


@dataclass
class Replay:
    request_id: str
    answer: Answer
    calls: list[Call]


class Replayer:
    """A gateway and its upstream, with one connection that stays open: a new one for each call doubles the time."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self._upstream = upstream
        self._connection = http.client.HTTPConnection(gateway.url.removeprefix("http://"), timeout=30)
        self._key = gateway.admin_key

    def close(self) -> None:
        self._connection.close()

    def replayed(self, case: Case, dialect: Dialect, pieces: list[bytes], said: Told | None) -> Replay:
        """Ask for the recording, which arrives in these pieces."""
        return self.asked(dialect, request(dialect, case, said), serves(case, pieces))

    def asked(self, dialect: Dialect, body: dict[str, Any], script: Script) -> Replay:
        self._upstream.calls.clear()
        self._upstream.answer(script)
        request_id = f"replay-{next(_numbers):06}"
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        self._connection.request("POST", dialect.path, json.dumps(body), headers | {"X-Request-ID": request_id})
        response = self._connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        assert self._upstream.calls, answer.body
        return Replay(request_id, answer, list(self._upstream.calls))

    def rows(self, model: str) -> dict[str, dict[str, Any]]:
        """Request id → usage row, of all calls of a model: to ask for each row alone would double the time."""
        return {row["request_id"]: row for row in self.gateway.usage(model=model)}


@contextlib.contextmanager
def replaying(folder: Path) -> Iterator[Replayer]:
    """One gateway with every provider and a model for each case."""
    with Upstream() as upstream, running(yaml_of(CASES, upstream.url), folder) as gateway:
        replayer = Replayer(gateway, upstream)
        yield replayer
        replayer.close()
