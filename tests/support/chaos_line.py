"""A client's connection to the gateway on the test's loop: strict HTTP/1.1, one whole answer per request or an error.

A cut body, a byte too many, an end that nobody announced: each raises BadHttp.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import NamedTuple, Self

LIMIT_BYTES = 1 << 20


class BadHttp(Exception):
    """What came is no whole answer."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes
    streamed: bool


class Line:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.reusable = True

    @classmethod
    async def to(cls, host: str, port: int) -> Self:
        return cls(*await asyncio.open_connection(host, port, limit=LIMIT_BYTES))

    async def ask(self, request: bytes) -> Answer:
        self._writer.write(request)
        await self._writer.drain()
        try:
            return await self._answer()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError, KeyError) as error:
            raise BadHttp(f"{type(error).__name__}: {error}") from error

    async def _answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        version, status, *_ = head[0].split(" ")
        if version != "HTTP/1.1":
            raise BadHttp(f"an answer that begins with {head[0]!r}")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        streamed = headers.get("transfer-encoding") == "chunked"
        if streamed == ("content-length" in headers):
            raise BadHttp(f"it has to be either chunked or of a known length: {head}")
        body = await self._chunks() if streamed else await self._reader.readexactly(int(headers["content-length"]))
        if headers.get("connection", "").lower() == "close":
            self.reusable = False
            if rest := await self._reader.read():
                raise BadHttp(f"more than one answer: {rest[:80]!r}")
        return Answer(int(status), headers, body, streamed)

    async def _chunks(self) -> bytes:
        body = b""
        parts: list[bytes] = []
        while True:
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            data = await self._reader.readexactly(size + 2)
            if data[-2:] != b"\r\n":
                raise BadHttp("a chunk of another length than it says")
            if not size:
                return body.join(parts)
            parts.append(data[:-2])

    def hang_up(self) -> None:
        """Leave, whatever is under way."""
        self.reusable = False
        self._writer.transport.abort()

    async def close(self) -> None:
        self.reusable = False
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def request_of(method: str, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    fields = {"Host": "gateway", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body
