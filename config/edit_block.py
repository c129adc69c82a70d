"""Splices for entries that stand on lines of their own: replace, add, take out. No other line is touched."""

from __future__ import annotations

import re
from typing import Any

from config.edit_change import EditRefused
from config.edit_nodes import Written, keeps_blank_lines
from config.edit_scalars import scalar
from config.edit_text import Splice, has_blank_line, is_blank, line_end, line_start, next_line, tail
from config.edit_values import Layout, column, entry_lines, hung

_SPACE_BEFORE_COMMENT = re.compile(r" {2,}(?=#)")
_PROPERTIES_HERE = re.compile(r"[&!]\S*(?:[ \t]+[&!]\S*)*")


def replace(
    text: str, layout: Layout, parent: Written, index: int, value: Any, block: bool | None = None
) -> list[Splice]:
    """Puts another value behind a colon or dash; the comment on its line stays."""
    node, after, own = parent.items[index], _after(parent, index), column(text, parent.marks[0])
    if isinstance(value, str) and node.style in ("'", '"'):
        return [_in_place(text, node.start, node.end, scalar(value, like=node.style))]
    new = hung(value, own, layout, in_list=parent.kind == "list", block=block)
    inline = f" {new.inline}" if new.inline else ""
    if node.is_block and not _is_beside(text, node, after):
        head = _end_of_properties(text, node, after)
        return [
            Splice(after, head, inline),
            _below(text, layout, line_end(text, head), new.lines, tail(text, node.end, own)),
        ]
    below = line_end(text, node.end)
    start = node.start if new.inline and _is_one_line(text, after, node.start, new.lines) else after
    behind = _in_place(text, start, node.end, new.inline if start > after else inline)
    return [behind, _below(text, layout, below, new.lines)]


def add(
    text: str, layout: Layout, parent: Written, index: int, key: str | None, value: Any, block: bool | None
) -> list[Splice]:
    """Adds an entry before the one at `index`, or at the end; the parent has entries already."""
    own = column(text, parent.marks[0])
    lines = entry_lines(key, value, own, layout, block)
    if index == 0:
        first = parent.marks[0]
        return [Splice(first, first, layout.line_break.join([*lines, " " * own]).lstrip(" "))]
    at = tail(text, parent.items[index - 1].end, own)
    spaced = _is_spaced(text, parent) and not keeps_blank_lines(text, parent.items[index - 1])
    return [_below(text, layout, at, ["", *lines] if spaced else lines)]


def remove(text: str, parent: Written, index: int) -> list[Splice]:
    """Takes out one entry of several, with the comments that stand inside it."""
    begin = parent.marks[index]
    if text[line_start(text, begin) : begin].strip():  # it stands behind a dash: the next entry takes its place
        return [Splice(begin, parent.marks[index + 1], "")]
    return [_lines_of(text, parent, index)]


def empty(text: str, parent: Written, after: int | None) -> list[Splice]:
    """Takes out the only entry; `after` is the end of the colon or dash before the parent, None for the root."""
    braces = "{}" if parent.kind == "mapping" else "[]"
    begin = parent.marks[0]
    end = tail(text, parent.end, column(text, begin))
    if after is None:
        return [Splice(begin, end, braces)]
    if _is_beside(text, parent, after):
        return [Splice(begin, parent.end, braces)]
    at = _end_of_properties(text, parent, after)
    return [Splice(at, at, f" {braces}"), _lines_of(text, parent, 0)]


def wrap(text: str, layout: Layout, parent: Written, index: int) -> list[Splice]:
    """Makes a list the `targets` of a mapping; a list that stands under its key's first letter is moved in."""
    node, own = parent.items[index], column(text, parent.marks[0])
    at = column(text, node.marks[0])
    start, end = line_start(text, node.marks[0]), line_end(text, node.end)
    if at > own:
        return [Splice(start, start, f"{' ' * at}targets:{layout.line_break}")]
    margin = " " * layout.step
    moved = "".join(margin + line if line.strip() else line for line in text[start:end].splitlines(keepends=True))
    return [Splice(start, end, f"{margin}{' ' * own}targets:{layout.line_break}{moved}")]


def _in_place(text: str, start: int, end: int, new: str) -> Splice:
    """Another value on the same line; a comment behind it that stands apart keeps its column."""
    found = _SPACE_BEFORE_COMMENT.match(text, end)
    if not found or not new or "\n" in text[start:end]:
        return Splice(start, end, new)
    spaces = found.end() - start - len(new)
    return Splice(start, found.end(), new + " " * max(spaces, 2))


def _after(parent: Written, index: int) -> int:
    if parent.afters[index] < 0:
        raise EditRefused("a key without a colon cannot be given a value", "write it as `KEY:` first")
    return parent.afters[index]


def _is_beside(text: str, node: Written, after: int) -> bool:
    """Whether a mapping or list begins on the line of its dash."""
    return "\n" not in text[after : node.marks[0]]


def _is_one_line(text: str, after: int, start: int, lines: list[str]) -> bool:
    return start > after and not (lines and "\n" in text[after:start])


def _end_of_properties(text: str, node: Written, after: int) -> int:
    """The end of an anchor and a tag, which stay, behind the colon or dash."""
    found = _PROPERTIES_HERE.match(text, node.start)
    return found.end() if found and node.start < node.marks[0] else after


def _below(text: str, layout: Layout, at: int, lines: list[str], end: int = -1) -> Splice:
    """Lines below the one that ends there, instead of what stands up to `end`; a file's last gets its break."""
    end = max(at, end)
    final = layout.line_break if lines and end == len(text) else ""
    return Splice(at, end, "".join(layout.line_break + line for line in lines) + final)


def _is_spaced(text: str, parent: Written) -> bool:
    """Whether blank lines separate the entries."""
    return len(parent.items) > 1 and has_blank_line(text, parent.items[-2].end, parent.marks[-1])


def _lines_of(text: str, parent: Written, index: int) -> Splice:
    """The lines of an entry; of blank lines on both sides one goes too."""
    start = line_start(text, parent.marks[index])
    end = next_line(text, tail(text, parent.items[index].end, column(text, parent.marks[0])))
    before = line_start(text, start - 1) if start else 0
    if is_blank(text, end) and (start == 0 or is_blank(text, before)):
        end = next_line(text, end)
    return Splice(start, end, "")
