"""How commands print: JSON for machines, tables for terminals, tab-separated lines for pipes, errors on one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_CONTROLS = (*range(32), *range(127, 160), 0x2028, 0x2029)
_NO_CONTROLS = dict.fromkeys(_CONTROLS, " ")
_NO_CONTROLS_BUT_LINES = {code: None for code in _CONTROLS if chr(code) not in "\n\t"}


class Column(NamedTuple):
    title: str
    justify: Literal["left", "right"] = "left"
    keep: bool = False
    """Never shortened on a narrow terminal: half a number or half an id is of no use."""


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], dimmed: Sequence[bool] = ()) -> None:
    """On a terminal a table; in a pipe a heading and rows with tabs between, nothing shortened."""
    if not sys.stdout.isatty():
        lines = [[column.title for column in columns], *rows]
        sys.stdout.writelines("\t".join(map(visible, line)) + "\n" for line in lines)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for position, column in enumerate(columns):
        widest = max((len(row[position]) for row in rows), default=0)
        # Rich takes room from columns that may wrap; their cells do not wrap all the same, they end in an ellipsis.
        table.add_column(
            column.title, justify=column.justify, no_wrap=column.keep, min_width=widest if column.keep else None
        )
    for position, row in enumerate(rows):
        style = "dim" if position < len(dimmed) and dimmed[position] else ""
        table.add_row(*(Text(visible(cell), overflow="ellipsis", no_wrap=True) for cell in row), style=style)
    Console(highlight=False).print(table)


def visible(text: str) -> str:
    """Text of others without what could steer a terminal or break a line."""
    return text.translate(_NO_CONTROLS)


def steady(text: str) -> str:
    """The same for text of many lines: it must not move the cursor, change colours or the window's title."""
    return text.translate(_NO_CONTROLS_BUT_LINES)


def print_error(line: str) -> None:
    sys.stderr.write(f"scaigrid: {visible(line)}\n")


def note(text: str) -> None:
    """An aside for people, which no script wants in its output."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        Console(stderr=True, highlight=False).out(visible(text), style="dim")


def moment(iso: str | None, *, day_only: bool = False) -> str:
    """An ISO 8601 time as people read it, in UTC."""
    if not iso:
        return "-"
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d" if day_only else "%m-%d %H:%M:%S")
