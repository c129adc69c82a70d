"""One call through the appliance with all its traces: the answer, the usage row, the time it took."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

from support.appliance import Answer, Gateway

SURFACES = {"native": "/v1/inference/chat", "compat": "/oai/v1/chat/completions"}


@dataclass
class Seen:
    """What came back, and what was booked."""

    answer: Answer
    row: dict[str, Any]
    seconds: float

    @property
    def error(self) -> dict[str, Any]:
        """The error object of a whole error answer."""
        error: dict[str, Any] = self.answer.json()["error"]
        return error

    @property
    def backends(self) -> list[str]:
        """Who was asked, in order."""
        return [attempt["backend"] for attempt in self.row["attempts"]]


_numbers = itertools.count(1)


def call(gateway: Gateway, model: str, surface: str = "native", **members: Any) -> Seen:
    """`members` go into the request's body."""
    request_id = f"scenario-{next(_numbers):06}"
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]} | members
    begun = time.monotonic()
    answer = gateway.post(SURFACES[surface], body, headers={"X-Request-ID": request_id})
    seconds = time.monotonic() - begun
    assert answer.headers["X-Request-ID"] == request_id
    return Seen(answer, gateway.usage_of(request_id), seconds)
