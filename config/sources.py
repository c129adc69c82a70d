"""Reads the file and what it includes, and merges them into one tree of nodes. It must not know what entries mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.nodes import Node, kind
from config.problems import Place, Problem, problem, shown
from config.references import Unresolved, expand
from config.yaml12 import compose

MAX_FILE = 32_000_000
"""Bytes of one YAML file."""

SECTIONS = ("providers", "models", "routing_policies", "partners")
"""What an included file may carry."""


@dataclass(slots=True)
class Sources:
    """The files, as read."""

    root: Node | None = None
    files: dict[Path, bytes] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    """The YAML files among them, the main file first: each as places name it."""
    texts: Mapping[Path, str] = field(default_factory=dict)
    """Files that are read from here instead of from disk."""
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True
    """False when a file could not be read, so that names may be missing."""


def gather(path: str, environ: Mapping[str, str], texts: Mapping[Path, str] | None = None) -> Sources:
    """The main file with its includes merged in; files in `texts` are not read from disk."""
    sources = Sources(texts={name.absolute(): text for name, text in (texts or {}).items()})
    start = Place(path, 1, 1)
    sources.root = _read(path, path, start, sources)
    if sources.root is None or not isinstance(sources.root.value, dict):
        return sources
    include = sources.root.value.get("include")
    seen = {os.path.realpath(path)}
    for pattern in include.value if include and isinstance(include.value, list) else ():
        for found in _matches(pattern, path, environ, sources):
            if os.path.realpath(found) not in seen:
                seen.add(os.path.realpath(found))
                _include(sources.root, found, pattern, sources)
    return sources


def _read(path: str, written: str, blame: Place, sources: Sources) -> Node | None:
    content = _content(path, written, blame, sources)
    node = None
    if content is not None:
        sources.files[Path(path).absolute()] = content
        sources.names[Path(path).absolute()] = path
        node = compose(content, path, sources.problems)
    sources.whole = sources.whole and node is not None
    return node


def _content(path: str, written: str, blame: Place, sources: Sources) -> bytes | None:
    problems = sources.problems
    try:
        content = _bytes(path, sources.texts)
    except FileNotFoundError:
        problems.append(problem(blame, f"the file {shown(written)} does not exist", "check the path"))
    except IsADirectoryError:
        problems.append(problem(blame, f"{shown(written)} is a folder, not a file", "name the YAML file in it"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the path is not usable"
        problems.append(problem(blame, f"the file {shown(written)} cannot be read: {reason}", "check path and rights"))
    else:
        if len(content) <= MAX_FILE:
            return content
        problems.append(problem(blame, f"the file {shown(written)} is larger than {MAX_FILE} bytes", "split it"))
    return None


def _bytes(path: str, texts: Mapping[Path, str]) -> bytes:
    text = texts.get(Path(path).absolute())
    if text is not None:
        return text.encode("utf-8")
    with open(path, "rb") as stream:
        return stream.read(MAX_FILE + 1)


def _matches(pattern: Node, path: str, environ: Mapping[str, str], sources: Sources) -> list[str]:
    """Files of a pattern, sorted; wrong types are left for the strict decoding to report."""
    if not isinstance(pattern.value, str) or not pattern.value or "\0" in pattern.value:
        return []
    folder = os.path.dirname(path)
    try:
        wanted = expand(pattern.value, Path(folder), environ, sources.files)
    except Unresolved:
        return []
    if not glob.has_magic(wanted):
        return [os.path.join(folder, wanted)]
    found = glob.glob(wanted, root_dir=folder or None, recursive=True)
    return sorted(name for match in found if os.path.isfile(name := os.path.join(folder, match)))


def _include(root: Node, path: str, pattern: Node, sources: Sources) -> None:
    written = pattern.text if "${" in pattern.text else path
    node = _read(path, written, pattern.place, sources)
    if node is None or not isinstance(node.value, dict):
        return
    for key in list(node.value):
        if key in ("version", "server", "include"):
            message = f"an included file may not carry {shown(key)}"
            sources.problems.append(problem(node.keys[key], message, f"move it to {shown(root.place.file)}"))
            del node.value[key]
    merge(root, node, (), sources.problems)


def merge(into: Node, other: Node, path: tuple[str, ...], problems: list[Problem]) -> None:
    """Adds `other`'s entries to a mapping; sections, partners and their tenants are merged, nothing is overridden."""
    assert isinstance(into.value, dict)
    assert isinstance(other.value, dict)
    for key, value in other.value.items():
        mine = into.value.get(key)
        if mine is None or (mine.value is None and _merges(path, key)):
            into.value[key] = value
            into.keys[key] = other.keys[key]
        elif not _merges(path, key):
            hint = f"the first stands at {into.keys[key]}"
            problems.append(problem(other.keys[key], f"{shown(key)} is declared twice", hint))
        elif isinstance(mine.value, dict) and isinstance(value.value, dict):
            # An aliased mapping may stand elsewhere too, so it is copied before it grows.
            grown = Node(mine.place, dict(mine.value), keys=dict(mine.keys))
            into.value[key] = grown
            merge(grown, value, (*path, key), problems)
        elif value.value is not None:
            wrong = value if not isinstance(value.value, dict) else mine
            message = f"a mapping is due under {shown(key)}, found {kind(wrong.value)}"
            problems.append(problem(wrong.place, message))


def _merges(path: tuple[str, ...], key: str) -> bool:
    if not path:
        return key in SECTIONS
    return path[0] == "partners" and (len(path) == 1 or (len(path) == 2 and key == "tenants"))
