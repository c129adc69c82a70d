"""Connections to upstreams: one aiohttp session per provider, kept across reloads while its settings stay the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp

from appliance.exchange import ConnectFailed, Upload, Upstream, UpstreamCut

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers (uvicorn, Node) drop an idle connection: a request that is sent into
a closing connection looks like a failed call, and may not be repeated blindly."""
READ_BUFFER_BYTES = 256 * 1024
HEADER_LIMIT_BYTES = 32 * 1024


class _Session(NamedTuple):
    """A provider's connections, and how many calls may still use one at the same time."""

    client: aiohttp.ClientSession
    slots: asyncio.Semaphore


def _client(connect_s: float) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
        trust_env=False,
        read_bufsize=READ_BUFFER_BYTES,
        max_line_size=HEADER_LIMIT_BYTES,
        max_field_size=HEADER_LIMIT_BYTES,
        skip_auto_headers=("User-Agent", "Accept"),
        trace_configs=[_connected()],
    )


def _connected() -> aiohttp.TraceConfig:
    """Calls the request's `sent` right before its first byte goes out: what is given up before that costs nothing."""

    async def tell(_: aiohttp.ClientSession, context: Any, __: Any) -> None:
        context.trace_request_ctx()

    config = aiohttp.TraceConfig()
    config.on_connection_create_end.append(tell)
    config.on_connection_reuseconn.append(tell)
    return config


class Pools:
    def __init__(self) -> None:
        self._sessions: dict[tuple[Any, ...], _Session] = {}

    def _session(self, name: str, max_connections: int, connect_s: float) -> _Session:
        key = (name, max_connections, connect_s)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(_client(connect_s), asyncio.Semaphore(max_connections))
        return session

    async def open(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        max_connections: int,
        connect_s: float,
        sent: Callable[[], None],
        method: str = "POST",
        upload: Upload | None = None,
    ) -> Upstream:
        """Send one request and return when the answer's headers are here. `sent` is told when the connection stands.

        An `upload` goes out as a multipart form, its file read from disk piece by piece, in place of `body`.

        Raises ConnectFailed when there was no connection or it broke before any answer; TimeoutError is the caller's.
        """
        session = self._session(name, max_connections, connect_s)
        await session.slots.acquire()
        try:
            data = body if upload is None else _form(upload)
            return HttpUpstream(await self._send(session.client, method, url, headers, data, sent), session.slots)
        except BaseException:
            session.slots.release()
            raise

    async def _send(
        self,
        client: aiohttp.ClientSession,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | aiohttp.FormData,
        sent: Callable[[], None],
    ) -> aiohttp.ClientResponse:
        try:
            return await client.request(
                method, url, data=data or None, headers=headers, allow_redirects=False, trace_request_ctx=sent
            )
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise ConnectFailed(_reason(error)) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise ConnectFailed(f"the connection was reset before an answer ({_reason(error)})") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamCut(f"no valid HTTP answer ({_reason(error)})") from error

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.client.close()
        self._sessions.clear()


def _form(upload: Upload) -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in upload.fields:
        form.add_field(name, value)
    # aiohttp reads an open file piece by piece, in a thread, and closes it when it was sent.
    form.add_field(
        upload.file_field, upload.path.open("rb"), filename=upload.filename, content_type=upload.content_type
    )
    return form


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"


class HttpUpstream:
    """An Upstream over aiohttp. It holds one of the provider's slots until it is closed."""

    __slots__ = ("_response", "_slots", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, slots: asyncio.Semaphore) -> None:
        self._response = response
        self._slots: asyncio.Semaphore | None = slots
        self.status = response.status
        self.headers = response.headers

    async def chunk(self) -> bytes:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, ConnectionError, ValueError) as error:
            raise UpstreamCut(_reason(error)) from error

    def close(self) -> None:
        # A body read to its end has given its connection back already; anything else must not be reused.
        self._response.close()
        if self._slots:
            self._slots.release()
            self._slots = None
