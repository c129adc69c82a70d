"""Writes random YAML in every manner that people write it in, together with what it says."""

from __future__ import annotations

import json
from random import Random
from typing import Any

WORDS = (
    *(
        "gpt",
        "claude",
        "openai:gpt-4o",
        "15.00",
        "no",
        "on",
        "012",
        "1:30",
        "1e3",
        "null",
        "~",
        "true",
        "",
        " x ",
        "a b",
    ),
    *(
        "a: b",
        "a #b",
        "${env:KEY}",
        "https://x.example/v1?a=b",
        "it's",
        'say "hi"',
        "*",
        "&a",
        "- x",
        "é😀",
        "5s",
        "2024-10-21",
    ),
    *("[x]", "{y}", "a, b", "---", "# no comment", "\\n", "%x", "@x", "!x", "0x1F", "1_000", "=", "<<", "y", "?"),
)
LONG = (
    "line one\nline two",
    "line one\n\n  indented\nlast\n",
    "# first\nsecond\n",
    "\n\nleading\n",
    "tab\there\nx ",
    "end\n\n",
)
KEYS = (
    "backend",
    "priority",
    "enabled",
    "targets",
    "route",
    "name",
    "period",
    "a b",
    "no",
    "012",
    "x-y",
    "gpt*",
    "é",
    "k:1",
)


