"""Reading event streams in tests."""

from __future__ import annotations

import json
from typing import Any


def events(body: bytes) -> list[tuple[str, Any]]:
    """(event name, decoded data) of each event; `[DONE]` stays text."""
    found: list[tuple[str, Any]] = []
    for block in body.decode().split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):  # splitlines would also end a line inside JSON, at U+2028
            key, _, value = line.partition(":")
            if key == "event":
                name = value.strip()
            elif key == "data":
                data.append(value.removeprefix(" "))
        if data:
            text = "\n".join(data)
            found.append((name, text if text == "[DONE]" else json.loads(text)))
    return found


def text_of(body: bytes) -> str:
    """The joined content of the first choice."""
    return "".join(
        choice["delta"].get("content") or ""
        for _, data in events(body)
        if isinstance(data, dict)
        for choice in data.get("choices", [])
        if choice["index"] == 0
    )


def failure_of(body: bytes) -> dict[str, Any] | None:
    """The error event of a stream of either surface; None when there is none."""
    for name, data in events(body):
        if name == "error":
            assert isinstance(data, dict)
            return data
        if isinstance(data, dict) and "error" in data:
            error: dict[str, Any] = data["error"]
            return error
    return None


def ended(body: bytes) -> bool:
    """Is `[DONE]` the last thing it says?"""
    found = events(body)
    return bool(found) and found[-1] == ("", "[DONE]")
