"""What the YAML says of routing as it is written there: durations as text, references not replaced, no defaults.

Tenants and users are left out where they stand in files of their own, for there may be very many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import config
from config.nodes import Node
from config.sources import merge
from config.yaml12 import compose

SHOWN = ("providers", "models", "routing_policies")


def written(loaded: config.Loaded, section: str) -> dict[str, Any]:
    """The entries of one section by name. Reads the files that hold such entries anew: nothing for the event loop."""
    holding = {place.file for path, place in loaded.places.items() if path[0] in SHOWN}
    main, *others = loaded.names.values()
    root = _read(loaded, main)
    for name in others:
        if name in holding:
            merge(root, _read(loaded, name), (), [])
    found = _plain(root).get(section)
    return dict(found) if isinstance(found, Mapping) else {}


def _read(loaded: config.Loaded, name: str) -> Node:
    file = next(path for path, known in loaded.names.items() if known == name)
    node = compose(loaded.contents[file], name, [])
    assert node is not None, "it was good when it was loaded"
    return node


def _plain(node: Node) -> Any:
    if isinstance(node.value, dict):
        return {key: _plain(child) for key, child in node.value.items()}
    return [_plain(child) for child in node.value] if isinstance(node.value, list) else node.value