class OddYaml:
    """One random document."""

    def __init__(self, random: Random, *, anchors: bool = False) -> None:
        self.random, self.anchors = random, anchors
        self.step = random.choice((2, 2, 4, 3))
        self.list_step = random.choice((0, self.step))
        self.known: list[tuple[str, Any]] = []
        self.count = 0
        self.keeps_blanks = False
        """A block scalar above would take a blank line for its own."""
        self.is_literal = False
        """What was written last is a block scalar, which ends in a line break."""

    def document(self, sections: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
        """The text, and what it says."""
        data: dict[str, Any] = {}
        lines = ["# yaml-language-server: $schema=x.json"] if self._chance(3) else []
        lines += self._between(0)
        for section in sections:
            entries, lower = self._block_mapping(self.step, 3)
            data[section] = entries
            lines += [f"{section}:{self._comment()}", *lower, *self._between(0)]
        text = "\n".join(lines) + ("\n" if self.is_literal or self._chance(2) else "")
        text = text.replace("\n", "\r\n") if self._chance(4) else text
        return ("\ufeff" + text if self._chance(6) else text), data

    def value(self, depth: int) -> Any:
        """Plain data of any kind."""
        if depth == 0 or self._chance(2):
            return self.scalar()
        if self._chance(2):
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        return {key: self.value(depth - 1) for key in self._keys(0)}

    def scalar(self) -> Any:
        choice = self.random.randint(0, 9)
        if choice < 5:
            return self.random.choice(WORDS)
        if choice == 5:
            return self.random.choice(LONG)
        return self.random.choice((None, True, False, 0, -7, 10**18, 0.5, 1e22, 1e-7, 15.0))

    # -- lines of their own -------------------------------------------------------------------------------------------

    def _block_mapping(self, column: int, depth: int) -> tuple[dict[str, Any], list[str]]:
        data, lines = {}, list[str]()
        for position, key in enumerate(self._keys(1)):
            if position:
                lines += self._between(column)
            data[key], lower = self._entry(f"{_key(key, self.random)}:", column, depth, in_list=False)
            lines += lower
        return data, lines

    def _block_list(self, column: int, depth: int) -> tuple[list[Any], list[str]]:
        data, lines = list[Any](), list[str]()
        for position in range(self.random.randint(1, 3)):
            if position:
                lines += self._between(column)
            item, lower = self._entry("-", column, depth, in_list=True)
            data.append(item)
            lines += lower
        return data, lines

    def _entry(self, head: str, column: int, depth: int, *, in_list: bool) -> tuple[Any, list[str]]:
        margin = " " * column
        self.keeps_blanks = self.is_literal = False
        if self.anchors and self.known and self._chance(4):
            name, data = self.random.choice(self.known)
            return data, [f"{margin}{head} *{name}{self._comment()}"]
        anchor = self._anchor()
        data, inline, lower = self._behind(column, depth, in_list=in_list, compact=not anchor)
        if anchor:
            self.known.append((anchor, data))
        tag = f" &{anchor}" if anchor else ""
        below = not inline.startswith(("|", ">")) and "\0" not in inline and self._chance(12) and inline and not lower
        if below:
            return data, [f"{margin}{head}{tag}", f"{margin}{' ' * self.step}{inline}{self._comment()}"]
        compact = inline.startswith("\0")
        comment = "" if compact or inline.startswith(("|", ">")) else self._comment()
        inline = inline.removeprefix("\0")
        return data, [f"{margin}{head}{tag}{' ' + inline if inline else ''}{comment}", *lower]

    def _behind(self, column: int, depth: int, *, in_list: bool, compact: bool) -> tuple[Any, str, list[str]]:
        choice = self.random.randint(0, 5) if depth else 0
        if choice in (0, 1, 2):
            data = self.scalar()
            if isinstance(data, str) and "\n" in data and _can_be_literal(data) and self._chance(2):
                sign, lines = _literal(data, column + self.step)
                self.keeps_blanks, self.is_literal = "+" in sign, True
                return data, sign, lines
            if data is None and self._chance(2):
                return None, "", []
            return data, self._scalar(data, flow=False), []
        if choice == 3:
            data = self._flow_data(2)
            return data, self._flow(data, column + self.step + 1), []
        kind = self._block_mapping if choice == 4 else self._block_list
        if in_list and compact and self._chance(2):
            data, lines = kind(column + 2, depth - 1)
            return data, "\0" + lines[0].lstrip(" "), lines[1:]
        deeper = column + (self.step if choice == 4 or in_list else self.list_step)
        data, lines = kind(deeper, depth - 1)
        return data, "", [*self._comments_above(deeper), *lines]

    # -- between braces -----------------------------------------------------------------------------------------------

    def _flow_data(self, depth: int) -> Any:
        if self._chance(2):
            return [self._flow_item(depth) for _ in range(self.random.randint(0, 3))]
        return {key: self._flow_item(depth) for key in self._keys(0)}

    def _flow_item(self, depth: int) -> Any:
        return self._flow_data(depth - 1) if depth and self._chance(3) else self.scalar()

    def _flow(self, data: Any, column: int) -> str:
        if not isinstance(data, dict | list):
            return self._scalar(data, flow=True)
        opening, closing = "{}" if isinstance(data, dict) else "[]"
        if isinstance(data, dict):
            pieces = [
                f"{_key(key, self.random, flow=True)}: {self._flow(value, column)}" for key, value in data.items()
            ]
        else:
            pieces = [self._flow(value, column) for value in data]
        if (
            isinstance(data, list)
            and len(pieces) == 1
            and isinstance(data[0], dict)
            and len(data[0]) == 1
            and self._chance(2)
        ):
            pieces = (
                [pieces[0].strip("{} ")]
                if pieces[0].count("{") == 1 and not pieces[0].rstrip("} ").endswith(",") and "\n" not in pieces[0]
                else pieces
            )
        comma = "," if pieces and self._chance(5) else ""
        if pieces and self._chance(5):
            margin = "\n" + " " * column
            return (
                opening
                + margin
                + ("," + self._comment() + margin).join(pieces)
                + comma
                + self._comment()
                + margin
                + closing
            )
        pad = " " if self._chance(4) else ""
        return opening + pad + ", ".join(pieces) + comma + pad + closing

    # -- small parts --------------------------------------------------------------------------------------------------

    def _scalar(self, data: Any, *, flow: bool) -> str:
        if not isinstance(data, str):
            return json.dumps(data) if data is None or isinstance(data, bool) else repr(data)
        if self._chance(3) and data.isprintable():
            return "'" + data.replace("'", "''") + "'"
        if self._chance(2) and data in ("gpt", "claude", "5s", "a b", "é😀", "on", "no", "1:30"):
            return data
        return json.dumps(data, ensure_ascii=self._chance(2) and data.isascii())

    def _keys(self, least: int) -> list[str]:
        return self.random.sample(KEYS, self.random.randint(least, 4))

    def _anchor(self) -> str:
        if not self.anchors or not self._chance(4):
            return ""
        self.count += 1
        return f"a{self.count}"

    def _comment(self) -> str:
        self.count += 1
        return f"{' ' * self.random.choice((1, 2, 5))}# comment {self.count}: it's {{one" if self._chance(4) else ""

    def _between(self, column: int) -> list[str]:
        lines = [""] if self._chance(4) and not self.keeps_blanks else []
        self.keeps_blanks = False
        return lines + self._comments_above(column)

    def _comments_above(self, column: int) -> list[str]:
        self.count += 1
        return [f"{' ' * column}# - above {self.count}: [x"] if self._chance(5) else []

    def _chance(self, of: int) -> bool:
        return self.random.randrange(of) == 0


def _key(key: str, random: Random, *, flow: bool = False) -> str:
    if key in ("gpt*", "k:1", "012") or random.randrange(6) == 0:
        return json.dumps(key, ensure_ascii=False)
    return key


def _can_be_literal(text: str) -> bool:
    return all(line == line.rstrip() and line.isprintable() for line in text.split("\n")) and not text.startswith("\n")


def _literal(text: str, column: int) -> tuple[str, list[str]]:
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    lines = [" " * column + line if line else "" for line in body.split("\n")] + [""] * max(ends - 1, 0)
    return ("|-", "|", "|+")[min(ends, 2)], lines
