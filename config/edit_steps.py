"""Takes a change of plain data apart into the smallest steps, so that what stays the same is not written anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from config.edit_change import GONE, Change, EditRefused, named
from config.nodes import kind
from config.problems import Path, shown

NAMES = ("backend", "name", "period")
"""What tells an item of a list from its neighbours, when the list is replaced by another."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: `set` an entry that is there, `add` one to its parent, `remove`, or `wrap` it in `targets:`"""

    do: Literal["set", "add", "remove", "wrap"]
    path: Path
    value: Any = None


def steps(data: Any, change: Change) -> list[Step]:
    """The steps that bring the data to where the change wants it."""
    if change.value is GONE and not change.path:
        raise EditRefused("the whole configuration cannot be deleted")
    if change.value is GONE:
        return [] if _missing(data, change.path) else [Step("remove", change.path)]
    for depth in range(len(change.path)):
        inner = at(data, change.path[:depth])
        if inner is None:
            return [Step("set", change.path[:depth], _nested(change.path[depth:], change.value))]
        if _child(inner, change.path, depth) is GONE:
            return [Step("add", change.path[: depth + 1], _nested(change.path[depth + 1 :], change.value))]
    return list(_difference(change.path, at(data, change.path), change.value))


def at(data: Any, path: Path) -> Any:
    """The data at a path that is there."""
    for step in path:
        data = data[step]
    return data


def taken(data: Any, step: Step) -> Any:
    """The data after a step; the old one stays as it was."""
    if not step.path:
        return step.value
    head, rest = step.path[0], Step(step.do, step.path[1:], step.value)
    copy: Any = list(data) if isinstance(data, list) else dict(data)
    if rest.path:
        copy[head] = taken(copy[head], rest)
    elif step.do == "remove":
        del copy[head]
    elif step.do == "wrap":
        copy[head] = {"targets": copy[head]}
    elif step.do == "add" and isinstance(copy, list):
        copy.insert(int(head), step.value)
    else:
        copy[head] = step.value
    return copy


def same(one: Any, other: Any) -> bool:
    """Equal, also in type: true is not 1, and 1 is not 1.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def _missing(data: Any, path: Path) -> bool:
    for depth, step in enumerate(path):
        if data is None or _child(data, path, depth) is GONE:
            return True
        data = data[step]
    return False


def _child(parent: Any, path: Path, depth: int) -> Any:
    """The entry at a step, or GONE; refuses what can have no such entry."""
    step = path[depth]
    if isinstance(parent, dict) and isinstance(step, str):
        return parent.get(step, GONE)
    if isinstance(parent, list) and isinstance(step, int) and 0 <= step <= len(parent):
        return parent[step] if step < len(parent) else GONE
    if isinstance(parent, list) and isinstance(step, int):
        message = f"there is no item {step} in {named(path[:depth])}, which has {len(parent)}"
        raise EditRefused(message, f"{len(parent)} adds one at the end")
    what = f"item {step}" if isinstance(step, int) else f"key {shown(step)}"
    message = f"{named(path[:depth])} is {kind(parent)} and has no {what}"
    raise EditRefused(message, f"change {named(path[:depth])} itself")


def _nested(path: Path, value: Any) -> Any:
    """The value inside the mappings and lists that lead to it."""
    for step in reversed(path):
        if isinstance(step, int) and step != 0:
            raise EditRefused(f"there is no item {step} in a list that is not there yet", "begin with item 0")
        value = [value] if isinstance(step, int) else {step: value}
    return value


def _difference(path: Path, old: Any, new: Any) -> Iterator[Step]:
    if same(old, new):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for key in new:
            if key in old:
                yield from _difference((*path, key), old[key], new[key])
            else:
                yield Step("add", (*path, key), new[key])
        yield from (Step("remove", (*path, key)) for key in old if key not in new)
    elif isinstance(old, list) and isinstance(new, list):
        yield from _list_difference(path, old, new)
    elif isinstance(old, list) and isinstance(new, dict) and _is_route(path) and "targets" in new:
        yield Step("wrap", path)
        yield from _difference(path, {"targets": old}, new)
    else:
        yield Step("set", path, new)


def _list_difference(path: Path, old: list[Any], new: list[Any]) -> Iterator[Step]:
    """From the end to the beginning, so that the positions of what is still to come stay."""
    matcher = SequenceMatcher(None, list(map(_name, old)), list(map(_name, new)), autojunk=False)
    for _, start, end, new_start, new_end in reversed(matcher.get_opcodes()):
        common = min(end - start, new_end - new_start)
        for position in range(end - 1, start + common - 1, -1):
            yield Step("remove", (*path, position))
        for item in reversed(new[new_start + common : new_end]):
            yield Step("add", (*path, start + common), item)
        for offset in range(common):
            yield from _difference((*path, start + offset), old[start + offset], new[new_start + offset])


def _name(item: Any) -> str:
    if isinstance(item, dict):
        item = next((item[name] for name in NAMES if name in item), sorted(map(str, item)))
    return repr(item)


def _is_route(path: Path) -> bool:
    return len(path) == 3 and path[0] == "models" and path[2] == "route"
