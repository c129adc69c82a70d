"""Turns pydantic's errors into sentences for operators: what was due, what was found, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, Literal

from pydantic_core import ErrorDetails

from config.credentials import ENTRA_STEPS
from config.document import Document
from config.later import LATER_KEYS, LATER_REMARKS, LATER_VALUES
from config.nodes import MAX_DIGITS, Node, core_value, kind
from config.problems import Path, Place, Problem, filled, meant, problem, shown
from config.routing import UNION_STEPS

_DUE = {
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "frozen_set_type": "a list",
}
_UNIONS: dict[Path, tuple[Path, ...]] = {("models", "route"): UNION_STEPS, ("providers", "entra"): ENTRA_STEPS}
"""(section, key) → steps of pydantic's that follow the key and do not stand in the YAML."""
_YES = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_SILENT = {"default_factory_not_called"}
"""Consequences of another error that is reported by itself."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a path; `on` says whether the value, its key or the entry around it is to blame.

    `value` is shown at the message's `{}`; when a reference gave it, the reference is shown instead. It stands at
    `value_at`, or at the path itself.
    """

    path: Path
    message: str
    hint: str = ""
    on: Literal["value", "key", "parent"] = "value"
    warning: bool = False
    first: Path = ()
    value: str | None = None
    value_at: Path = ()

    def at(self, root: Node) -> Problem:
        """The same as a problem, at its place in the files; `first` leads to what it collides with."""
        hint = f"the first stands at {place_of(root, self.first, self.on)}" if self.first else self.hint
        written = root.find(self.value_at or self.path)[0].text if self.on == "value" else ""
        by_reference = self.value is not None and "${" in written
        message = filled(self.message, written if by_reference else self.value)
        return problem(place_of(root, self.path, self.on), message, hint)


def place_of(root: Node, path: Path, on: Literal["value", "key", "parent"]) -> Place:
    """Where a path stands; what is not there is placed at what is around it."""
    node, key_place = root.find(path[:-1] if on == "parent" else path)
    return node.place if on == "value" else key_place


def explain(error: ErrorDetails, root: Node) -> Finding | None:
    """The finding for one error of pydantic's, or None when another error stands for it."""
    name = error["type"]
    path = _path(error["loc"])
    if name in _SILENT:
        return None
    if name == "flaw":
        return _flaw(path[:-1], error, "key") if path[-1:] == ("[key]",) else _flaw(path, error, "value")
    if name == "missing":
        return Finding(path, f"{shown(str(path[-1]))} is missing", _meaning(path), on="parent")
    if name == "extra_forbidden":
        return _unknown_key(path)
    node, _ = root.find(path)
    if name == "too_short" and node.value:
        return None  # pydantic counts only the good entries, and the bad ones are reported
    if name == "literal_error":
        return _not_one_of(path, node, error)
    return Finding(path, *_wrong_value(error, node))


def _path(location: Path) -> Path:
    """A location of pydantic's without the name of the union's branch that was taken."""
    steps = _UNIONS.get(location[:1] + location[2:3], ())
    return location[:3] + location[4:] if location[3:4] in steps else location


def _flaw(path: Path, error: ErrorDetails, on: Literal["value", "key"]) -> Finding:
    context = error.get("ctx", {})
    message = str(context.get("template", context.get("message", error["msg"])))
    return Finding(path, message, str(context.get("hint", "")), on, value=context.get("value"))


def _unknown_key(path: Path) -> Finding:
    key = str(path[-1])
    shapes = list(shapes_at(path[:-1]))
    if any(key in LATER_KEYS.get(shape.get("title", ""), ()) for shape in shapes):
        return Finding(path, f"{shown(key)} is not served by this version", "remove it until then", on="key")
    known = [name for shape in shapes for name in shape.get("properties", ())]
    otherwise = f"known here: {', '.join(known)}" if known else ""
    return Finding(path, f"unknown key {shown(key)}", meant(key, known, otherwise), on="key")


