"""load(): files → Document, with every problem at once. The only function that touches files and the environment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from config.check import check
from config.credentials import SECRETS, MissingKey
from config.document import Document
from config.explain import Finding, explain
from config.nodes import Node
from config.price_library import resolve
from config.problems import ConfigError, Place, Problem, problem
from config.problems import Path as EntryPath
from config.references import Unresolved, expand
from config.sources import SECTIONS, Sources, gather

NAMED = {"tenants", "users", "groups"}
LIMITS = {"budgets", "rate_limits", "user_rate_limits", "key_rate_limits"}
INSIDE = {
    "partners": ("tenants", "budgets"),
    "tenants": ("users", "groups", "budgets"),
    "users": ("api_keys", "budgets"),
    "groups": ("budgets",),
    "api_keys": ("budgets",),
}
"""Section → sections inside its entries whose entries have a place of their own."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A good configuration, the files it came from, and what is odd about it."""

    document: Document
    files: tuple[Path, ...]
    hash: str
    warnings: tuple[Problem, ...]
    places: Mapping[tuple[str, ...], Place] = field(repr=False)
    contents: Mapping[Path, bytes] = field(repr=False)
    """Each file as it was read; they may hold secrets."""
    names: Mapping[Path, str]
    """The YAML files, the main file first: each as places name it."""


def load(path: str | Path, environ: Mapping[str, str] | None = None, texts: Mapping[Path, str] | None = None) -> Loaded:
    """The configuration in a file and what it includes; raises ConfigError with all problems.

    Files in `texts` are read from there instead of from disk: so a candidate is checked before it is written.
    """
    sources = gather(str(path), os.environ if environ is None else environ, texts)
    if sources.root is None:
        raise ConfigError(sources.problems)
    plain = _Plain(sources, os.environ if environ is None else environ)
    data: dict[str, Any] = plain.value(sources.root, ())
    names = _names(data)
    folder = Path(str(path)).absolute().parent
    document, findings = _validate(data, folder, sources.root, plain.broken)
    if document is not None:
        document, unknown_prices = resolve(document)
        findings += unknown_prices
    if document is not None and sources.whole and names is not None:
        findings += check(document, names)
    problems = sources.problems + [
        finding.at(sources.root) for finding in findings if not finding.warning and finding.path not in plain.broken
    ]
    if problems or document is None:
        raise ConfigError(problems)
    warnings = {finding.at(sources.root) for finding in findings} | set(_exposed_keys(sources.root))
    content = b"".join(sources.files.values())
    return Loaded(
        document=document,
        files=tuple(sources.files),
        hash=hashlib.sha256(content).hexdigest(),
        warnings=tuple(sorted(warnings)),
        places=_places(sources.root),
        contents=dict(sources.files),
        names=dict(sources.names),
    )


def _names(data: dict[str, Any]) -> dict[EntryPath, set[str]] | None:
    """The names in every section; None when a section is no mapping, so that names cannot be known."""
    if not all(isinstance(data.get(section) or {}, dict) for section in SECTIONS):
        return None
    names: dict[EntryPath, set[str]] = {(section,): set(data.get(section) or ()) for section in SECTIONS}
    for partner_name, partner in _mapping(data, "partners").items():
        for tenant_name, tenant in _mapping(partner, "tenants").items():
            names[("partners", partner_name, "tenants", tenant_name, "users")] = set(_mapping(tenant, "users"))
    return names


def _mapping(data: Any, key: str) -> dict[str, Any]:
    found = data.get(key) if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


