"""What an edit is: a Change of one entry; and EditRefused, when the file cannot be changed that way."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from config.problems import Path, Place, shown


class Gone(Enum):
    """What a deleted entry's value is."""

    GONE = "gone"


GONE: Final = Gone.GONE


@dataclass(frozen=True, slots=True)
class Change:
    """A new value for the entry at a path of the whole document, or its end. Values are plain data, as in the YAML."""

    path: Path
    value: Any = GONE


class EditRefused(Exception):
    """The edit cannot be made; nothing was written."""

    def __init__(self, message: str, hint: str = "", place: Place | None = None) -> None:
        self.message, self.hint, self.place = message, hint, place
        where = f"{place}: " if place else ""
        super().__init__(f"{where}{message}{f' ({hint})' if hint else ''}")


class EditConflict(EditRefused):
    """Somebody else changed the file since it was loaded."""


def named(path: Path) -> str:
    """A path in a message: `models.gpt.route.targets[0]`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return shown(steps.removeprefix("."))
