"""GatewayError → Anthropic's error body, for every code; and the event that ends a stream that broke.

Must not decide whose fault an error is. Anthropic's SDKs try 408, 409, 429 and 5xx again by themselves.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.sse import named_event

ERRORS: dict[str, tuple[int, str]] = {
    "AUTH_TOKEN_MISSING": (401, "authentication_error"),
    "AUTH_TOKEN_INVALID": (401, "authentication_error"),
    "AUTH_INSUFFICIENT_SCOPE": (403, "permission_error"),
    "AUTHZ_PERMISSION_DENIED": (403, "permission_error"),
    "VALIDATION_ERROR": (400, "invalid_request_error"),
    "PAYLOAD_TOO_LARGE": (413, "request_too_large"),
    "NOT_FOUND": (404, "not_found_error"),
    "METHOD_NOT_ALLOWED": (405, "invalid_request_error"),
    "SLUG_CONFLICT": (409, "invalid_request_error"),
    "DECLARED_IN_CONFIG": (409, "invalid_request_error"),
    "IN_USE": (400, "invalid_request_error"),
    "CONFIG_CONFLICT": (400, "invalid_request_error"),
    "CONFIG_NOT_WRITABLE": (403, "permission_error"),
    "EDIT_REFUSED": (400, "invalid_request_error"),
    "MODEL_NOT_FOUND": (404, "not_found_error"),
    "MODEL_ACCESS_DENIED": (403, "permission_error"),
    "MODEL_UNAVAILABLE": (529, "overloaded_error"),
    "BACKEND_NOT_FOUND": (404, "not_found_error"),
    "BACKEND_ERROR": (502, "api_error"),
    "BACKEND_TIMEOUT": (504, "timeout_error"),
    "BACKEND_RATE_LIMITED": (429, "rate_limit_error"),
    "UPSTREAM_SHAPE_MISMATCH": (502, "api_error"),
    "PROVIDER_NOT_FOUND": (404, "not_found_error"),
    "PROVIDER_HAS_BACKENDS": (400, "invalid_request_error"),
    "PROVIDER_DISCOVERY_ERROR": (502, "api_error"),
    "RATE_LIMITED": (429, "rate_limit_error"),
    # The contract asks for 429 where Anthropic answers 402; the type says that waiting a moment will not help.
    "QUOTA_EXCEEDED": (429, "billing_error"),
    "BUDGET_EXCEEDED": (429, "billing_error"),
    # 503 and not 529: what stands before several appliances knows it, and asks the next one.
    "SHUTTING_DOWN": (503, "overloaded_error"),
    "JOURNAL_UNAVAILABLE": (503, "api_error"),
    "STORAGE_UNAVAILABLE": (503, "api_error"),
    "INTERNAL_ERROR": (500, "api_error"),
}
"""Code → HTTP status and Anthropic's word for the case."""

DETAILS: dict[str, dict[str, Any]] = {
    "thread": {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
}
"""Refused member → what tells Anthropic's own SDKs to go on without it. Their tool runner sends `thread` unasked."""


def encode_error(error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
    status, _ = ERRORS[error.code]
    return status, _body(error) | {"request_id": request_id}


def error_event(error: GatewayError) -> bytes:
    """The last bytes of a stream that broke: no message_stop comes after it."""
    return named_event("error", msgspec.json.encode(_body(error)))


def _body(error: GatewayError) -> dict[str, Any]:
    said: dict[str, Any] = {"type": ERRORS[error.code][1], "message": error.message}
    if error.code == "VALIDATION_ERROR" and error.param in DETAILS:
        said["details"] = DETAILS[error.param]
    return {"type": "error", "error": said}
