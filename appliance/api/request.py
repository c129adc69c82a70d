"""StrictRequest: Sanic's request, refused when its head is not valid HTTP.

Sanic's own parser is lenient (a blank before the colon, folded lines, bare LF). Whatever two parsers read differently
can be used to smuggle a second request past a proxy in front of us, so RFC 9112's grammar is enforced here.
"""

from __future__ import annotations

import re
from typing import Any

from sanic import Request
from sanic.exceptions import BadRequest

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD = re.compile(
    _TOKEN
    + rb" [\x21-\x7e]+ HTTP/1\.[01](?:\r\n"
    + _TOKEN
    + rb":[ \t]*(?:[\x21-\x7e\x80-\xff][\x20-\x7e\x80-\xff\t]*)?)*"
)


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
