"""StrictRequest: Sanic's request, refused when its head is not valid HTTP.

Sanic's own parser is lenient (a blank before the colon, folded lines, bare LF). Whatever two parsers read differently
can be used to smuggle a second request past a proxy in front of us, so RFC 9112's grammar is enforced here.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sanic import HTTPResponse, Request
from sanic.exceptions import BadRequest, SanicException

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD = re.compile(
    _TOKEN
    + rb" [\x21-\x7e]+ HTTP/1\.[01](?:\r\n"
    + _TOKEN
    + rb":[ \t]*(?:[\x21-\x7e\x80-\xff][\x20-\x7e\x80-\xff\t]*)?)*"
)

READ_ON_S = 3.0


class StrictRequest(Request):
    def __init__(self, *, url_bytes: bytes, method: str, head: bytes = b"", **others: Any) -> None:
        # Sanic makes an empty request to answer one that it could not read; its URL is not to be read again.
        unread = method == "NONE"
        super().__init__(url_bytes=b"*" if unread else url_bytes, method=method, head=head, **others)
        if unread:
            return
        if not _HEAD.fullmatch(head):
            raise BadRequest("the request's head is not valid HTTP/1.1")
        if self.path[:1] != "/":
            raise BadRequest("the request's target is not a path")
        if self.headers.get("transfer-encoding", "chunked") != "chunked":
            raise BadRequest("the only transfer coding is chunked")


def never_reuse_after_chunked(request: Request) -> None:
    """Bytes behind a chunked body are never taken for another request, whatever its framing was."""
    if "transfer-encoding" in request.headers and request.stream:
        stream: Any = request.stream
        stream.keep_alive = False


def listen_for_hang_up(request: Request) -> None:
    """Sanic stops reading when its buffer is full and goes on only when it wants more of the body.

    Behind a large body that is never, and a connection that is not read does not tell that the caller has left.
    """
    transport: Any = request.transport
    if transport:
        transport.resume_reading()


def is_unread(request: Request) -> bool:
    """Whether the caller may still send a body."""
    stream: Any = request.stream
    return stream is not None and bool(stream.request_body)


async def answer_and_read_on(request: Request, response: HTTPResponse) -> None:
    """Answer a request whose body was not read to its end, then read on for a while and throw it away.

    A socket that is closed with unread bytes is reset, and the reset overtakes the answer: callers who send everything
    before they read would see a broken connection instead of the error.
    """
    sent = await request.respond(response)
    await sent.send(end_stream=True)
    stream: Any = request.stream
    try:
        async with asyncio.timeout(READ_ON_S):
            while await stream.read() is not None:
                pass
    except (TimeoutError, SanicException):
        pass
