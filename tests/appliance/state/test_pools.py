"""Upstream connections over a real loopback socket: how each way of breaking is told, and what is not carried over."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as default_policy
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from appliance.exchange import ConnectFailed, Upload, Upstream, UpstreamCut
from appliance.state.pools import HEADER_LIMIT_BYTES, Pools
from support.appliance import free_port
from support.upstream import Call
from support.upstream import Upstream as Server

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer secret", "User-Agent": "scaigrid"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close()


async def post(
    pools: Pools,
    url: str,
    body: bytes = b"{}",
    *,
    name: str = "p",
    limit: int = 4,
    connect_s: float = 2.0,
    sent: Callable[[], None] = lambda: None,
    headers: Mapping[str, str] = HEADERS,
    **options: Any,
) -> Upstream:
    async with asyncio.timeout(20):
        slot = await pools.queue(name, limit, 100).slot("acme", 1, 20)
        return await pools.open(name, url, headers, body, limit, connect_s, sent, slot=slot, **options)


async def read(upstream: Upstream) -> bytes:
    pieces = []
    try:
        async with asyncio.timeout(5):
            while piece := await upstream.chunk():
                pieces.append(piece)
    finally:
        upstream.close()
    return b"".join(pieces)


def port_of(call: Call) -> int:
    """The port our side called from: the same one means the same connection."""
    return int(call._writer.get_extra_info("peername")[1])


# -- in order ---------------------------------------------------------------------------------------------------------


async def test_an_answer_is_a_status_headers_and_a_body(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(418, b"short and stout", {"X-Thing": "a", "Retry-After": "7"}))
    upstream = await post(pools, server.url + "/v1/chat?x=1", b'{"a":1}')
    assert upstream.status == 418
    assert upstream.headers.get("x-thing") == "a"
    assert upstream.headers.get("retry-after") == "7"
    assert await read(upstream) == b"short and stout"
    call = server.calls[-1]
    assert (call.path, call.body) == ("/v1/chat?x=1", b'{"a":1}')


async def test_exactly_our_headers_go_out(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    await read(await post(pools, server.url))
    sent = dict(server.calls[-1].headers)
    assert sent.pop("host").startswith("127.0.0.1:")
    assert sent.pop("content-length") == "2"
    sent.pop("accept-encoding", None)
    assert sent == {name.lower(): value for name, value in HEADERS.items()}


async def test_pieces_are_handed_on_as_they_arrive(server: Server, pools: Pools) -> None:
    async def script(call: Call) -> None:
        await call.start_stream()
        await call.chunk(b"one")
        await asyncio.sleep(0.05)
        await call.chunk(b"two")
        await call.end_stream()

    server.answer(script)
    upstream = await post(pools, server.url)
    assert await upstream.chunk() == b"one"
    assert await upstream.chunk() == b"two"
    assert await upstream.chunk() == b""
    assert await upstream.chunk() == b""
    upstream.close()
    upstream.close()


async def test_a_compressed_answer_is_unpacked(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, gzip.compress(b"x" * 1000), {"Content-Encoding": "gzip"}))
    assert await read(await post(pools, server.url)) == b"x" * 1000


async def test_a_get_has_no_body(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"[]"))
    assert await read(await post(pools, server.url + "/models?limit=9", b"", method="GET")) == b"[]"
    call = server.calls[-1]
    assert (call.path, call.body) == ("/models?limit=9", b"")
    assert "content-length" not in call.headers
    assert "transfer-encoding" not in call.headers


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_the_method_is_the_one_that_was_asked(pools: Pools, method: str) -> None:
    async with Sink() as sink:
        await read(await post(pools, sink.url, b"", method=method))
        assert sink.lines == [f"{method} / HTTP/1.1"]


# -- uploads ----------------------------------------------------------------------------------------------------------

BARE = {"Authorization": "Bearer secret"}
MB = 1024 * 1024


class Sink:
    """Takes requests of any size and keeps nothing of them but their length, their hash and their first line.

    The upstream of support.upstream holds bodies in memory, which would hide what is measured here.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.sizes: list[int] = []
        self.digests: list[str] = []
        self.ends: list[bytes] = []
        self.most_memory = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.lines.append(head.partition("\r\n")[0])
                length = re.search(r"content-length: (\d+)", head, re.I)
                await self._swallow(reader, int(length[1]) if length else 0)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def _swallow(self, reader: asyncio.StreamReader, left: int) -> None:
        hashed, size, last = hashlib.sha256(), left, b""
        while left:
            piece = await reader.read(min(left, 65536))
            if not piece:
                return
            left -= len(piece)
            hashed.update(piece)
            last = (last + piece)[-200:]
            self.most_memory = max(self.most_memory, memory())
        self.sizes.append(size)
        self.digests.append(hashed.hexdigest())
        self.ends.append(last)


