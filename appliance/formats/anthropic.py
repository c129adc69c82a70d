"""Anthropic's Messages API, for clients and for upstreams: the functions of base.py, each from the file of its noun.

anthropic_shape.py                       the head of a caller's request
anthropic_decode_request.py, …_decode_messages.py, …_decode_blocks.py, …_decode_tools.py
                                         a caller's request → ChatRequest
anthropic_request.py, …_messages.py, …_thinking.py, …_schema.py, …_gaps.py
                                         ChatRequest → an upstream's request
anthropic_models.py                      what Claude models take and refuse, by name
anthropic_reply.py, anthropic_stream.py  an upstream's answers → ChatReply, events
anthropic_reply_writer.py, …_stream_writer.py, …_stream_queue.py, …_stream_blocks.py
                                         ChatReply, events → a caller's answer
anthropic_packing.py                     opaque data of other providers inside thinking blocks
anthropic_input.py, …_citations.py, …_usage.py
                                         arguments, citations, usage, both ways
anthropic_error.py                       GatewayError → the error body
anthropic_count.py                       counting tokens
anthropic_passthrough.py                 both sides speak this dialect
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.formats.anthropic_count import decode_count, encode_count
from appliance.formats.anthropic_decode_request import decode_count_request, decode_request
from appliance.formats.anthropic_error import encode_error
from appliance.formats.anthropic_passthrough import PASSTHROUGH
from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.anthropic_reply_writer import encode_reply
from appliance.formats.anthropic_request import encode_request
from appliance.formats.anthropic_shape import read_count_head, read_head
from appliance.formats.anthropic_stream import ERROR_STATUSES
from appliance.formats.anthropic_stream import AnthropicStreamDecoder as stream_decoder
from appliance.formats.anthropic_stream_writer import StreamEncoder as stream_encoder
from appliance.formats.base import UpstreamError

__all__ = [
    "ERROR_STATUSES",
    "PASSTHROUGH",
    "decode_count",
    "decode_count_request",
    "decode_error",
    "decode_reply",
    "decode_request",
    "encode_count",
    "encode_error",
    "encode_reply",
    "encode_request",
    "read_count_head",
    "read_head",
    "stream_decoder",
    "stream_encoder",
]

MAX_ERROR_TEXT = 500
"""Characters kept of an error body that is not Anthropic's envelope, such as a proxy's HTML page."""


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
