"""The upstream side of Google's generateContent, on the Gemini API and on Vertex AI: the functions of
base.UpstreamFormat, gathered from their files, and those of countTokens."""

from __future__ import annotations

from appliance.formats.base import StreamDecoder
from appliance.formats.google_error import decode_error
from appliance.formats.google_reply import decode_reply
from appliance.formats.google_request import decode_count, encode_count, encode_request
from appliance.formats.google_stream import GoogleStreamDecoder

__all__ = ["decode_count", "decode_error", "decode_reply", "encode_count", "encode_request", "stream_decoder"]


def stream_decoder() -> StreamDecoder:
    return GoogleStreamDecoder()
