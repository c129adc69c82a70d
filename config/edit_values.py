"""Writes values as lines: how deep to indent, and when a mapping stands in braces. Knows no key's meaning."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from config.edit_change import EditRefused
from config.edit_nodes import Written, everything
from config.edit_scalars import literal, scalar

WIDTH = 110
"""Columns that what is written in one line may take; what is already there may be longer."""

MAX_KEY = 500
"""Characters of a key; YAML itself ends at 1,024."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How a file is laid out."""

    line_break: str = "\n"
    step: int = 2
    list_step: int = 2
    """Columns of a list's dashes behind the key above it."""


@dataclass(frozen=True, slots=True)
class Hung:
    """A value behind its colon or dash: what stands on the same line, and the lines below."""

    inline: str
    lines: list[str]


def layout_of(text: str, root: Written) -> Layout:
    """The habits of a file; where it has none, those of the example."""
    steps, list_steps = Counter[int](), Counter[int]()
    for node in everything(root):
        if node.kind == "mapping" and node.is_block and node.items:
            own = column(text, node.marks[0])
            for child in node.items:
                if child.is_block and child.items:
                    counted = steps if child.kind == "mapping" else list_steps
                    counted[column(text, child.marks[0]) - own] += 1
    step = _usual(steps, 2)
    first_break = text.find("\n")
    line_break = "\r\n" if first_break > 0 and text[first_break - 1] == "\r" else "\n"
    return Layout(line_break, step, _usual(list_steps, step))


def _usual(counted: Counter[int], otherwise: int) -> int:
    return counted.most_common(1)[0][0] if counted else otherwise


def column(text: str, at: int) -> int:
    """How far a place is from the beginning of its line."""
    return at - text.rfind("\n", 0, at) - 1


def flow(value: Any) -> str:
    """The value in one line, mappings in braces and lists in brackets."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key_text(key, flow=True)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value, flow=True)


def key_text(key: Any, *, flow: bool = False) -> str:
    if not isinstance(key, str) or len(key) > MAX_KEY:
        raise EditRefused("a key must be a text of at most 500 characters", "choose another name")
    return scalar(key, flow=flow)


def hung(value: Any, at: int, layout: Layout, *, in_list: bool = False, block: bool | None = None) -> Hung:
    """A value of an entry that begins in column `at`; `block` decides whether it gets lines of its own."""
    if isinstance(value, str) and (several := literal(value)):
        return Hung(several[0], _indented(several[1], at + layout.step))
    if not isinstance(value, dict | list):
        return Hung(scalar(value), [])
    if not value or not (_is_long(value, at) if block is None else block):
        return Hung(flow(value), [])
    if in_list:
        lines = block_lines(value, at + 2, layout)
        return Hung(lines[0].lstrip(" "), lines[1:])
    return Hung("", block_lines(value, at + (layout.step if isinstance(value, dict) else layout.list_step), layout))


def block_lines(value: Any, at: int, layout: Layout) -> list[str]:
    """A mapping's or a list's entries, each on lines of its own, from column `at` on."""
    lines: list[str] = []
    for key, inner in value.items() if isinstance(value, dict) else [(None, item) for item in value]:
        lines += entry_lines(key, inner, at, layout)
    return lines


def entry_lines(key: str | None, value: Any, at: int, layout: Layout, block: bool | None = None) -> list[str]:
    """One entry: a key with its value or, without a key, an item of a list."""
    head = "-" if key is None else f"{key_text(key)}:"
    rest = hung(value, at, layout, in_list=key is None, block=block)
    return [f"{' ' * at}{head}{f' {rest.inline}' if rest.inline else ''}", *rest.lines]


def _indented(lines: list[str], at: int) -> list[str]:
    return [" " * at + line if line else "" for line in lines]


def _is_long(value: Any, at: int) -> bool:
    """Whether one line would be hard to read."""
    if isinstance(value, list) and any(isinstance(item, dict | list) and item for item in value):
        return True
    return _depth(value) > 2 or _has_lines(value) or at + len(flow(value)) + 20 > WIDTH


def _depth(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def _has_lines(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_has_lines, value.values() if isinstance(value, dict) else value))
    return isinstance(value, str) and "\n" in value
