"""`scaigrid usage`: what was called, by whom, and what it cost; row by row, or summed up."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tui.client import Client
from tui.locate import Place
from tui.output import Column, moment, note, print_json, print_table

TERMINAL_LIMIT, MACHINE_LIMIT = 20, 100
_ROW = (
    Column("time (UTC)", keep=True),
    Column("model"),
    Column("user"),
    Column("in", "right", keep=True),
    Column("out", "right", keep=True),
    Column("USD", "right", keep=True),
    Column("ms", "right", keep=True),
    Column("status", keep=True),
)


async def rows(place: Place, query: Mapping[str, str], limit: int | None, *, as_json: bool) -> None:
    """The newest first."""
    is_table = sys.stdout.isatty() and not as_json
    wanted = limit or (TERMINAL_LIMIT if is_table else MACHINE_LIMIT)
    async with Client(place) as client:
        records = await client.items("/v1/accounting/usage", query, wanted)
    if as_json:
        print_json(records)
        return
    print_table(_ROW, [_row(record) for record in records], [record["status"] != "completed" for record in records])
    if len(records) == wanted and not limit:
        note(f"The newest {wanted}; more with --limit N.")


async def summary(place: Place, query: Mapping[str, str], by: str, *, as_json: bool) -> None:
    async with Client(place) as client:
        sums = await client.get("/v1/accounting/usage/summary", {**query, "group_by": by})
    if as_json:
        print_json(sums)
        return
    lines = [_sum_row(entry) for entry in sums]
    if sys.stdout.isatty() and len(sums) > 1:
        lines.append(_sum_row(_total(sums)))
    print_table(_summary_columns(by), lines)


def _row(record: dict[str, Any]) -> list[str]:
    is_table = sys.stdout.isatty()
    mark = "~" if is_table and record["estimated"] else ""
    return [
        moment(record["created_at"]) if is_table else record["created_at"],
        record["model"],
        record["user_id"],
        f"{mark}{record['input_tokens']}",
        f"{mark}{record['output_tokens']}",
        record["cost"],
        str(record["latency_ms"]),
        record["status"],
    ]


def _summary_columns(by: str) -> tuple[Column, ...]:
    return (
        Column(by),
        Column("requests", "right", keep=True),
        Column("input", "right", keep=True),
        Column("output", "right", keep=True),
        Column("USD", "right", keep=True),
        Column("backend USD", "right", keep=True),
    )


def _sum_row(entry: dict[str, Any]) -> list[str]:
    return [
        entry["group_key"] or "-",
        str(entry["request_count"]),
        str(entry["input_tokens"]),
        str(entry["output_tokens"]),
        entry["total_cost"],
        entry["backend_cost"],
    ]


def _total(sums: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {name: sum(entry[name] for entry in sums) for name in ("request_count", "input_tokens", "output_tokens")}
    costs = {
        name: f"{sum((Decimal(entry[name]) for entry in sums), Decimal(0)):f}"
        for name in ("total_cost", "backend_cost")
    }
    return {"group_key": "total", **counts, **costs}
