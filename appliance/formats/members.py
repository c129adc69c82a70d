"""Reads typed members of a caller's JSON object; a wrong one becomes a VALIDATION_ERROR with its dotted path.

An absent member and a null one read as None. Nothing here changes the object, and nothing knows a dialect.
"""

from __future__ import annotations

import math
from typing import Any

from appliance.errors import invalid


class Members:
    """One object and where it stands. Every member that was asked for is known; `rest` has the others."""

    __slots__ = ("_known", "_object", "path")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise invalid(path or "body", f"must be an object, not {kind(value)}")
        self._object: dict[str, Any] = value
        self._known: set[str] = set()
        self.path = path

    def at(self, name: str | int) -> str:
        """The dotted path of a member."""
        return f"{self.path}.{name}" if self.path else str(name)

    def value(self, name: str) -> Any:
        self._known.add(name)
        return self._object.get(name)

    def rest(self) -> dict[str, Any]:
        return {name: value for name, value in self._object.items() if name not in self._known}

    def needed(self, name: str) -> Any:
        value = self.value(name)
        if value is None:
            raise invalid(self.at(name), "is required")
        return value

    def text(self, name: str) -> str | None:
        value = self.value(name)
        return None if value is None else text(value, self.at(name))

    def needed_text(self, name: str) -> str:
        value = text(self.needed(name), self.at(name))
        if not value:
            raise invalid(self.at(name), "must not be empty")
        return value

    def flag(self, name: str) -> bool | None:
        value = self.value(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(self.at(name), f"must be true or false, not {kind(value)}")
        return value

    def integer(self, name: str, low: int | None = None, high: int | None = None) -> int | None:
        value = self.value(name)
        if value is None:
            return None
        if type(value) is not int:
            raise invalid(self.at(name), f"must be an integer, not {kind(value)}")
        self._within(name, value, low, high)
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.value(name)
        if value is None:
            return None
        if type(value) not in (int, float) or not math.isfinite(value):
            raise invalid(self.at(name), f"must be a number, not {kind(value)}")
        self._within(name, value, low, high)
        return float(value)

    def members(self, name: str) -> Members | None:
        value = self.value(name)
        return None if value is None else Members(value, self.at(name))

    def needed_members(self, name: str) -> Members:
        return Members(self.needed(name), self.at(name))

    def items(self, name: str) -> list[Any]:
        """A list; an absent one is empty."""
        value = self.value(name)
        return [] if value is None else items(value, self.at(name))

    def plain_object(self, name: str) -> dict[str, Any] | None:
        value = self.value(name)
        return None if value is None else Members(value, self.at(name))._object

    def word(self, name: str, words: tuple[str, ...]) -> str:
        value = self.needed(name)
        if value not in words:
            said = f'"{value}"' if isinstance(value, str) else kind(value)
            raise invalid(self.at(name), f"must be {one_of(words)}, not {said}")
        return str(value)

    def _within(self, name: str, value: float, low: float | None, high: float | None) -> None:
        if (low is None or value >= low) and (high is None or value <= high):
            return
        asked = f"at least {low}" if high is None else f"at most {high}" if low is None else f"from {low} to {high}"
        raise invalid(self.at(name), f"must be {asked}, not {value}")


def text(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise invalid(path, f"must be a string, not {kind(value)}")
    return value


def items(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise invalid(path, f"must be a list, not {kind(value)}")
    return value


def kind(value: Any) -> str:
    """What a JSON value is, in words for the caller."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number with a fraction"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def one_of(words: tuple[str, ...]) -> str:
    quoted = [f'"{word}"' for word in words]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
