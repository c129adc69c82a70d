"""An export's pieces: one chunk at a time, none read ahead, and no text that a spreadsheet would run."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.api import export
from appliance.api.accept import Call
from appliance.api.export import COLUMNS, FORMS, download
from appliance.api.usage_record import record_of
from appliance.permissions import Scope
from appliance.state.usage import UsageFilter
from support.build import usage_row

Row = dict[str, Any]


class Store:
    def __init__(self, chunks: list[list[Row] | Exception]) -> None:
        self.left = chunks
        self.read = 0

    async def chunks(self, where: UsageFilter) -> AsyncIterator[list[Row]]:
        for chunk in self.left:
            self.read += 1
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


class Response:
    def __init__(self, leaves_after: int = 1000) -> None:
        self.pieces: list[bytes] = []
        self._leaves_after = leaves_after

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)
        if len(self.pieces) >= self._leaves_after:
            raise asyncio.CancelledError


async def run(store: Store, response: Response, form: str = "ndjson", method: str = "GET") -> list[str]:
    """Streams it; returns what was done to the connection."""
    done: list[str] = []
    transport = SimpleNamespace(abort=lambda: done.append("aborted"))
    sanic = SimpleNamespace(method=method, transport=transport)
    state = SimpleNamespace(usage=store)
    call = SimpleNamespace(query={"format": form}, sanic=sanic, state=state, request_id="req_of_the_test")
    answer = download(cast(Call, call), UsageFilter(Scope()))
    await answer.streaming_fn(response)  # type: ignore[arg-type]
    return done


def chunk(*ids: str) -> list[Row]:
    return [usage_row(row_id) for row_id in ids]


async def test_each_chunk_is_written_before_the_next_is_read() -> None:
    store, response = Store([chunk("a", "b"), chunk("c"), chunk("d")]), Response()
    assert await run(store, response) == []
    assert [piece.count(b"\n") for piece in response.pieces] == [2, 1, 1, 0]


async def test_a_caller_who_leaves_ends_the_reading() -> None:
    store = Store([chunk(str(number)) for number in range(10)])
    with pytest.raises(asyncio.CancelledError):
        await run(store, Response(leaves_after=3))
    assert store.read == 3


async def test_a_fault_in_the_middle_cuts_the_connection() -> None:
    """A clean end would make half a file look whole."""
    store, response = Store([chunk("a"), OSError("the disk is gone"), chunk("b")]), Response()
    assert await run(store, response, "json") == ["aborted"]
    assert not b"".join(response.pieces).endswith(b"]\n")


async def test_nobody_reads_for_a_head_request() -> None:
    store = Store([chunk("a")])
    await run(store, Response(), method="HEAD")
    assert store.read == 0


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_a_text_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    line = FORMS["csv"].line(record_of(usage_row("a", request_id=text)))
    (cells,) = csv.reader(io.StringIO(line.decode(), newline=""))
    assert cells[COLUMNS.index("request_id")] == f"'{text}"


@pytest.mark.parametrize("text", ['say "hi", he said', "two\r\nlines", "a=b", "ü"])
def test_other_texts_come_back_as_they_were(text: str) -> None:
    line = FORMS["csv"].line(record_of(usage_row("a", request_id=text)))
    (cells,) = csv.reader(io.StringIO(line.decode(), newline=""))
    assert cells[COLUMNS.index("request_id")] == text


def test_columns_are_members_of_the_record() -> None:
    record = record_of(usage_row("a"))
    assert set(record) - set(COLUMNS) == {"tokens_in", "tokens_out"}, "which are there twice"
    assert set(COLUMNS) <= set(record)


def test_numbers_and_nothings_are_plain() -> None:
    assert [export._cell(value) for value in (None, True, 5, [{"a": "ü"}])] == ["", "true", "5", '[{"a":"ü"}]']