class _Plain:
    """Nodes → plain data with references replaced; paths where that failed are `broken` and not reported again."""

    def __init__(self, sources: Sources, environ: Mapping[str, str]) -> None:
        self.sources, self.environ = sources, environ
        self.broken: set[EntryPath] = set()

    def value(self, node: Node, path: EntryPath) -> Any:
        value = node.value
        if isinstance(value, dict):
            return {key: self.value(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [self.value(child, (*path, position)) for position, child in enumerate(value)]
        if isinstance(value, str) and "${" in value:
            return self._expanded(value, node.place, path)
        return value

    def _expanded(self, text: str, place: Place, path: EntryPath) -> Any:
        is_provider_key = path[:1] == ("providers",) and path[2:] in SECRETS
        try:
            value = expand(text, Path(place.file).parent, self.environ, self.sources.files)
        except Unresolved as trouble:
            if is_provider_key and trouble.missing:
                return MissingKey(f"environment variable {trouble.missing} is not set")
            self.sources.problems.append(problem(place, trouble.message, trouble.hint))
            self.broken.add(path)
            return ""
        if is_provider_key and not value:
            return MissingKey(f"the reference in {path[-1]} gives an empty text")
        return value


def _validate(
    data: dict[str, Any], folder: Path, root: Node, broken: set[EntryPath]
) -> tuple[Document | None, list[Finding]]:
    """The document and what is wrong with it; when something is, the document lacks the entries concerned."""
    document, findings = _decode(data, folder, root)
    for path in [finding.path for finding in findings] + list(broken):
        _drop(data, _entry(path))
    if findings or broken:
        data["version"] = 1
        document, _ = _decode(data, folder, root)
    return document, findings


def _decode(data: dict[str, Any], folder: Path, root: Node) -> tuple[Document | None, list[Finding]]:
    try:
        return Document.model_validate(data, context={"folder": folder}), []
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        return None, [finding for detail in details if (finding := explain(detail, root))]


def _entry(path: EntryPath) -> EntryPath:
    """The smallest entry around a path that can be left out: a provider, a tenant, a user, a user's budgets …"""
    if not path or path[0] not in SECTIONS:
        return path[:1]
    end = 2
    while path[0] == "partners" and len(path) >= end + 2 and path[end] in NAMED and path[end - 2] != "groups":
        end += 2
    return path[: end + 1] if path[0] == "partners" and path[end : end + 1] and path[end] in LIMITS else path[:end]


def _drop(data: Any, path: EntryPath) -> None:
    for step in path[:-1]:
        data = data.get(step) if isinstance(data, dict) else None
    if path and isinstance(data, dict):
        data.pop(path[-1], None)


def _places(root: Node) -> dict[tuple[str, ...], Place]:
    """Where each entry that has a name or a position of its own is declared."""
    found: dict[tuple[str, ...], Place] = {}
    for section in SECTIONS:
        _note_places(root, (section,), found)
    return found


def _note_places(parent: Node, path: tuple[str, ...], found: dict[tuple[str, ...], Place]) -> None:
    section = parent.value.get(path[-1]) if isinstance(parent.value, dict) else None
    for name, place, node in _entries(section) if section else ():
        found[(*path, name)] = place
        for inner in INSIDE.get(path[-1], ()):
            _note_places(node, (*path, name, inner), found)


def _entries(section: Node) -> Iterator[tuple[str, Place, Node]]:
    if isinstance(section.value, dict):
        yield from ((name, section.keys[name], node) for name, node in section.value.items())
    elif isinstance(section.value, list):
        yield from ((str(position), node.place, node) for position, node in enumerate(section.value))


def _exposed_keys(root: Node) -> list[Problem]:
    """Secrets of providers written into a file that every user of the machine may read."""
    providers, _ = root.find(("providers",))
    warnings = []
    for name, provider in providers.value.items() if isinstance(providers.value, dict) else ():
        for secret in SECRETS:
            key = _node_at(provider, secret)
            if key is not None and key.text and "${" not in key.text and _everybody_reads(key.place.file):
                word = "key" if secret == ("api_key",) else "secret"
                message = f"the {word} of provider `{name}` stands in a file that everybody on this machine may read"
                hint = "write `${env:NAME}`, or take the right away with chmod o-r"
                warnings.append(problem(key.place, message, hint))
    return warnings


def _node_at(node: Node | None, path: tuple[str, ...]) -> Node | None:
    for step in path:
        node = node.value.get(step) if node is not None and isinstance(node.value, dict) else None
    return node


def _everybody_reads(file: str) -> bool:
    try:
        return bool(os.stat(file).st_mode & 0o004)
    except OSError:  # gone since it was read
        return False
