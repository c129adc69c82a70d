"""The upstream side of Anthropic's Messages API: the functions of base.UpstreamFormat, gathered from their files."""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.anthropic_request import encode_request
from appliance.formats.anthropic_stream import ERROR_STATUSES, AnthropicStreamDecoder
from appliance.formats.base import StreamDecoder, UpstreamError

__all__ = ["ERROR_STATUSES", "decode_error", "decode_reply", "encode_request", "stream_decoder"]

MAX_ERROR_TEXT = 500
"""Characters kept of an error body that is not Anthropic's envelope, such as a proxy's HTML page."""


def stream_decoder() -> StreamDecoder:
    return AnthropicStreamDecoder()


def decode_error(status: int, body: bytes) -> UpstreamError:
    """{"type": "error", "error": {type, message}} in canonical words; any other body as its trimmed text."""
    error = _error_object(body)
    if error is None:
        text = " ".join(body.decode("utf-8", "replace").split())[:MAX_ERROR_TEXT]
        return UpstreamError(text or f"the upstream answered {status} with an empty body")
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return UpstreamError(error["message"], type=_string(error.get("type")), code=_string(code))


def _error_object(body: bytes) -> dict[str, Any] | None:
    try:
        envelope = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    error = envelope.get("error") if isinstance(envelope, dict) else None
    if not isinstance(error, dict) or not _string(error.get("message")):
        return None
    return error


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None
