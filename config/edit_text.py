"""Splices of a text and its lines: where a line begins and ends, and which comments below belong to an entry."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_BLANK_LINE = re.compile(r"\n[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class Splice:
    """What stands from `start` to `end` is replaced."""

    start: int
    end: int
    text: str


def spliced(text: str, splices: Iterable[Splice]) -> str:
    """The text with every splice made; two at one place are made in their order."""
    pieces, at = list[str](), 0
    for splice in sorted(splices, key=lambda splice: splice.start):
        assert at <= splice.start <= splice.end
        pieces += [text[at : splice.start], splice.text]
        at = splice.end
    return "".join([*pieces, text[at:]])


def line_start(text: str, at: int) -> int:
    return text.rfind("\n", 0, at) + 1


def line_end(text: str, at: int) -> int:
    """The end of the line without its break."""
    end = text.find("\n", at)
    if end < 0:
        return len(text)
    return end - 1 if end > 0 and text[end - 1] == "\r" else end


def next_line(text: str, at: int) -> int:
    """Where the next line begins; the end of the text in the last one."""
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def is_blank(text: str, at: int) -> bool:
    """Whether the line that begins there exists and is empty."""
    return at < len(text) and not text[at : line_end(text, at)].strip()


def has_blank_line(text: str, start: int, end: int) -> bool:
    return _BLANK_LINE.search(text, start, end) is not None


def tail(text: str, at: int, column: int) -> int:
    """The end of an entry's last line; comments below it that are indented deeper than the entry belong to it."""
    end = last = line_end(text, at)
    while (start := next_line(text, last)) < len(text):
        last = line_end(text, start)
        line = text[start:last].lstrip(" \t")
        if line.startswith("#") and last - start - len(line) > column:
            end = last
        elif line:
            break
    return end
