"""Client: the one file of the terminal side that speaks HTTP. Whatever goes wrong becomes a ClientError of one line."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp

from tui.locate import ClientError, Place

__all__ = ["Client", "ClientError", "Stream", "segment"]

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
"""For plain calls. An answer of a model takes as long as the appliance lets it."""
PAGE_LIMIT = 1000


def segment(text: str) -> str:
    """An id as one segment of a path, whatever stands in it."""
    return quote(text, safe="")


class Client:
    """A session with one appliance: `async with Client(place) as client:`."""

    def __init__(self, place: Place, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.place = place
        self._answer_timeout_s = answer_timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        unix = self.place.unix
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(unix)) if unix else aiohttp.TCPConnector(),
            headers={"Authorization": f"Bearer {self.place.key}", "Accept": "application/json, text/event-stream"},
            trust_env=not self.place.is_here,  # a proxy cannot reach this machine's loopback
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return (await self.call("GET", path, query=query))["data"]

    async def post(self, path: str, body: Any) -> Any:
        return (await self.call("POST", path, body=body))["data"]

    async def delete(self, path: str) -> Any:
        return (await self.call("DELETE", path))["data"]

    async def items(self, path: str, query: Mapping[str, str] | None = None, limit: int | None = None) -> list[Any]:
        """A list over all its pages, or its first `limit` items."""
        found: list[Any] = []
        cursor = ""
        while limit is None or len(found) < limit:
            wanted = PAGE_LIMIT if limit is None else min(PAGE_LIMIT, limit - len(found))
            asked = {**(query or {}), "limit": str(wanted)} | ({"cursor": cursor} if cursor else {})
            answer = await self.call("GET", path, query=asked)
            found += answer["data"]["items"]
            cursor = answer["pagination"]["next_cursor"]
            if not cursor:
                break
        return found

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        patient: bool = False,
    ) -> dict[str, Any]:
        """The whole envelope of a successful answer. `patient` waits for a model as long as it takes."""
        response = await self._open(method, path, query, body, None if patient else self._answer_timeout_s)
        async with response:
            return await self._envelope(response)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: Any) -> AsyncIterator[Stream]:
        """An answer as it arrives. Leaving the block early hangs up, which ends the call upstream too."""
        response = await self._open("POST", path, None, body, None)
        async with response:
            if response.status != 200 or response.content_type != "text/event-stream":
                await self._envelope(response)
                raise ClientError(f"{self.place} answered with {response.content_type} where a stream is due")
            yield Stream(response, self.place)

    @contextlib.asynccontextmanager
    async def download(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        """A file as it arrives. A connection that ends too early is a ClientError."""
        response = await self._open("GET", path, query, None, None)
        async with response:
            if response.status != 200:
                await self._envelope(response)
            yield self._pieces(response)

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        while True:
            with _explained(self.place):
                piece = await response.content.readany()
            if not piece:
                return
            yield piece

    async def _open(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, total_s: float | None
    ) -> aiohttp.ClientResponse:
        assert self._session, "use `async with`"
        with _explained(self.place):
            return await self._session.request(
                method,
                self.place.url + path,
                params=query,
                json=body,
                ssl=not self.place.is_here,
                allow_redirects=False,  # a redirected POST would lose its body
                timeout=aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_TIMEOUT_S),
            )

    async def _envelope(self, response: aiohttp.ClientResponse) -> dict[str, Any]:
        with _explained(self.place):
            raw = await response.read()
        try:
            body = json.loads(raw)
            if response.status < 300 and body["status"] == "ok" and "data" in body:
                return dict(body)
            error = body["error"]
            code, message = str(error["code"]), str(error["message"])
        except (ValueError, TypeError, KeyError):
            raise ClientError(
                f"{self.place} answered {response.status} with something that is no answer of ScaiGrid; "
                "is the URL right?",
                status=response.status,
            ) from None
        raise self._refusal(response, code, message)

    def _refusal(self, response: aiohttp.ClientResponse, code: str, message: str) -> ClientError:
        request_id = response.headers.get("X-Request-ID", "")
        line = f"{code}: {message}"
        if response.status == 401:
            line += f"; the key came from {self.place.key_source}"
        if response.status == 429 and (wait_s := response.headers.get("Retry-After")):
            line += f"; try again in {wait_s} s"
        line += f" (request {request_id})" if request_id else ""
        return ClientError(line, code=code, status=response.status, request_id=request_id)


class Stream:
    """The chunks of one answer, decoded. Ends in order at `[DONE]` only."""

    def __init__(self, response: aiohttp.ClientResponse, place: Place) -> None:
        self.headers = response.headers
        self._response = response
        self._place = place

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        request_id = self.headers.get("X-Request-ID", "")
        async for name, data in self._events():
            if data == "[DONE]":
                return
            chunk = json.loads(data)
            if name == "error":
                code, message = chunk.get("code", "ERROR"), chunk.get("message", "")
                line = f"{code}: {message}" + (f" (request {request_id})" if request_id else "")
                raise ClientError(line, code=code, request_id=request_id)
            yield chunk
        raise ClientError(f"the connection to {self._place} ended in the middle of the answer (request {request_id})")

    async def _events(self) -> AsyncIterator[tuple[str, str]]:
        """(event name, data) of each event that came whole."""
        name, data = "", []
        async for line in self._lines():
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "event":
                name = value
            elif key == "data":
                data.append(value)
            elif not line and data:
                yield name, "\n".join(data)
                name, data = "", []

    async def _lines(self) -> AsyncIterator[str]:
        rest = b""
        while True:
            with _explained(self._place):
                piece = await self._response.content.readany()
            if not piece:
                return
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line.removesuffix(b"\r").decode(errors="replace")


@contextlib.contextmanager
def _explained(place: Place) -> Iterator[None]:
    """What the network does wrong, as one line that says what to do."""
    try:
        yield
    except aiohttp.ClientConnectorCertificateError as error:
        reason = getattr(error.certificate_error, "verify_message", "") or error.certificate_error
        raise ClientError(f"cannot reach {place}: its certificate is not trusted: {reason}") from None
    except aiohttp.ClientConnectorError as error:
        raise ClientError(f"cannot reach {place}: {_reason(error.os_error)}{_advice(place, error.os_error)}") from None
    except aiohttp.InvalidURL:
        raise ClientError(f"cannot reach {place}: that is no URL; check --url") from None
    except TimeoutError:
        doubt = "does it speak TLS there?" if place.url.startswith("https:") else "is the address right?"
        raise ClientError(f"cannot reach {place}: no answer in time; {doubt}") from None
    except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
        reason = str(error) or type(error).__name__
        raise ClientError(f"the connection to {place} broke: {reason}; its log may say why") from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS there; is it http:// instead?"
    if isinstance(error, socket.gaierror):
        return f"{error.strerror or error}; check the host name".lower()
    return (os.strerror(error.errno) if error.errno else str(error)).lower()


def _advice(place: Place, error: OSError) -> str:
    if place.is_here and error.errno in (errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET):
        return "; is `scaigrid serve` running?"
    return "; is the address right?" if error.errno == errno.ECONNREFUSED else ""
