"""Where a thing stands and what is wrong with it. No text built here may show a secret."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

MAX_SHOWN = 60
"""Names and values in messages are cut to this many characters."""

SECRET_STARTS = ("sk-", "sgk_", "sk_", "AIza", "Bearer ")

Path = tuple[str | int, ...]
"""The way from the root of the document to an entry: keys and list positions."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A point in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, where, and what to do about it."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` holds everything that was found, in order of place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def problem(place: Place, message: str, hint: str = "") -> Problem:
    """A problem at that place."""
    return Problem(place.file, place.line, place.column, message, hint)


def flaw(message: str, hint: str = "", value: str | None = None) -> PydanticCustomError:
    """What a validator raises; `{}` in the message is the value, which a reference may have given."""
    context = {"message": filled(message, value), "hint": hint, "template": message, "value": value}
    return PydanticCustomError("flaw", "{message}", context)


def filled(message: str, value: str | None) -> str:
    """The message with the value shown at its `{}`."""
    return message if value is None else message.replace("{}", shown(value), 1)


def shown(text: str) -> str:
    """Text between backquotes for a message: one line, cut, and never something that looks like a key."""
    if text.startswith(SECRET_STARTS):
        return "this text"
    cut = text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"
    return "`" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut) + "`"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    by_lower = {item.lower(): item for item in known}
    found = difflib.get_close_matches(name.lower()[:MAX_SHOWN], by_lower, n=1)
    return by_lower[found[0]] if found else None


def meant(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The hint `did you mean …`, or another one when no known name is near."""
    guess = nearest(name, known)
    return f"did you mean {shown(guess)}?" if guess else otherwise
