"""Splices for entries between braces or brackets: replace, add, take out. They stay between them."""

from __future__ import annotations

from typing import Any

from config.edit_nodes import Written, is_bare, skip_properties, skip_space
from config.edit_scalars import scalar
from config.edit_text import Splice, line_end, line_start
from config.edit_values import flow, key_text


def replace(text: str, parent: Written, index: int, value: Any) -> list[Splice]:
    """Puts another value behind a colon, or another item between two commas."""
    node = parent.items[index]
    if isinstance(value, str) and node.style in ("'", '"'):
        return [Splice(node.start, node.end, scalar(value, flow=True, like=node.style))]
    if node.start < node.end:
        return [Splice(node.start, node.end, flow(value))]
    return [Splice(node.start, node.end, f"{':' if parent.afters[index] < 0 else ''} {flow(value)}")]


def add(text: str, parent: Written, index: int, key: str | None, value: Any) -> list[Splice]:
    """Adds an entry before the one at `index`, or at the end."""
    new = flow(value) if key is None else f"{key_text(key, flow=True)}: {flow(value)}"
    if not parent.items:
        inside = skip_properties(text, parent.start) + 1
        blank = not text[inside : parent.end - 1].strip()
        return [Splice(inside, parent.end - 1 if blank else inside, new)]
    if is_bare(parent, text):
        return [Splice(parent.start, parent.start, "{"), Splice(parent.end, parent.end, f", {new}}}")]
    if index < len(parent.items):
        return [Splice(parent.marks[index], parent.marks[index], f"{new}, ")]
    last = parent.items[-1]
    return [Splice(last.end, last.end, f", {new}" if last.start < last.end else f" , {new}")]


def remove(text: str, parent: Written, index: int) -> list[Splice]:
    """Takes out an entry and one comma; comments on other entries' lines stay."""
    begin, end = parent.marks[index], parent.items[index].end
    if len(parent.items) == 1:
        if is_bare(parent, text):
            return [Splice(parent.start, parent.end, "{}")]
        return [Splice(skip_properties(text, parent.start) + 1, parent.end - 1, "")]
    if index + 1 < len(parent.items):
        return [Splice(begin, parent.marks[index + 1], "")]
    before = parent.items[index - 1].end
    if "\n" not in text[before:begin]:
        return [Splice(before, end, "")]
    comma = skip_space(text, end)
    end = comma + 1 if text[comma] == "," else end
    rest = line_end(text, end)
    return [Splice(line_end(text, line_start(text, begin) - 1), rest if _is_comment(text[end:rest]) else end, "")]


def _is_comment(rest: str) -> bool:
    return rest.lstrip(" \t").startswith("#")


def wrap(parent: Written, index: int) -> list[Splice]:
    """Makes a list the `targets` of a mapping."""
    node = parent.items[index]
    return [Splice(node.start, node.start, "{targets: "), Splice(node.end, node.end, "}")]
