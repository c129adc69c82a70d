"""Google's error envelope ({"error": {code, message, status, details}}) in canonical words; judges nothing."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from appliance.formats.base import UpstreamError
from appliance.formats.reply_object import object_in

MAX_ERROR_TEXT = 500
"""Characters kept of a body that is not Google's envelope, such as a proxy's HTML page."""

_SECONDS = re.compile(r"(\d+(?:\.\d+)?)s")


def decode_error(status: int, body: bytes) -> UpstreamError:
    """Any other body is its trimmed text."""
    try:
        error = error_in(msgspec.json.decode(body))
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        error = None
    if error is None:
        text = " ".join(body.decode("utf-8", "replace").split())[:MAX_ERROR_TEXT]
        return UpstreamError(text or f"the upstream answered {status} with an empty body")
    details = [object_in(detail) for detail in error.get("details") or []] if _has_details(error) else []
    return UpstreamError(
        error["message"],
        type=_text(error.get("status")),
        code=_code(details),
        param=_param(details),
        retry_after=_wait(details),
    )


def error_in(body: Any) -> dict[str, Any] | None:
    """The error object with a message; streams that were not asked for as SSE put a list around the envelope."""
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None
    return error if _text(error.get("message")) else {**error, "message": _text(error.get("status")) or "unknown error"}


def _has_details(error: dict[str, Any]) -> bool:
    return isinstance(error.get("details"), list)


def _code(details: list[dict[str, Any]]) -> str | None:
    """The reason, such as API_KEY_INVALID; of a quota its id, which says per minute or per day."""
    for detail in details:
        if reason := _text(detail.get("reason")):
            return reason
    violations = [object_in(entry) for detail in details for entry in _listed(detail.get("violations"))]
    return next((quota for entry in violations if (quota := _text(entry.get("quotaId")))), None)


def _param(details: list[dict[str, Any]]) -> str | None:
    violations = [object_in(entry) for detail in details for entry in _listed(detail.get("fieldViolations"))]
    return next((field for entry in violations if (field := _text(entry.get("field")))), None)


def _wait(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        delay = detail.get("retryDelay")
        if isinstance(delay, str) and (said := _SECONDS.fullmatch(delay)):
            return float(said[1])
    return None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
