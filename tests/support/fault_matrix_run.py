"""Plays every cell of the fault matrix through one real appliance and gathers what was seen; judges nothing."""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import faults
from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
from support.fault_matrix import CELLS, PLAYS, RETRIES, Cell
from support.fault_matrix_servers import SelfSigned, refusing
from support.sse import ended, events, failure_of, text_of
from support.upstream import Upstream

AT_THE_SAME_TIME = 16


@dataclass
class Measured:
    """One cell: what the caller saw, what was booked, which requests arrived at the upstream."""

    cell: Cell
    answer: Answer
    seconds: float
    rows: list[dict[str, Any]]
    arrived: list[int]
    """Requests per place."""
    event: dict[str, Any] | None = field(init=False, default=None)
    """The error event of a stream."""
    text: str = field(init=False, default="")
    is_whole: bool = field(init=False, default=False)
    """It ended in order: one finish reason, one end mark."""

    def __post_init__(self) -> None:
        body = self.answer.body
        if self.answer.status != 200:
            return
        if self.cell.shape == "streamed":
            choices = [each for _, data in events(body) if isinstance(data, dict) for each in data.get("choices", [])]
            finishes = [each["finish_reason"] for each in choices if each.get("finish_reason")]
            self.event, self.text = failure_of(body), text_of(body)
            self.is_whole = finishes == ["stop"] and ended(body) and body.count(b"[DONE]") == 1
        else:
            choices = self.answer.json()["data"]["choices"]
            self.text = "".join(each["message"]["content"] for each in choices)
            self.is_whole = [each["finish_reason"] for each in choices] == ["stop"]

    @property
    def is_answer(self) -> bool:
        return self.answer.status == 200 and self.event is None

    @property
    def code(self) -> str:
        """Of the error that the caller got, in a body or in an event; empty for an answer."""
        if self.answer.status == 200:
            return str(self.event["code"]) if self.event else ""
        return str(self.answer.json()["error"]["code"])

    @property
    def row(self) -> dict[str, Any]:
        return self.rows[0] if self.rows else {}

    @property
    def attempts(self) -> list[dict[str, Any]]:
        return list(self.row.get("attempts", []))

    @property
    def asked(self) -> list[int]:
        """The attempts of the row, as places."""
        return [int(attempt["backend"][-1]) for attempt in self.attempts]


@dataclass
class Run:
    measured: list[Measured]
    tls_connections: int
    """Tried, at the server with the certificate that nobody trusts."""
    heard_over_tls: bytes
    in_flight: int
    output: str


def run(folder: Path) -> Run:
    with Upstream() as upstream, SelfSigned(folder) as selfsigned, refusing() as refusing_port:
        upstream.answer(faults.by_name(PLAYS))
        with running(_yaml(upstream.port, selfsigned.port, refusing_port), folder) as gateway:
            with ThreadPoolExecutor(AT_THE_SAME_TIME) as pool:
                answers = list(pool.map(lambda cell: _call(gateway, cell), [c for c in CELLS if c.fault.has_pauses]))
            # One after the other, so that a pause that should not be there is seen.
            answers += [_call(gateway, cell) for cell in CELLS if not cell.fault.has_pauses]
            rows = defaultdict(list)
            for row in gateway.usage():
                rows[row["request_id"]].append(row)
            measured = [
                Measured(cell, answer, seconds, rows[_request_id(cell)], _arrived(upstream, cell))
                for cell, answer, seconds in answers
            ]
            in_flight = gateway.in_flight()
        return Run(measured, selfsigned.connections, bytes(selfsigned.heard), in_flight, gateway.output())


def _call(gateway: Gateway, cell: Cell) -> tuple[Cell, Answer, float]:
    body = {
        "model": str(cell),
        "messages": [{"role": "user", "content": "hi"}],
        "stream": cell.shape == "streamed",
    }
    begun = time.monotonic()
    answer = gateway.post(SURFACES["native"], body, headers={"X-Request-ID": _request_id(cell)})
    return cell, answer, time.monotonic() - begun


def _request_id(cell: Cell) -> str:
    return f"matrix:{str(cell).replace('/', ':')}"


def _arrived(upstream: Upstream, cell: Cell) -> list[int]:
    return [len(upstream.calls_of(cell.upstream_model(place))) for place in cell.places]


def _yaml(up: int, selfsigned: int, refusing_port: int) -> str:
    base = f'base_url: "http://127.0.0.1:{up}/v1"'
    models = "\n".join(_model(cell) for cell in CELLS)
    return f"""
providers:
  up: {{type: custom, {base}}}
  slow: {{type: custom, {base}, timeouts: {{first_byte: 400ms}}}}
  stalling: {{type: custom, {base}, timeouts: {{idle: 700ms}}}}
  refusing: {{type: custom, base_url: "http://127.0.0.1:{refusing_port}/v1"}}
  selfsigned: {{type: custom, base_url: "https://127.0.0.1:{selfsigned}/v1", api_key: sk-not-for-strangers}}
  nokey: {{type: openai, api_key: "${{env:NOT_SET_ANYWHERE}}"}}
models:
{models}
"""


def _model(cell: Cell) -> str:
    targets = ", ".join(f'{{backend: "{cell.backend(place)}", priority: {place}}}' for place in cell.places)
    route = f"{{retries: {RETRIES}, circuit_breaker: off, targets: [{targets}]}}"
    return f'  {cell}: {{price: {{input: "1000", output: "2000"}}, route: {route}}}'
