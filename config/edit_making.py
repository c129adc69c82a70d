"""Makes one step of an edit in the text of the file that holds the entry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from config import edit_block, edit_flow
from config.edit_change import EditRefused, named
from config.edit_drafts import Draft
from config.edit_nodes import Written, used_outside
from config.edit_steps import Step, at, taken
from config.edit_text import Splice
from config.edit_values import block_lines, layout_of
from config.load import NAMED
from config.problems import Path
from config.sources import SECTIONS


@dataclass(frozen=True, slots=True)
class Trail:
    """The way through one file towards a path, as far as it leads."""

    draft: Draft
    slots: list[tuple[Written, int]]
    """Each mapping or list on the way, and the position of the next step in it."""
    node: Written
    """Where it ends."""
    left: int
    """Steps of the path that it does not lead."""

    @property
    def is_borrowed(self) -> bool:
        """What follows comes by an alias or a merge key."""
        return self.node.kind == "alias" or (self.left > 0 and self.node.has_merge)


def make(drafts: Sequence[Draft], data: Any, step: Step) -> None:
    """Changes the text of one file; `data` is what all files together say before the step."""
    if step.do == "add":
        _add(drafts, data, step)
    elif step.do == "remove":
        _remove(drafts, data, step)
    else:
        _set(drafts, data, step)


def _set(drafts: Sequence[Draft], data: Any, step: Step) -> None:
    trails = _trails(drafts, step.path)
    trail = next((trail for trail in trails if trail.left == 0), None)
    if trail is None:
        _detach(trails, data, step)
    elif step.do == "wrap" and trail.node.kind == "list":
        parent, index = trail.slots[-1]
        draft = trail.draft
        layout = layout_of(draft.text, draft.root)
        wrapped = edit_block.wrap(draft.text, layout, parent, index)
        draft.splice(edit_flow.wrap(parent, index) if trail.node.flow else wrapped)
    else:
        _put(trail, step.path, at(taken(data, step), step.path))


def _add(drafts: Sequence[Draft], data: Any, step: Step) -> None:
    """To the file that holds most of the entry's neighbours; the main file is the first."""
    trails = _trails(drafts, step.path[:-1])
    whole = [trail for trail in trails if trail.left == 0 and trail.node.kind != "alias"]
    if whole:
        _add_to(max(whole, key=lambda trail: len(trail.node.items)), step.path, step.value)
    else:
        _detach(trails, data, step)


def _remove(drafts: Sequence[Draft], data: Any, step: Step) -> None:
    trails = _trails(drafts, step.path)
    whole = [trail for trail in trails if trail.left == 0]
    for trail in whole:
        _take_out(trail, step.path)
    if not whole:
        _detach(trails, data, step)


def _detach(trails: list[Trail], data: Any, step: Step) -> None:
    """Writes out what an alias or a merge key brings, with the step made in it; the other users keep theirs."""
    trail = max((trail for trail in trails if trail.is_borrowed), key=lambda trail: len(trail.slots))
    is_alias = trail.node.kind == "alias"
    path = step.path[: len(trail.slots) + (not is_alias)]
    if step.do == "remove" and path == step.path:
        message = f"{named(path)} comes by the merge key `<<` and cannot be left out here"
        raise EditRefused(message, "write the entry out instead", trail.draft.place(trail.node.start))
    value = at(taken(data, step), path)
    if is_alias:
        _put(trail, path, value)
    else:
        _add_to(trail, path, value)


# -- finding ----------------------------------------------------------------------------------------------------------


def _trails(drafts: Sequence[Draft], path: Path) -> list[Trail]:
    return [_trail(draft, path) for draft in drafts]


def _trail(draft: Draft, path: Path) -> Trail:
    node, slots = draft.root, list[tuple[Written, int]]()
    for step in path:
        index = node.index(step)
        if index is None:
            break
        slots.append((node, index))
        node = node.items[index]
    return Trail(draft, slots, node, len(path) - len(slots))


# -- writing ----------------------------------------------------------------------------------------------------------


def _put(trail: Trail, path: Path, value: Any) -> None:
    _refuse_used(trail, path)
    draft, (parent, index) = trail.draft, trail.slots[-1]
    if parent.flow:
        _splice(trail, edit_flow.replace(draft.text, parent, index, value))
    else:
        layout, block = layout_of(draft.text, draft.root), _has_own_lines(parent, path, value)
        _splice(trail, edit_block.replace(draft.text, layout, parent, index, value, block))


def _add_to(trail: Trail, path: Path, value: Any) -> None:
    """Adds an entry to the mapping or list in which the trail ends."""
    draft, node, key = trail.draft, trail.node, path[-1]
    layout = layout_of(draft.text, draft.root)
    position = key if isinstance(key, int) else len(node.items)
    name = key if isinstance(key, str) else None
    if not node.items and trail.slots:
        _put(trail, path[:-1], [value] if name is None else {name: value})
    elif not node.items:
        lines = layout.line_break.join(block_lines({name: value}, 0, layout))
        _splice(trail, [Splice(node.start, node.end, lines)])
    elif node.flow:
        _splice(trail, edit_flow.add(draft.text, node, position, name, value))
    else:
        block = _has_own_lines(node, path, value)
        _splice(trail, edit_block.add(draft.text, layout, node, position, name, value, block))


def _take_out(trail: Trail, path: Path) -> None:
    _refuse_used(trail, path)
    text, (parent, index) = trail.draft.text, trail.slots[-1]
    if parent.flow:
        _splice(trail, edit_flow.remove(text, parent, index))
    elif len(parent.items) > 1:
        _splice(trail, edit_block.remove(text, parent, index))
    else:
        above = trail.slots[-2] if len(trail.slots) > 1 else None
        _splice(trail, edit_block.empty(text, parent, above[0].afters[above[1]] if above else None))


def _splice(trail: Trail, splices: list[Splice]) -> None:
    nodes = [parent for parent, _ in trail.slots] + [trail.node]
    trail.draft.touched += [trail.draft.place(node.start) for node in nodes if node.uses]
    trail.draft.splice(splices)


def _refuse_used(trail: Trail, path: Path) -> None:
    used = used_outside(trail.node)
    if used is not None:
        message = f"{named(path)} holds the anchor `&{used.anchor}`, which is used elsewhere"
        hint = f"write out what `*{used.anchor}` stands for first"
        raise EditRefused(message, hint, trail.draft.place(used.start))


def _has_own_lines(parent: Written, path: Path, value: Any) -> bool | None:
    """Whether a mapping or list stands on lines of its own, as its neighbours do; None: as its length asks for."""
    own_kind = "mapping" if isinstance(value, dict) else "list"
    neighbours = [node.flow for node in parent.items if node.kind == own_kind and node.items]
    if neighbours:
        return True if neighbours.count(False) * 2 > len(neighbours) else None
    is_entry = own_kind == "mapping" and any(step in (*SECTIONS, *NAMED) for step in path[-2:])
    return True if is_entry else None
