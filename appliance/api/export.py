"""GET /v1/accounting/export: usage rows as a download, written as they are read, so many in memory at a time.

A caller who hangs up ends the handler's task, and with it the reading. A fault in mid-stream cuts the connection: a
clean end would be a lie.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from sanic.response import ResponseStream

from appliance.api.accept import Call, unforeseen
from appliance.api.usage_record import record_of
from appliance.errors import invalid
from appliance.state.usage import UsageFilter

Row = dict[str, Any]

_encode = msgspec.json.encode


class Form(NamedTuple):
    """`head` and `tail` stand around all, `between` separates rows; `line` renders one."""

    content_type: str
    head: bytes
    line: Callable[[Row], bytes]
    between: bytes
    tail: bytes


COLUMNS = (
    "id",
    "request_id",
    "created_at",
    "status",
    "model",
    "backend_id",
    "provider",
    "partner_id",
    "tenant_id",
    "user_id",
    "key_id",
    "surface",
    "operation",
    "stream",
    "estimated",
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "units",
    "cost",
    "backend_cost",
    "reserved",
    "latency_ms",
    "time_to_first_token_ms",
    "finish_reason",
    "error",
    "attempts",
    "metadata",
)
"""Of the CSV. `units`, `attempts` and `metadata` are JSON texts."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def download(call: Call, where: UsageFilter) -> ResponseStream:
    name = call.query.get("format", "csv")
    form = FORMS.get(name)
    if form is None:
        raise invalid("format", f"takes one of {', '.join(FORMS)}")
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    headers = {
        "Content-Disposition": f'attachment; filename="scaigrid-usage-{day}.{name}"',
        "Cache-Control": "no-store",
    }

    async def write(response: Any) -> None:
        if call.sanic.method == "HEAD":
            return
        try:
            async for piece in _pieces(form, call.state.usage.chunks(where)):
                await response.write(piece)
        except Exception as fault:
            unforeseen(fault, call.request_id)
            transport: Any = call.sanic.transport
            transport.abort()

    return ResponseStream(write, headers=headers, content_type=form.content_type)


async def _pieces(form: Form, chunks: AsyncIterator[list[Row]]) -> AsyncIterator[bytes]:
    before = form.head
    async for rows in chunks:
        yield before + await asyncio.to_thread(_rendered, form, rows)  # the loop serves others meanwhile
        before = form.between
    yield (before if before is form.head else b"") + form.tail


def _rendered(form: Form, rows: list[Row]) -> bytes:
    return form.between.join(form.line(record_of(row)) for row in rows)


def _csv_row(record: Row) -> bytes:
    return _csv_line([_cell(record[name]) for name in COLUMNS])


def _csv_line(cells: tuple[str, ...] | list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    """A spreadsheet must not take a text of somebody else's for a formula: such a text gets a quote before it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA_STARTS) else text


FORMS = {
    "csv": Form("text/csv; charset=utf-8", _csv_line(COLUMNS), _csv_row, b"", b""),
    "json": Form("application/json", b"[\n", _encode, b",\n", b"\n]\n"),
    "ndjson": Form("application/x-ndjson", b"", lambda record: _encode(record) + b"\n", b"", b""),
}
