"""Asks over plain HTTP, without any SDK, and reads answers and event streams as they are on the wire."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any

TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event: its `event:` name, empty when none was given, and its data."""

    name: str
    data: str

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        return [_event(block) for block in self.body.decode().split("\n\n") if block]


def ask(url: str, key: str, body: dict[str, Any] | None = None) -> Answer:
    """POSTs the body, or GETs when there is none; an error status is an answer too."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return Answer(response.status, response.headers, response.read())
    except urllib.error.HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.headers, refused.read())


def _event(block: str) -> Event:
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    return Event(fields.get("event", ""), fields["data"])
