"""Nodes of a YAML text with their places, and what a plain scalar means under YAML 1.2's core schema."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from config.problems import Path, Place

MAX_DIGITS = 300
"""Digits of a whole number."""

_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_WORDS: dict[str, bool | float | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
Scalar = str | int | float | bool | None


@dataclass(slots=True, eq=False)
class Node:
    """A scalar, a mapping or a list; `text` is a scalar as written, `keys` says where a mapping's keys stand."""

    place: Place
    value: Scalar | dict[str, Node] | list[Node]
    text: str = ""
    keys: dict[str, Place] = field(default_factory=dict)
    height: int = 0
    size: int = 1

    def find(self, path: Path) -> tuple[Node, Place]:
        """The node at a path and its key's place; as far down as the path leads, steps that are not there skipped."""
        node, key_place = self, self.place
        for step in path:
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                key_place = node.keys[step]
                node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                key_place = node.place
        return node, key_place


def core_value(text: str) -> Scalar:
    """What a plain scalar means under YAML 1.2's core schema; raises ValueError for a number of absurd length."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    if len(text) > MAX_DIGITS and (_INT.fullmatch(text) or _BASED.fullmatch(text)):
        raise ValueError("too many digits")
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _INF.fullmatch(text) else text


def kind(value: object) -> str:
    """What a value is, in an operator's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    return {"dict": "a mapping", "list": "a list"}.get(type(value).__name__, "a text")


def measured(node: Node, children: list[Node]) -> Node:
    """The node with its height and size, which aliases multiply."""
    node.height = 1 + max((child.height for child in children), default=0)
    node.size = 1 + sum(child.size for child in children)
    return node
