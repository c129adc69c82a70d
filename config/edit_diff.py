"""What somebody else changed in the files since they were loaded, as a diff that shows no secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from config.edit_nodes import Written, everything, read
from config.edit_text import Splice, spliced
from config.load import Loaded
from config.problems import SECRET_STARTS, Problem
from config.yaml12 import compose

SECRET_KEYS = (
    *("api_key", "key", "password", "secret", "token", "sha256"),
    *("client_secret", "service_account", "private_key", "headers", "authorization"),
)
"""Keys whose values a diff does not show, nor in comments."""

HIDDEN = "…"
CONTEXT = 3
"""Lines shown around a change."""

_SECRET_VALUE = re.compile(
    rf"""((?<![\w-])["']?(?:{"|".join(SECRET_KEYS)})["']?:[ \t]+)"""
    r"""("(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s#,}]+(?:[ \t]+[^\s#,}]+)*)""",
    re.IGNORECASE,
)
_SECRET_WORD = re.compile(rf"""(?:{"|".join(map(re.escape, SECRET_STARTS))})[^\s"',}}\]]+""")


def changed_on_disk(loaded: Loaded) -> dict[Path, str]:
    """For each YAML file that is not as it was loaded: a unified diff, from what was loaded to what is there now."""
    changed = {}
    for file, name in loaded.names.items():
        before, now = loaded.contents[file], content_of(file)
        if now != before:
            changed[file] = _diff(name, before, now)
    return changed


def content_of(file: Path) -> bytes | None:
    """The file as it is on disk; None when it is gone or cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def _diff(name: str, before: bytes, now: bytes | None) -> str:
    """Lines are compared as they are and shown without secrets, so that a changed key is seen to be changed."""
    if now is None:
        return f"{name} is gone, or cannot be read\n"
    problems = list[Problem]()
    if compose(now, name, problems) is None or problems:
        return f"{name} was changed and is no good YAML now: {problems[0]}\n"
    old, new = before.decode("utf-8"), now.decode("utf-8")
    return "".join(f"{line.rstrip()}\n" for line in _unified(name, _lines(old), _lines(new), _shown(old), _shown(new)))


def _unified(name: str, old: list[str], new: list[str], old_shown: list[str], new_shown: list[str]) -> Iterator[str]:
    yield f"--- {name} (as loaded)"
    yield f"+++ {name} (on disk)"
    for group in difflib.SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT):
        (_, start, _, new_start, _), (_, _, end, _, new_end) = group[0], group[-1]
        yield f"@@ -{start + 1},{end - start} +{new_start + 1},{new_end - new_start} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old_shown[i1:i2])
            else:
                yield from (f"-{line}" for line in old_shown[i1:i2])
                yield from (f"+{line}" for line in new_shown[j1:j2])


def _lines(text: str) -> list[str]:
    return text.removesuffix("\n").split("\n")


def _shown(text: str) -> list[str]:
    """The lines with `…` for every secret; there are as many as before."""
    root = read(text.removeprefix("\ufeff"))
    anchors = {node.anchor: node for node in everything(root) if node.anchor is not None}
    shift = text.startswith("\ufeff")
    spans = {(node.start + shift, node.end + shift) for secret in _secrets(root) for node in _scalars(secret, anchors)}
    splices = [Splice(start, end, _covered(text[start:end])) for start, end in spans if start < end]
    return [
        _SECRET_WORD.sub(HIDDEN, _SECRET_VALUE.sub(rf"\1{HIDDEN}", line)) for line in _lines(spliced(text, splices))
    ]


def _secrets(node: Written) -> Iterator[Written]:
    """The values of keys that promise a secret."""
    for position, child in enumerate(node.items):
        if node.kind == "mapping" and node.keys[position].text.lower() in SECRET_KEYS:
            yield child
        else:
            yield from _secrets(child)


def _scalars(node: Written, anchors: Mapping[str, Written]) -> Iterator[Written]:
    if node.kind == "alias":
        node = anchors[node.text]
    if node.kind == "scalar":
        yield node
    for child in node.items:
        yield from _scalars(child, anchors)


def _covered(written: str) -> str:
    """As many lines as before, without what they say."""
    return "\n".join(re.sub(r"\S.*", HIDDEN, line) for line in written.split("\n"))
