"""A scripted upstream on a real socket: raw asyncio, so that it can break every rule of HTTP on request.

    with Upstream() as upstream:
        upstream.answer(lambda call: call.reply(200, completion("hello")))

A script is an async (or plain) function of the Call; it writes what it likes, in what slices it likes, and may cut.
A script that fails on a fault of its own fails the test that leaves the block.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

Script = Callable[["Call"], Any]


class Call:
    """One request as the upstream got it, and the means to answer it."""

    def __init__(
        self, path: str, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.number = number
        self.hung_up = False
        self.hung_up_at = 0.0
        self._writer = writer

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def model(self) -> str:
        """The upstream model that was asked for; tests share one upstream by giving each case a model of its own."""
        return str(self.json["model"])

    async def raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
        """A whole answer with Content-Length; `body` is bytes as they are, anything else as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Content-Length": str(len(data)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        await self.raw(f"HTTP/1.1 {status} Scripted\r\n{head}\r\n".encode() + data)

    async def start_stream(self, content_type: str = "text/event-stream") -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.raw(head.encode())

    async def chunk(self, data: bytes) -> None:
        if data:
            await self.raw(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        await self.raw(b"0\r\n\r\n")

    async def stream(self, pieces: Iterable[bytes], pause_s: float = 0.0) -> None:
        """A whole event stream, one piece per HTTP chunk."""
        await self.start_stream()
        for piece in pieces:
            await self.chunk(piece)
            if pause_s:
                await asyncio.sleep(pause_s)
        await self.end_stream()

    def cut(self) -> None:
        """Close the connection here and now."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Close it with a TCP reset instead of an orderly end."""
        at_once = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        self._writer.transport.abort()

    def note_hang_up(self) -> None:
        if not self.hung_up:
            self.hung_up_at = time.monotonic()
            self.hung_up = True

    async def until_hung_up(self, timeout_s: float = 30) -> None:
        """Wait until the gateway closes this connection."""
        async with asyncio.timeout(timeout_s):
            while not self.hung_up:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


class Upstream:
    """The server. It runs on its own thread and loop, so that blocking test code can talk to the gateway meanwhile."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.faults: list[BaseException] = []
        self._script: Script = lambda call: call.reply(200, completion("hello"))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connection, "127.0.0.1", 0), self._loop
        ).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        assert not self.faults, f"scripts of the upstream failed: {self.faults!r}"

    async def _stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, script: Script) -> None:
        """What every call from now on gets."""
        self._script = script

    def calls_of(self, model: str) -> list[Call]:
        return [call for call in self.calls if call.model == model]

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                call = Call(head[0].split(" ")[1], headers, body, writer, len(self.calls))
                self.calls.append(call)
                watcher = asyncio.ensure_future(self._watch(reader, writer, call))
                try:
                    await self._play(call)
                finally:
                    watcher.cancel()
        writer.close()

    async def _play(self, call: Call) -> None:
        try:
            result = self._script(call)
            if inspect.isawaitable(result):
                await result
        except ConnectionError:
            call.note_hang_up()  # which many tests want
            raise
        except Exception as fault:
            self.faults.append(fault)
            call.cut()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call) -> None:
        while not (reader.at_eof() or reader.exception() or writer.transport.is_closing()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        call.note_hang_up()


def completion(text: str = "hello", **changes: Any) -> dict[str, Any]:
    """A chat completion in OpenAI's form."""
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "up", "choices": [choice]}
    return body | {"usage": usage} | changes


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **changes: Any) -> bytes:
    """One chunk of a streamed completion, as an event."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": choices}
    return b"data: " + json.dumps(body | changes).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def text_stream(*words: str, usage: dict[str, int] | None = None) -> list[bytes]:
    """A whole streamed completion: role, words, finish, usage, end mark."""
    first = chunk({"role": "assistant", "content": ""})
    pieces = [first, *(chunk({"content": word}) for word in words), chunk({}, "stop")]
    return [*pieces, chunk(None, usage=usage or USAGE), DONE]
