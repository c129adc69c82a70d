from __future__ import annotations

import pytest

from appliance.formats import anthropic
from appliance.formats.base import UpstreamError, UpstreamFormat
from appliance.formats.sse import SseEvent
from support.fixtures import needs_fixtures, recorded


def test_the_module_is_an_upstream_format_whose_stream_decoders_share_nothing() -> None:
    upstream: UpstreamFormat = anthropic
    ended, fresh = upstream.stream_decoder(), upstream.stream_decoder()
    ended.feed(SseEvent(b'{"type": "message_start", "message": {}}'))
    ended.feed(SseEvent(b'{"type": "message_stop"}'))
    assert (ended.complete, fresh.complete) == (True, False)


@needs_fixtures
def test_the_recorded_error_tells_its_message_and_type() -> None:
    error = anthropic.decode_error(400, recorded("anthropic/error-400.response.json"))
    assert error == UpstreamError(
        "This model does not support effort level 'xhigh'. Supported levels: high, low, max, medium.",
        type="invalid_request_error",
    )


def test_an_error_code_in_the_details_is_kept() -> None:
    body = b'{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"ramp"}}}'
    assert anthropic.decode_error(429, body) == UpstreamError("m", type="rate_limit_error", code="ramp")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>\n  bad   gateway </html>", "<html> bad gateway </html>"),
        (b"x" * 10_000, "x" * anthropic.MAX_ERROR_TEXT),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b" \n", "the upstream answered 502 with an empty body"),
        (b'{"error": "no envelope"}', '{"error": "no envelope"}'),
        (b'{"error": {"message": 5}}', '{"error": {"message": 5}}'),
        (b"[]", "[]"),
    ],
)
def test_any_other_error_body_is_told_as_its_trimmed_text(body: bytes, message: str) -> None:
    assert anthropic.decode_error(502, body) == UpstreamError(message)
