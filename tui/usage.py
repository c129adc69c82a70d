"""`scaigrid usage`: what was called, by whom, and what it cost: rows, sums, files; and whether the sums are right."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from tui.client import Client, ClientError
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

_DIFFERENCE = (
    Column("what", keep=True),
    Column("sum", keep=True),
    Column("kept", "right", keep=True),
    Column("by the rows", "right", keep=True),
)
VERIFY_TIMEOUT_S = 600.0
"""Every row is read."""


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


async def export(place: Place, query: Mapping[str, str], form: str, output: Path | None) -> None:
    """To standard output, or to a file that is there only once it is whole."""
    async with (
        Client(place) as client,
        client.download("/v1/accounting/export", {**query, "format": form}) as pieces,
    ):
        if output is None:
            async for piece in pieces:
                sys.stdout.buffer.write(piece)
                sys.stdout.buffer.flush()
            return
        unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            with unfinished.open("wb") as file:
                async for piece in pieces:
                    file.write(piece)
            unfinished.replace(output)
        finally:
            unfinished.unlink(missing_ok=True)


async def verify(place: Place, *, as_json: bool) -> None:
    """A ClientError when a sum is not what the rows say; each difference is named before."""
    async with Client(place, VERIFY_TIMEOUT_S) as client:
        found = await client.get("/v1/accounting/verify")
    differences = found["differences"]
    if as_json:
        print_json(found)
    elif differences:
        print_table(_DIFFERENCE, [_difference_row(difference) for difference in differences])
    else:
        sys.stdout.write(f"{found['budgets_checked']} budgets and all sums agree with the usage rows.\n")
    if differences:
        raise ClientError(f"{len(differences)} sums differ from the usage rows")


async def prune(place: Place, before: str, *, as_json: bool) -> None:
    """Request by request: each deletes a bounded number of rows."""
    deleted = 0
    async with Client(place) as client:
        while True:
            answer = await client.call("DELETE", "/v1/accounting/usage", query={"before": before})
            deleted += answer["data"]["deleted"]
            if answer["data"]["done"]:
                break
    if as_json:
        print_json({"deleted": deleted})
    else:
        sys.stdout.write(f"{deleted} usage rows deleted; their sums stay.\n")


def _difference_row(difference: dict[str, Any]) -> list[str]:
    what = difference.get("budget_id") or f"all calls of {difference['day']}"
    return [what, difference["sum"], difference["kept"], difference["by_rows"]]


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
