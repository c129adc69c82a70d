"""Two small programs for tests about load, each a process of its own so that they share no interpreter with the test.

    python routing_flood.py upstream LEAST_MS MOST_MS      prints its port; answers each call after that time
    python routing_flood.py flood PORT KEY MODEL CLIENTS   so many clients; each asks again as soon as it may

`flood` prints one line of JSON when its standard input is closed: how many answers of which status there were.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPLY = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "up",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }
).encode()
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(REPLY), REPLY)


# -- for the tests ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def quick_upstream(least_ms: int, most_ms: int) -> Iterator[int]:
    """Its port."""
    with _program("upstream", str(least_ms), str(most_ms)) as process:
        assert process.stdout
        yield int(process.stdout.readline())


@contextlib.contextmanager
def flood(url: str, key: str, model: str, clients: int) -> Iterator[collections.Counter[str]]:
    """While the block runs. The counter is filled when it ends: status → answers."""
    counted: collections.Counter[str] = collections.Counter()
    with _program("flood", url.rpartition(":")[2], key, model, str(clients)) as process:
        assert process.stdin
        assert process.stdout
        yield counted
        process.stdin.close()
        counted.update(json.loads(process.stdout.readline()))


@contextlib.contextmanager
def _program(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, str(Path(__file__)), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


# -- the programs -----------------------------------------------------------------------------------------------------


class _Connection(asyncio.Protocol):
    """One call at a time, answered after a moment."""

    def __init__(self, least_s: float, most_s: float) -> None:
        self._least_s, self._most_s = least_s, most_s
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, mark, body = self._received.partition(b"\r\n\r\n")
        if not mark:
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        if len(body) >= size:
            self._received = body[size:]
            seconds = random.uniform(self._least_s, self._most_s)
            asyncio.get_running_loop().call_later(seconds, self._transport.write, WHOLE)


async def _serve(least_ms: str, most_ms: str) -> None:
    loop = asyncio.get_running_loop()
    times = int(least_ms) / 1000, int(most_ms) / 1000
    server = await loop.create_server(lambda: _Connection(*times), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _flood(port: str, key: str, model: str, clients: str) -> None:
    counted: collections.Counter[str] = collections.Counter()
    tasks = [asyncio.create_task(_ask_for_ever(int(port), key, model, counted)) for _ in range(int(clients))]
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps(counted), flush=True)


async def _ask_for_ever(port: int, key: str, model: str, counted: collections.Counter[str]) -> None:
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
    head = f"POST /oai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        writer.write(request)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(answer.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        status = answer[9:12].decode()
        counted[status] += 1
        if status == "429":
            await asyncio.sleep(int(answer.partition(b"retry-after:")[2].partition(b"\r\n")[0]))


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[2:]) if sys.argv[1] == "upstream" else _flood(*sys.argv[2:]))