def _not_one_of(path: Path, node: Node, error: ErrorDetails) -> Finding:
    named = tuple(step for step in path if isinstance(step, str))
    owners = [(shape.get("title", ""), named[-1]) for shape in shapes_at(path[: path.index(named[-1])])]
    choices = re.findall(r"'([^']*)'|(\d+)", str(error.get("ctx", {}).get("expected", "")))
    known = [text or number for text, number in choices]
    listed = ("one of " if len(known) > 1 else "only ") + ", ".join(known)
    for owner in owners:
        if any(fnmatchcase(node.text, pattern) for pattern in LATER_VALUES.get(owner, ())):
            text = node.text.partition("://")[0] + "://…" if "://" in node.text else node.text
            return Finding(path, f"{shown(f'{owner[1]}: {text}')} is not served by this version", listed)
    remarks = [LATER_REMARKS[owner] for owner in owners if owner in LATER_REMARKS]
    if node.value is None or isinstance(node.value, dict | list):
        return Finding(path, f"{kind(node.value)} cannot stand here", listed)
    if "://" in node.text:
        return Finding(path, f"{shown(named[-1])} cannot be this", listed)
    return Finding(
        path, f"{shown(node.text)} cannot stand here", meant(node.text, known, "; ".join([listed, *remarks]))
    )


def _wrong_value(error: ErrorDetails, node: Node) -> tuple[str, str]:
    name, context = error["type"], error.get("ctx", {})
    if name in _DUE:
        return f"{_DUE[name]} is due, found {_found(name, node)}", _type_hint(name, node)
    if name == "greater_than_equal":
        return f"this must be at least {_number(context['ge'])}", ""
    if name == "less_than_equal":
        return f"this must be at most {_number(context['le'])}", ""
    if name in ("too_short", "string_too_short"):
        return "this may not be empty", "remove the key, or fill it in"
    if name == "finite_number":
        return "a finite number is due", ""
    if name == "too_long":
        return f"at most {context['max_length']} entries may stand here", ""
    if name == "string_too_long":
        return f"this text is longer than {context['max_length']} characters", ""
    return "this value is not usable", str(error["msg"])


def _number(value: float) -> str:
    return str(int(value) if value == int(value) else value)


def _found(name: str, node: Node) -> str:
    if isinstance(node.value, str) and node.value.lower() in _YES:
        return f"the text {shown(node.value)}"
    return (
        f"the number {shown(node.text)}" if name == "int_type" and isinstance(node.value, float) else kind(node.value)
    )


def _type_hint(name: str, node: Node) -> str:
    if name == "bool_type" and isinstance(node.value, str) and node.value.lower() in _YES:
        return f"write `{_YES[node.value.lower()]}`"
    if name == "string_type" and isinstance(node.value, int | float):
        return "put it in quotes"
    if name in ("int_type", "float_type", "bool_type") and isinstance(node.value, str):
        if "${" in node.text:
            return "a reference always gives a text"
        return "write it without quotes" if core_value(node.text[:MAX_DIGITS]) != node.text else ""
    if name.startswith(("tuple", "list", "frozen")):
        return "write [A, B], or `- A` lines"
    return ""


def _meaning(path: Path) -> str:
    """The description of a key that is missing."""
    for shape in shapes_at(path[:-1]):
        if found := shape.get("properties", {}).get(path[-1]):
            return str(found.get("description", ""))
    return ""


@cache
def shape_of_document() -> dict[str, Any]:
    """The document's JSON Schema, as pydantic writes it."""
    return Document.model_json_schema()


def shapes_at(path: Path) -> Iterator[dict[str, Any]]:
    """The schemas of mappings that may stand at a path."""
    shapes = list(_alternatives(shape_of_document()))
    for step in path:
        shapes = [inner for shape in shapes for inner in _alternatives(_step(shape, step))]
    yield from (shape for shape in shapes if "properties" in shape)


def _step(shape: dict[str, Any], step: str | int) -> dict[str, Any]:
    if isinstance(step, int):
        inner = shape.get("items", {})
    else:
        inner = shape.get("properties", {}).get(step) or shape.get("additionalProperties")
    return inner if isinstance(inner, dict) else {}


def _alternatives(shape: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema with its reference and its unions followed."""
    if "$ref" in shape:
        name = str(shape["$ref"]).rpartition("/")[2]
        yield from _alternatives(shape_of_document()["$defs"][name])
    elif choices := shape.get("anyOf") or shape.get("oneOf"):
        for choice in choices:
            yield from _alternatives(choice)
    else:
        yield shape
