"""Draft: the text of one file while it is edited. It must not know what the text means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from config.edit_nodes import Written, read
from config.edit_text import Splice, spliced
from config.load import Loaded
from config.problems import Path as EntryPath
from config.problems import Place

_MARK = "\ufeff"


@dataclass(slots=True)
class Draft:
    """One file's text as far as it is edited, without a byte order mark."""

    name: str
    text: str
    root: Written
    mark: str = ""
    touched: list[Place] = field(default_factory=list)
    """Anchors around what was changed whose aliases stand elsewhere."""

    def splice(self, splices: Iterable[Splice]) -> None:
        """Changes the text; raises yaml.YAMLError when it is no YAML any more."""
        self.text = spliced(self.text, splices)
        self.root = read(self.text)

    def place(self, offset: int) -> Place:
        before = self.text[:offset]
        return Place(self.name, before.count("\n") + 1, len(before) - before.rfind("\n"))


def drafts_of(loaded: Loaded, paths: Collection[EntryPath]) -> dict[Path, Draft]:
    """The main file, and the included ones that may hold the entries: those in which their names occur, and for a name
    that is new those in which its section does.

    Deeper steps do not count: they may not be written yet, and a route is also written as a list, without `targets`.
    """
    texts = {file: loaded.contents[file].decode("utf-8") for file in loaded.names}
    wanted = set(list(texts)[:1])
    for path in paths:
        held = {file for file, text in texts.items() if _occurs(path[:2], text)}
        wanted |= held or {file for file, text in texts.items() if _occurs(path[:1], text)}
    drafts = dict[Path, Draft]()
    for file in (file for file in texts if file in wanted):
        text = texts[file]
        bare = text.removeprefix(_MARK)
        drafts[file] = Draft(loaded.names[file], bare, read(bare), mark=text[: len(text) - len(bare)])
    return drafts


def _occurs(path: EntryPath, text: str) -> bool:
    return all(isinstance(step, int) or step in text for step in path)


def texts_of(loaded: Loaded, drafts: Mapping[Path, Draft]) -> dict[Path, str]:
    """The whole texts of those files that are not as they were."""
    texts = {file: draft.mark + draft.text for file, draft in drafts.items()}
    return {file: text for file, text in texts.items() if text.encode("utf-8") != loaded.contents[file]}
