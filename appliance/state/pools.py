"""Connections to upstreams: one aiohttp session per provider, kept across reloads while its settings stay the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from appliance.exchange import ConnectFailed, Upstream, UpstreamCut

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers (uvicorn, Node) drop an idle connection: a request that is sent into
a closing connection looks like a failed call, and may not be repeated blindly."""
READ_BUFFER_BYTES = 256 * 1024
HEADER_LIMIT_BYTES = 32 * 1024


class Pools:
    def __init__(self) -> None:
        self._sessions: dict[tuple[Any, ...], aiohttp.ClientSession] = {}

    def _session(self, name: str, max_connections: int, connect_s: float) -> aiohttp.ClientSession:
        key = (name, max_connections, connect_s)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=max_connections, keepalive_timeout=KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=True,
                trust_env=False,
                read_bufsize=READ_BUFFER_BYTES,
                max_line_size=HEADER_LIMIT_BYTES,
                max_field_size=HEADER_LIMIT_BYTES,
                skip_auto_headers=("User-Agent", "Accept"),
            )
        return session

    async def open(
        self, name: str, url: str, headers: Mapping[str, str], body: bytes, max_connections: int, connect_s: float
    ) -> Upstream:
        """Send one POST and return when the answer's headers are here.

        Raises ConnectFailed when there was no connection or it broke before any answer; TimeoutError is the caller's.
        """
        session = self._session(name, max_connections, connect_s)
        try:
            response = await session.post(url, data=body, headers=headers, allow_redirects=False)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            raise ConnectFailed(_reason(error)) from error
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            raise ConnectFailed(f"the connection was reset before an answer ({_reason(error)})") from error
        except (aiohttp.ClientError, ValueError) as error:
            raise UpstreamCut(f"no valid HTTP answer ({_reason(error)})") from error
        return HttpUpstream(response)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()


def _reason(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text if len(text) < 200 else text[:200] + "…"


class HttpUpstream:
    """An Upstream over aiohttp."""

    __slots__ = ("_response", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
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
