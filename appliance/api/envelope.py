"""The one success shape, the one error shape, and cursors (API reference, sections 2.2, 2.3, 2.7)."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from sanic import HTTPResponse
from sanic.response import ResponseStream

from appliance.errors import GatewayError, clipped, invalid
from appliance.formats import FORMATS

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
YEAR_10000 = 253_402_300_800


class Page:
    """A list with more behind it: `cursor` is opaque to callers and None at the end."""

    __slots__ = ("cursor", "items")

    def __init__(self, items: list[Any], cursor: str | None = None) -> None:
        self.items = items
        self.cursor = cursor


class Plain:
    """A body that is not wrapped: /health, and the compat surface."""

    __slots__ = ("body", "content_type", "status")

    def __init__(self, body: Any, status: int = 200, content_type: str = "application/json") -> None:
        self.body = body if isinstance(body, bytes) else msgspec.json.encode(body)
        self.status = status
        self.content_type = content_type


def success(result: Any) -> HTTPResponse:
    if isinstance(result, ResponseStream):
        return cast(HTTPResponse, result)  # Sanic takes either from a handler, its types name only the one
    if isinstance(result, Plain):
        return HTTPResponse(result.body, result.status, content_type=result.content_type)
    if isinstance(result, Page):
        pagination = {"has_more": result.cursor is not None, "next_cursor": result.cursor}
        return json({"status": "ok", "data": {"items": result.items}, "pagination": pagination})
    return json({"status": "ok", "data": result})


def failure(error: GatewayError, surface: str, request_id: str) -> HTTPResponse:
    """The error in the surface's own dialect."""
    status, body = FORMATS[surface].encode_error(error, request_id)
    return json(body, status, error.headers())


def json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return HTTPResponse(msgspec.json.encode(body), status, headers, "application/json")


def cursor_of(seq: int) -> str:
    return base64.urlsafe_b64encode(str(seq).encode()).decode().rstrip("=")


def seq_of(cursor: str | None) -> int | None:
    if not cursor:
        return None
    try:
        seq = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        seq = -1
    if not 0 <= seq < 1 << 63 or cursor_of(seq) != cursor:
        raise invalid("cursor", "is not one that this endpoint gave out")
    return seq


def limit_of(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= MAX_LIMIT:
        raise invalid("limit", f"takes a whole number from 1 to {MAX_LIMIT}")
    return int(text)


def iso(unix: float | None) -> str | None:
    """ISO 8601 in UTC, milliseconds."""
    if unix is None:
        return None
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_of(field: str, text: str) -> float:
    """An ISO 8601 date or time → Unix seconds. Without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        unix = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise invalid(field, f"{clipped(text)!r} is no ISO 8601 time such as 2026-11-22T00:00:00Z") from None
    if not 0 <= unix < YEAR_10000:
        raise invalid(field, "must lie between 1970 and 9999")
    return unix
