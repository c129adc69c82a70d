"""Reads YAML text into nodes that know from where to where they are written. It must not know what any key means.

The meaning of a text is yaml12.py's business; here only its shape counts. Positions are those of PyYAML's events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import yaml

from config.edit_text import line_end

BLOCK_STYLES = ("|", ">")

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SPACE = re.compile(r"(?:\s|#[^\n\r\x85\u2028\u2029]*)*")
_PROPERTIES = re.compile(r"(?:[&!]\S*(?:\s|#[^\n\r\x85\u2028\u2029]*)+)*")


@dataclass(slots=True, eq=False)
class Written:
    """A node of the text. Where one is written without braces and brackets, its `end` is that of its last entry."""

    kind: Literal["scalar", "mapping", "list", "alias"]
    start: int
    end: int
    flow: bool = False
    style: str = ""
    text: str = ""
    anchor: str | None = None
    uses: list[int] = field(default_factory=list)
    """Where aliases of its anchor stand."""
    keys: list[Written] = field(default_factory=list)
    items: list[Written] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    """Where each entry begins: its key, or the dash before it."""
    afters: list[int] = field(default_factory=list)
    """The end of each entry's colon or dash; -1 where there is none."""

    @property
    def is_collection(self) -> bool:
        return self.kind in ("mapping", "list")

    @property
    def is_block(self) -> bool:
        """Entries on lines of their own, held together by their column."""
        return self.is_collection and not self.flow

    @property
    def has_merge(self) -> bool:
        """Further entries come from elsewhere, by `<<`."""
        return any(key.text == "<<" and not key.style for key in self.keys)

    def index(self, step: str | int) -> int | None:
        """The position of an entry that is written here; one that a merge key brings is not."""
        if isinstance(step, int):
            return step if self.kind == "list" and step < len(self.items) else None
        return next((at for at, key in enumerate(self.keys) if key.kind == "scalar" and key.text == step), None)


def read(text: str) -> Written:
    """The root of a text that is known to be a good YAML file."""
    return _Reader(text).root()


def skip_space(text: str, at: int) -> int:
    """The next place behind spaces, line breaks and comments."""
    found = _SPACE.match(text, at)
    assert found
    return found.end()


def skip_properties(text: str, at: int) -> int:
    """The next place behind anchors, tags and the space after them."""
    found = _PROPERTIES.match(text, at)
    assert found
    return found.end()


def keeps_blank_lines(text: str, node: Written) -> bool:
    """Whether blank lines below would become part of it: it ends in a block scalar with `+`."""
    while node.items:
        node = node.items[-1]
    return node.style in BLOCK_STYLES and "+" in _header(text, node.start)


def _header(text: str, start: int) -> str:
    """The signs at the beginning of a block scalar."""
    begin = skip_properties(text, start)
    return text[begin : line_end(text, begin)].partition("#")[0]


def used_outside(node: Written) -> Written | None:
    """An anchor in the node whose alias stands outside of it."""
    for inner in everything(node):
        if any(not node.start <= use < node.end for use in inner.uses):
            return inner
    return None


def everything(node: Written) -> Iterator[Written]:
    """The node and all below it."""
    yield node
    for child in node.items:
        yield from everything(child)


class _Reader:
    """Builds nodes from the parser's events, once, top to bottom."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.parser = _LOADER(text)
        self.anchors: dict[str, Written] = {}

    def root(self) -> Written:
        self.parser.get_event()
        self.parser.get_event()
        return self._node(self.parser.get_event())

    def _node(self, event: yaml.Event) -> Written:
        start, end = _span(event)
        if isinstance(event, yaml.AliasEvent):
            assert event.anchor is not None
            self.anchors[event.anchor].uses.append(start)
            return Written("alias", start, end, text=event.anchor)
        assert isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent)
        if isinstance(event, yaml.ScalarEvent):
            end = self._end_of_scalar(start, end, event.style or "")
            node = Written("scalar", start, end, style=event.style or "", text=event.value, anchor=event.anchor)
        else:
            kind: Literal["mapping", "list"] = "list" if isinstance(event, yaml.SequenceStartEvent) else "mapping"
            node = Written(kind, start, end, flow=bool(event.flow_style), anchor=event.anchor)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        if node.kind == "list":
            self._list(node)
        elif node.kind == "mapping":
            self._mapping(node)
        return node

    def _end_of_scalar(self, start: int, end: int, style: str) -> int:
        """The parser ends a block scalar behind the blank lines below it, which are its own only with `+`."""
        if style not in BLOCK_STYLES:
            return end
        written = self.text[start:end]
        keeps = "+" in _header(self.text, start)
        return start + len(written.removesuffix("\n").removesuffix("\r") if keeps else written.rstrip())

    def _list(self, node: Written) -> None:
        at = skip_properties(self.text, node.start) + node.flow
        while not isinstance(event := self.parser.get_event(), yaml.SequenceEndEvent):
            item = self._node(event)
            mark = item.start if node.flow else skip_space(self.text, at)
            node.marks.append(mark)
            node.afters.append(mark if node.flow else mark + 1)
            node.items.append(item)
            at = item.end
        node.end = _span(event)[1] if node.flow else at

    def _mapping(self, node: Written) -> None:
        at = node.start if is_bare(node, self.text) else skip_properties(self.text, node.start) + node.flow
        while not isinstance(event := self.parser.get_event(), yaml.MappingEndEvent):
            key = self._node(event)
            value = self._node(self.parser.get_event())
            after = self._after_colon(key)
            if value.start == value.end:  # the parser puts an empty value where the next thing begins
                value.start = value.end = key.end if after < 0 else after
            node.keys.append(key)
            node.items.append(value)
            node.marks.append(self._begin(at, key))
            node.afters.append(after)
            at = value.end
        node.end = _span(event)[1] if node.flow else at

    def _after_colon(self, key: Written) -> int:
        at = skip_space(self.text, key.end)
        return at + 1 if self.text[at : at + 1] == ":" else -1

    def _begin(self, at: int, key: Written) -> int:
        """Where the pair begins: at its key, or at the `?` before it."""
        at = skip_space(self.text, at)
        if self.text[at : at + 1] == ",":
            at = skip_space(self.text, at + 1)
        return at if at < key.start and self.text[at] == "?" else key.start


def _span(event: yaml.Event) -> tuple[int, int]:
    assert event.start_mark is not None
    assert event.end_mark is not None
    return event.start_mark.index, event.end_mark.index


def is_bare(node: Written, text: str) -> bool:
    """Whether the mapping is one pair in brackets, like `[a: 1]`, without braces of its own."""
    return node.kind == "mapping" and node.flow and text[skip_properties(text, node.start)] != "{"
