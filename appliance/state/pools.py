"""Connections to upstreams: one aiohttp session per provider, kept across reloads while its settings stay the same."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import aiohttp

from appliance.exchange import ConnectFailed, Upload, Upstream, UpstreamCut
from appliance.state.fair_queue import FairQueue, Slot

KEEP_ALIVE_S = 4.0
"""Shorter than the 5 s after which common servers (uvicorn, Node) drop an idle connection: a request that is sent into
a closing connection looks like a failed call, and may not be repeated blindly."""
READ_BUFFER_BYTES = 256 * 1024
HEADER_LIMIT_BYTES = 32 * 1024


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
    """Connections by provider, and the queue of those who wait for one."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[str, float], aiohttp.ClientSession] = {}
        self._queues: dict[str, FairQueue] = {}
        self._newest = 0

    def queue(self, name: str, at_once: int, size: int, generation: int = 0) -> FairQueue:
        """The provider's places: `at_once` calls, and `size` that wait, as the newest generation says that came here: a
        late call of an older one sets nothing back."""
        queue = self._queues.get(name)
        if queue is None:
            queue = self._queues[name] = FairQueue(at_once, size)
        elif generation >= self._newest and (queue.limit != at_once or queue.capacity != size):
            queue.capacity = size
            queue.resize(at_once)
        self._newest = max(self._newest, generation)
        return queue

    def queues(self) -> Mapping[str, FairQueue]:
        """Of the providers that were called so far."""
        return self._queues

    def _session(self, name: str, connect_s: float) -> aiohttp.ClientSession:
        session = self._sessions.get((name, connect_s))
        if session is None:
            session = self._sessions[name, connect_s] = _client(connect_s)
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
        slot: Slot | None = None,
    ) -> Upstream:
        """Send one request and return when the answer's headers are here. `sent` is told when the connection stands.

        An `upload` goes out as a multipart form, its file read from disk piece by piece, in place of `body`. The `slot`
        is released with the connection; the gateway's own questions (a list of models, a token) need none.

        Raises ConnectFailed when there was no connection or it broke before any answer; TimeoutError is the caller's.
        """
        try:
            data = body if upload is None else _form(upload)
            response = await self._send(self._session(name, connect_s), method, url, headers, data, sent)
        except BaseException:
            if slot:
                slot.release()
            raise
        return HttpUpstream(response, slot)

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
            await session.close()
        self._sessions.clear()

    async def keep_only(self, used: Collection[tuple[str, float]]) -> None:
        """Close the connections of every (provider, connect_s) that no Grid names any more, and forget its queue."""
        unused = [self._sessions.pop(known) for known in list(self._sessions) if known not in used]
        names = {name for name, _ in used}
        for name in [name for name in self._queues if name not in names]:
            del self._queues[name]
        for session in unused:
            await session.close()


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
    """An Upstream over aiohttp. It holds its place at the provider until it is closed."""

    __slots__ = ("_response", "_slot", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, slot: Slot | None = None) -> None:
        self._response = response
        self._slot = slot
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
        if self._slot:
            self._slot.release()