def memory() -> int:
    """What this process holds now, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def upload_of(path: Path, **changes: Any) -> Upload:
    known: dict[str, Any] = {"filename": "sound.wav", "content_type": "audio/wav", "size": path.stat().st_size}
    return Upload(path, **(known | changes))


async def test_an_upload_is_a_form_of_its_fields_and_its_file(server: Server, pools: Pools, tmp_path: Path) -> None:
    path = tmp_path / "held"
    path.write_bytes(b"RIFF\r\n--x\r\n\0\xff")
    fields = (("model", "whisper-1"), ("prompt", "two\r\nlines, é€😀"), ("hint", "a"), ("hint", "b"))
    server.answer(lambda call: call.reply(200, b"{}"))
    upload = upload_of(path, fields=fields, filename="clip é.wav", file_field="file")
    await read(await post(pools, server.url, headers=BARE, upload=upload))
    call = server.calls[-1]
    assert call.headers["content-length"] == str(len(call.body)), "some servers take no chunked form"
    message = BytesParser(policy=default_policy).parsebytes(
        b"Content-Type: " + call.headers["content-type"].encode() + b"\r\n\r\n" + call.body
    )
    parts = [part for part in message.iter_parts() if isinstance(part, EmailMessage)]
    names = [part.get_param("name", header="content-disposition") for part in parts]
    assert names == ["model", "prompt", "hint", "hint", "file"]
    values = [part.get_payload(decode=True) for part in parts]
    assert values == [*(value.encode() for _, value in fields), path.read_bytes()]
    assert parts[-1].get_content_type() == "audio/wav"


async def test_a_second_target_gets_the_same_file(server: Server, pools: Pools, tmp_path: Path) -> None:
    path = tmp_path / "held"
    path.write_bytes(b"x" * 100_000)
    server.answer(lambda call: call.reply(503, b"{}"))
    for _ in range(2):
        await read(await post(pools, server.url, headers=BARE, upload=upload_of(path)))
    one, two = (call.body.count(b"x" * 100_000) for call in server.calls[-2:])
    assert (one, two) == (1, 1)
    assert path.exists()


async def test_a_large_upload_is_never_in_memory(pools: Pools, tmp_path: Path) -> None:
    path = tmp_path / "held"
    with path.open("wb") as file:
        for number in range(50):
            file.write(bytes([number]) * MB)
    async with Sink() as sink:
        await read(await post(pools, sink.url, headers=BARE, upload=upload_of(path, filename="warm-up")))
        sink.most_memory = 0
        before = memory()
        await read(await post(pools, sink.url, headers=BARE, upload=upload_of(path)))
        assert [size > 50 * MB for size in sink.sizes] == [True, True]
        more = (sink.most_memory - before) / MB
        assert sink.most_memory > 0
        assert more < 15, f"{more:.0f} MB more memory for a file of 50 MB"


@pytest.mark.parametrize("how", ["refused", "reset", "garbage", "cancelled", "whole"])
async def test_every_ending_of_an_upload_closes_its_file(
    server: Server, pools: Pools, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "held"
    path.write_bytes(b"x" * 100_000)
    url = f"http://127.0.0.1:{free_port()}" if how == "refused" else server.url
    server.answer(
        {
            "reset": _reset,
            "garbage": lambda call: call.raw(b"SSH-2.0\r\n\r\n"),
            "cancelled": lambda call: call.until_hung_up(5),
        }.get(how, lambda call: call.reply(200, b"{}"))
    )
    with contextlib.suppress(ConnectFailed, UpstreamCut, TimeoutError):
        async with asyncio.timeout(0.1 if how == "cancelled" else 5):
            await read(await post(pools, url, headers=BARE, upload=upload_of(path)))
    async with asyncio.timeout(2):
        while holds(path):  # noqa: ASYNC110 - closed in a thread
            await asyncio.sleep(0.01)


def holds(path: Path) -> bool:
    """Whether this process has the file open. Collecting garbage first would hide one that was forgotten."""
    found = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return str(path) in found


# -- connections ------------------------------------------------------------------------------------------------------


async def test_a_connection_is_used_again_after_a_whole_answer(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    for _ in range(3):
        await read(await post(pools, server.url))
    assert len({port_of(call) for call in server.calls[-3:]}) == 1


async def test_a_connection_is_used_again_after_an_error_answer(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(500, b"{}"))
    for _ in range(2):
        await read(await post(pools, server.url))
    assert len({port_of(call) for call in server.calls[-2:]}) == 1


async def test_a_connection_whose_answer_was_given_up_is_closed(server: Server, pools: Pools) -> None:
    async def script(call: Call) -> None:
        await call.start_stream()
        await call.chunk(b"one")
        await call.until_hung_up(5)

    server.answer(script)
    upstream = await post(pools, server.url)
    await upstream.chunk()
    upstream.close()
    call = server.calls[-1]
    async with asyncio.timeout(2):
        while not call.hung_up:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    server.answer(lambda call: call.reply(200, b"{}"))
    await read(await post(pools, server.url))
    assert port_of(server.calls[-1]) != port_of(call)


async def test_a_cancelled_call_hangs_up(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.until_hung_up(5))
    seen = len(server.calls)
    task = asyncio.ensure_future(post(pools, server.url))
    async with asyncio.timeout(2):
        while len(server.calls) == seen:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        task.cancel()
        while not server.calls[-1].hung_up:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_more_connections_than_allowed_are_opened(server: Server, pools: Pools) -> None:
    async def script(call: Call) -> None:
        await asyncio.sleep(0.02)
        await call.reply(200, b"{}")

    server.answer(script)

    async def one() -> bytes:
        return await read(await post(pools, server.url, limit=2))

    await asyncio.gather(*(one() for _ in range(8)))
    assert len({port_of(call) for call in server.calls[-8:]}) == 2


async def test_a_call_is_sent_when_a_connection_is_free_and_not_before(server: Server, pools: Pools) -> None:
    """Who leaves while he waits for one owes nothing: nobody works for him yet."""
    server.answer(lambda call: call.reply(200, b"{}"))
    told: list[str] = []
    first = await post(pools, server.url, limit=1, sent=lambda: told.append("first"))
    seen = len(server.calls)
    leaving, waiting = (
        asyncio.ensure_future(post(pools, server.url, limit=1, sent=partial(told.append, name)))
        for name in ("who leaves", "who stays")
    )
    await asyncio.sleep(0.05)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert told == ["first"]
    assert len(server.calls) == seen
    await read(first)
    await read(await waiting)
    assert told == ["first", "who stays"]


async def _reset(call: Call) -> None:
    call.reset()


ENDINGS: dict[str, Callable[[Call], Any]] = {
    "whole": lambda call: call.reply(200, b"{}"),
    "an error": lambda call: call.reply(500, b"{}"),
    "no answer": _reset,
    "garbage": lambda call: call.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "silence": lambda call: call.until_hung_up(5),
}


@pytest.mark.parametrize("how", ENDINGS)
async def test_every_ending_frees_the_connection_for_the_next(server: Server, pools: Pools, how: str) -> None:
    for _ in range(3):
        server.answer(ENDINGS[how])
        with contextlib.suppress(ConnectFailed, UpstreamCut, TimeoutError):
            async with asyncio.timeout(0.05 if how == "silence" else 2):
                upstream = await post(pools, server.url, limit=1)
            upstream.close()
            upstream.close()
    server.answer(ENDINGS["whole"])
    assert await read(await post(pools, server.url, limit=1)) == b"{}"


async def test_closing_twice_frees_one_connection_only(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    first = await post(pools, server.url, limit=1)
    first.close()
    first.close()
    second = await post(pools, server.url, limit=1)
    third = asyncio.ensure_future(post(pools, server.url, limit=1))
    await asyncio.sleep(0.03)
    assert not third.done()
    await read(second)
    await read(await third)


async def test_providers_do_not_share_connections(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    for name in ("p", "q"):
        await read(await post(pools, server.url, name=name))
    assert len({port_of(call) for call in server.calls[-2:]}) == 2


async def test_after_close_everything_can_be_opened_anew(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    await read(await post(pools, server.url))
    await pools.close()
    assert await read(await post(pools, server.url)) == b"{}"


# -- nothing is carried over ------------------------------------------------------------------------------------------


async def test_cookies_are_never_kept(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}", {"Set-Cookie": "session=alice; Path=/"}))
    for _ in range(2):
        await read(await post(pools, server.url))
    assert "cookie" not in server.calls[-1].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(server: Server, pools: Pools, status: int) -> None:
    server.answer(lambda call: call.reply(status, b"", {"Location": server.url + "/elsewhere"}))
    seen = len(server.calls)
    upstream = await post(pools, server.url)
    assert upstream.status == status
    await read(upstream)
    assert len(server.calls) == seen + 1


async def test_proxies_of_the_environment_are_not_used(
    server: Server, pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answer(lambda call: call.reply(200, b"direct"))
    assert await read(await post(pools, server.url)) == b"direct"


# -- breaking ---------------------------------------------------------------------------------------------------------


async def test_a_refused_connection(pools: Pools) -> None:
    with pytest.raises(ConnectFailed):
        await post(pools, f"http://127.0.0.1:{free_port()}/")


async def test_a_name_that_does_not_resolve(pools: Pools) -> None:
    with pytest.raises(ConnectFailed):
        await post(pools, "http://no-such-host.invalid/")


async def test_tls_to_a_server_that_never_answers_it(server: Server, pools: Pools) -> None:
    with pytest.raises(ConnectFailed):
        await post(pools, server.url.replace("http:", "https:"), connect_s=0.2)


async def _half_a_head(call: Call) -> None:
    await call.raw(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await asyncio.sleep(0.02)
    call.cut()


@pytest.mark.parametrize("script", [Call.cut, Call.reset, _half_a_head], ids=["closed", "reset", "half a head"])
async def test_a_connection_that_ends_before_an_answer(server: Server, pools: Pools, script: Any) -> None:
    server.answer(script)
    with pytest.raises(ConnectFailed, match="before an answer"):
        await post(pools, server.url)


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon in here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * (HEADER_LIMIT_BYTES + 100) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["ssh", "status", "header", "length", "too long", "tls"],
)
async def test_an_answer_that_is_no_http(server: Server, pools: Pools, garbage: bytes) -> None:
    server.answer(lambda call: call.raw(garbage))
    with pytest.raises(UpstreamCut, match="no valid HTTP answer") as caught:
        await post(pools, server.url)
    assert len(str(caught.value)) < 300


async def _half_a_body(call: Call) -> None:
    await call.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await asyncio.sleep(0.02)
    call.cut()


async def _half_a_stream(call: Call) -> None:
    await call.start_stream()
    await call.chunk(b"half")
    await asyncio.sleep(0.02)
    call.cut()


async def _reset_in_a_stream(call: Call) -> None:
    await call.start_stream()
    await call.chunk(b"half")
    await asyncio.sleep(0.05)
    call.reset()


async def _bad_gzip(call: Call) -> None:
    await call.reply(200, b"this is not gzip at all, whatever the header says", {"Content-Encoding": "gzip"})


async def _half_a_gzip(call: Call) -> None:
    packed = gzip.compress(bytes(range(256)) * 200)
    await call.raw(f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n".encode())
    await call.raw(packed[:50])
    await asyncio.sleep(0.02)
    call.cut()


@pytest.mark.parametrize("script", [_half_a_body, _half_a_stream, _reset_in_a_stream, _bad_gzip, _half_a_gzip])
async def test_a_body_that_breaks_off_is_told_and_never_taken_for_whole(
    server: Server, pools: Pools, script: Any
) -> None:
    server.answer(script)
    with pytest.raises(UpstreamCut):
        await read(await post(pools, server.url))


async def test_connections_and_queues_that_nobody_can_ask_for_any_more_are_let_go(server: Server, pools: Pools) -> None:
    server.answer(lambda call: call.reply(200, b"{}"))
    for name, connect_s in (("kept", 2.0), ("kept", 3.0), ("gone", 2.0)):
        await read(await post(pools, server.url, name=name, connect_s=connect_s))
    kept, slower, gone = server.calls[-3:]
    await pools.keep_only({("kept", 2.0)})
    assert set(pools.queues()) == {"kept"}
    async with asyncio.timeout(5):
        while not all(call._writer.is_closing() for call in (slower, gone)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await read(await post(pools, server.url, name="kept"))
    assert port_of(server.calls[-1]) == port_of(kept), "the warm connection stays"
    await read(await post(pools, server.url, name="gone"))
    assert port_of(server.calls[-1]) != port_of(gone)
