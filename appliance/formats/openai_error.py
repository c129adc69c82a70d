"""Errors: any OpenAI-protocol server's error body → UpstreamError, and GatewayError → OpenAI's error body.

Must not decide whose fault an error is; that is the provider's part.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from appliance.errors import GatewayError
from appliance.formats.base import UpstreamError

MAX_MESSAGE = 300

_TAGS = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^>]*>")
_SPACES = re.compile(r"\s+")
_RETRY_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def decode_error(status: int, body: bytes) -> UpstreamError:
    """Reads {"error": {…}}, {"error": "…"}, {"message"}, {"detail"}, a list around one of them, and plain text."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        value = _plain(body.decode("utf-8", "replace"))
    error = error_in(value)
    if not error.message:
        error.message = f"the upstream answered {status} without saying why"
    return error


def error_in(value: Any) -> UpstreamError:
    """The error that a decoded body tells of; its message is empty when the body says nothing."""
    if isinstance(value, list) and value:
        return error_in(value[0])
    if not isinstance(value, dict):
        return UpstreamError(message=_trimmed(value) if isinstance(value, str) else "")
    inner = value.get("error")
    error = inner if isinstance(inner, dict) else value
    message = _words(inner if isinstance(inner, str) else error)
    if raw := _nested(error):
        message = f"{message}: {raw}" if message else raw
    return UpstreamError(
        message=_trimmed(message),
        # Google writes its word for the case into `status`; elsewhere that is a number.
        type=_name(error.get("type") or (status if isinstance(status := error.get("status"), str) else None)),
        code=_name(error.get("code")),
        param=_name(error.get("param")),
        retry_after=_retry_after(error),
    )


def _words(value: Any) -> str:
    """The sentence inside an error: text, or what `message`, `detail` or `msg` hold, at any depth."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join(words for entry in value if (words := _words(entry)))
    if not isinstance(value, dict):
        return ""
    said = next((words for name in ("message", "detail", "msg") if (words := _words(value.get(name)))), "")
    where = value.get("loc")
    return f"{'.'.join(str(step) for step in where)}: {said}" if said and isinstance(where, list) else said


def _nested(error: dict[str, Any]) -> str:
    """OpenRouter puts the provider's own error, as text or as JSON text, into metadata.raw."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return error_in(raw).message
    try:
        return error_in(msgspec.json.decode(raw)).message or _plain(raw)
    except msgspec.DecodeError:
        return _plain(raw)


def _retry_after(error: dict[str, Any]) -> float | None:
    """Google's RetryInfo among the details, or a number in `retry_after`."""
    seconds = error.get("retry_after")
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds >= 0:
        return float(seconds)
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and (match := _RETRY_DELAY.fullmatch(delay)):
            return float(match[1])
    return None


def _name(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value)


def _plain(text: str) -> str:
    """Text for a log line: the words of an HTML page without its tags."""
    return _SPACES.sub(" ", _TAGS.sub(" ", text) if "<" in text else text).strip()


def _trimmed(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


# -- to the client ----------------------------------------------------------------------------------------------------


class ErrorShape(Struct, frozen=True):
    """How OpenAI answers such a case: HTTP status, `type`, `code`, and `param` where the case names one itself."""

    status: int
    type: str
    code: str | None
    param: str | None = None


ERRORS: dict[str, ErrorShape] = {
    "AUTH_TOKEN_MISSING": ErrorShape(401, "invalid_request_error", "invalid_api_key"),
    "AUTH_TOKEN_INVALID": ErrorShape(401, "invalid_request_error", "invalid_api_key"),
    "AUTH_INSUFFICIENT_SCOPE": ErrorShape(403, "invalid_request_error", "permission_denied"),
    "AUTHZ_PERMISSION_DENIED": ErrorShape(403, "invalid_request_error", "permission_denied"),
    "VALIDATION_ERROR": ErrorShape(400, "invalid_request_error", None),
    "PAYLOAD_TOO_LARGE": ErrorShape(413, "invalid_request_error", "payload_too_large"),
    "NOT_FOUND": ErrorShape(404, "invalid_request_error", "not_found"),
    "METHOD_NOT_ALLOWED": ErrorShape(405, "invalid_request_error", "method_not_allowed"),
    "SLUG_CONFLICT": ErrorShape(409, "invalid_request_error", "slug_conflict"),
    "DECLARED_IN_CONFIG": ErrorShape(409, "invalid_request_error", "declared_in_config"),
    "IN_USE": ErrorShape(409, "invalid_request_error", "in_use"),
    "CONFIG_CONFLICT": ErrorShape(409, "invalid_request_error", "config_conflict"),
    "CONFIG_NOT_WRITABLE": ErrorShape(403, "invalid_request_error", "config_not_writable"),
    "EDIT_REFUSED": ErrorShape(409, "invalid_request_error", "edit_refused"),
    "MODEL_NOT_FOUND": ErrorShape(404, "invalid_request_error", "model_not_found", "model"),
    # As OpenAI answers for a model that a project may not use: 403, with the code of an unknown model.
    "MODEL_ACCESS_DENIED": ErrorShape(403, "invalid_request_error", "model_not_found", "model"),
    "MODEL_UNAVAILABLE": ErrorShape(503, "server_error", "model_unavailable"),
    "BACKEND_NOT_FOUND": ErrorShape(404, "invalid_request_error", "backend_not_found"),
    "BACKEND_ERROR": ErrorShape(502, "server_error", "backend_error"),
    "BACKEND_TIMEOUT": ErrorShape(504, "server_error", "backend_timeout"),
    "BACKEND_RATE_LIMITED": ErrorShape(429, "requests", "rate_limit_exceeded"),
    "UPSTREAM_SHAPE_MISMATCH": ErrorShape(502, "server_error", "upstream_shape_mismatch"),
    "PROVIDER_NOT_FOUND": ErrorShape(404, "invalid_request_error", "provider_not_found"),
    "PROVIDER_HAS_BACKENDS": ErrorShape(409, "invalid_request_error", "provider_has_backends"),
    "PROVIDER_DISCOVERY_ERROR": ErrorShape(502, "server_error", "provider_discovery_error"),
    "RATE_LIMITED": ErrorShape(429, "requests", "rate_limit_exceeded"),
    "QUOTA_EXCEEDED": ErrorShape(429, "insufficient_quota", "insufficient_quota"),
    "BUDGET_EXCEEDED": ErrorShape(429, "insufficient_quota", "insufficient_quota"),
    "SHUTTING_DOWN": ErrorShape(503, "server_error", "shutting_down"),
    "JOURNAL_UNAVAILABLE": ErrorShape(503, "server_error", "journal_unavailable"),
    "STORAGE_UNAVAILABLE": ErrorShape(503, "server_error", "storage_unavailable"),
    "INTERNAL_ERROR": ErrorShape(500, "server_error", "internal_error"),
}


def encode_error(error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
    """OpenAI's body has no place for the request id: it goes out as X-Request-ID, which the surface sets."""
    shape = ERRORS[error.code]
    return shape.status, {
        "error": {
            "message": error.message,
            "type": shape.type,
            "param": error.param or shape.param,
            "code": shape.code,
        }
    }
