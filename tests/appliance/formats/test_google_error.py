from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.formats.base import UpstreamError
from appliance.formats.google_error import MAX_ERROR_TEXT, decode_error, error_in
from support.fixtures import needs_fixtures, recorded, recorded_meta

TYPE = "type.googleapis.com/google.rpc."


def _decoded(http: int, *details: Any, **members: Any) -> UpstreamError:
    error = {"code": http, "message": "no", "status": "WORD", "details": [*details], **members}
    return decode_error(http, json.dumps({"error": error}).encode())


@needs_fixtures
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "error-404-model",
            UpstreamError(
                "models/gemini-3.6-flahs is not found for API version v1beta, or is not supported for generateContent. "
                "Call ModelService.ListModels to see the list of available models and their supported methods.",
                type="NOT_FOUND",
            ),
        ),
        (
            "error-429-retry-info",
            UpstreamError(
                "You exceeded your current quota, please check your plan.",
                type="RESOURCE_EXHAUSTED",
                code="GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
                retry_after=34.4,
            ),
        ),
    ],
)
def test_recorded_errors(name: str, expected: UpstreamError) -> None:
    path = f"google/{name}.response.json"
    assert decode_error(recorded_meta(path)["status"], recorded(path)) == expected


def test_the_reason_tells_a_bad_key() -> None:
    info = {"@type": TYPE + "ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    localized = {"@type": TYPE + "LocalizedMessage", "message": "no"}
    error = _decoded(400, localized, info, status="INVALID_ARGUMENT")
    assert (error.type, error.code) == ("INVALID_ARGUMENT", "API_KEY_INVALID")


def test_the_field_that_is_wrong_is_named() -> None:
    bad = {"@type": TYPE + "BadRequest", "fieldViolations": [{"description": "x"}, {"field": "contents[0].role"}]}
    assert _decoded(400, bad).param == "contents[0].role"


@pytest.mark.parametrize(("delay", "expected"), [("7s", 7.0), ("0.5s", 0.5), ("soon", None), (7, None), ("7", None)])
def test_the_wait(delay: Any, expected: float | None) -> None:
    assert _decoded(429, {"@type": TYPE + "RetryInfo", "retryDelay": delay}).retry_after == expected


def test_a_list_around_the_envelope_is_opened() -> None:
    body = b'[{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]'
    assert decode_error(503, body) == UpstreamError("overloaded", type="UNAVAILABLE")


def test_odd_details_are_passed_over() -> None:
    assert _decoded(429, "x", {"violations": "x", "fieldViolations": [4]}) == UpstreamError("no", type="WORD")
    assert _decoded(429, details="x") == UpstreamError("no", type="WORD")


def test_an_error_without_a_message_is_still_one() -> None:
    assert error_in({"error": {"status": "UNAVAILABLE"}}) == {"status": "UNAVAILABLE", "message": "UNAVAILABLE"}
    assert error_in({"error": {"code": 5}}) == {"code": 5, "message": "unknown error"}


@pytest.mark.parametrize("body", [None, [], {}, {"error": "invalid_grant"}, "text", [1]])
def test_what_is_no_error_is_none(body: Any) -> None:
    assert error_in(body) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>\n  Bad   Gateway</html>", "<html> Bad Gateway</html>"),
        (b"", "the upstream answered 502 with an empty body"),
        (b"x" * 2000, "x" * MAX_ERROR_TEXT),
        (b"\xff", "�"),
        (b"[" * 5000, "[" * MAX_ERROR_TEXT),
    ],
)
def test_any_other_body_is_its_text(body: bytes, message: str) -> None:
    assert decode_error(502, body) == UpstreamError(message)
