"""edited(): changes of the configuration as new texts of its files, with comments, order and formatting kept.

Only what is concerned is written anew. The result is read again before it is handed out: it must say what was said
before, and the changes, and nothing else. Whether that is a good configuration is for load() to check.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from config.edit_change import Change, EditRefused, named
from config.edit_drafts import Draft, drafts_of, texts_of
from config.edit_making import make
from config.edit_routes import through_route
from config.edit_steps import same, steps, taken
from config.load import Loaded
from config.nodes import Node
from config.problems import Place, Problem
from config.sources import merge
from config.yaml12 import compose

BY_HAND = "edit the file by hand"


def edited(loaded: Loaded, changes: Iterable[Change]) -> dict[Path, str]:
    """The new texts of the files that change; raises EditRefused when an edit cannot be made without harm."""
    changes = list(changes)
    drafts = drafts_of(loaded, [change.path for change in changes])
    files = list(drafts.values())
    data = _said(files)
    try:
        for change in changes:
            for part in through_route(data, change):
                data = _made(files, data, part)
    except (yaml.YAMLError, RecursionError):
        raise _unable(files, f"{named(change.path)} cannot be changed as the file is written") from None
    _verify(files, data)
    return texts_of(loaded, drafts)


def _made(files: list[Draft], data: Any, change: Change) -> Any:
    """The data after a change that is made in the files."""
    for step in steps(data, change):
        make(files, data, step)
        data = taken(data, step)
    return data


def _verify(files: list[Draft], wanted: Any) -> None:
    if not same(_said(files), wanted):
        raise _unable(files, "the edit would change more than it should, or less")


def _unable(files: list[Draft], message: str) -> EditRefused:
    """With the place of an anchor that was touched, if there is one: that is why, as a rule."""
    place = next((place for draft in files for place in draft.touched), None)
    if place is None:
        return EditRefused(message, BY_HAND)
    return EditRefused(f"{message}: what stands here is used elsewhere, by its anchor", BY_HAND, place)


def _said(files: list[Draft]) -> Any:
    """What the files say together, references not replaced."""
    problems = list[Problem]()
    nodes = [compose(draft.text.encode("utf-8"), draft.name, problems) for draft in files]
    roots = [node for node in nodes if node is not None]
    for other in roots[1:]:
        merge(roots[0], other, (), problems)
    if problems:
        found = problems[0]
        message = f"the edit would break the file: {found.message}"
        raise EditRefused(message, BY_HAND, Place(found.file, found.line, found.column))
    return _plain(roots[0])


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    return [_plain(child) for child in node.value] if isinstance(node.value, list) else node.value
