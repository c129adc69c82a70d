"""Errors of OpenAI-protocol servers, and ours in OpenAI's body."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types.shared import ErrorObject

from appliance.errors import CODES, GatewayError, invalid
from appliance.formats.base import UpstreamError
from appliance.formats.openai_error import ERRORS, MAX_MESSAGE, decode_error, encode_error
from support.fixtures import needs_fixtures, recorded, recorded_meta

RECORDED = {
    "openai/error-400-code-null": UpstreamError(
        "Web search options not supported with this model.", "invalid_request_error", None, "web_search_options"
    ),
    "openai/error-400-unsupported-value": UpstreamError(
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "invalid_request_error",
        "unsupported_value",
        "messages[0].role",
    ),
    "openai/error-404-model": UpstreamError(
        "The model `gpt-4.1-nano-wrong` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    "groq/error-400-tool-use-failed": UpstreamError(
        "Tool call validation failed: tool call validation failed: parameters for tool get_something_by_name did not "
        "match schema: errors: [missing properties: 'name', additionalProperties 'foo' not allowed]",
        "invalid_request_error",
        "tool_use_failed",
    ),
    "openrouter/error-429-nested": UpstreamError(
        "Provider returned error: google/gemini-2.0-flash-exp:free is temporarily rate-limited upstream. Please retry "
        "shortly, or add your own key to accumulate your rate limits: https://openrouter.ai/settings/integrations",
        code="429",
    ),
    "google/error-429-retry-info": UpstreamError(
        "You exceeded your current quota, please check your plan.", "RESOURCE_EXHAUSTED", "429", retry_after=34.4
    ),
}


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_recorded_errors(name: str) -> None:
    file = f"{name}.response.json"
    assert decode_error(recorded_meta(file)["status"], recorded(file)) == RECORDED[name]


@needs_fixtures
def test_azure_says_which_filter_refused_the_prompt() -> None:
    error = decode_error(400, recorded("azure/error-400-content-filter.response.json"))
    assert (error.code, error.param, error.type) == ("content_filter", "prompt", None)
    assert error.message.startswith("The response was filtered due to the prompt triggering Azure")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": "no such model"}, UpstreamError("no such model")),
        ({"message": "m", "type": "t", "code": 7}, UpstreamError("m", "t", "7")),
        ({"detail": "Not Found"}, UpstreamError("Not Found")),
        ({"detail": [{"loc": ["body", "n"], "msg": "bad"}, {"msg": "worse"}]}, UpstreamError("body.n: bad; worse")),
        ({"object": "error", "message": {"detail": [{"msg": "bad"}]}}, UpstreamError("bad")),
        ([{"error": {"code": 400, "message": "m", "status": "INVALID"}}], UpstreamError("m", "INVALID", "400")),
        ({"error": {"message": "m", "retry_after": 3}}, UpstreamError("m", retry_after=3.0)),
        (
            {"error": {"message": "m", "details": [{}, "x", {"retryDelay": "37s"}]}},
            UpstreamError("m", retry_after=37.0),
        ),
        ({"error": {"message": "m", "details": [{"retryDelay": "soon"}], "code": True}}, UpstreamError("m")),
        ({"error": {"message": "p", "metadata": {"raw": '{"error": {"message": "own"}}'}}}, UpstreamError("p: own")),
        ({"error": {"message": "p", "metadata": {"raw": {"message": "own"}}}}, UpstreamError("p: own")),
        ({"error": {"metadata": {"raw": "own"}}}, UpstreamError("own")),
        ({"error": {"metadata": {"raw": "{}"}}}, UpstreamError("{}")),
    ],
)
def test_every_known_shape(body: Any, expected: UpstreamError) -> None:
    assert decode_error(400, msgspec.json.encode(body)) == expected


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"null", b"7", b'{"error": {}}', b'{"error": null}'])
def test_a_body_that_says_nothing(body: bytes) -> None:
    assert decode_error(503, body) == UpstreamError("the upstream answered 503 without saying why")


def test_text_and_pages_are_cut_to_a_readable_length() -> None:
    page = b"<html><head><style>p {}</style><title>502</title></head>\n<body><h1>Bad   Gateway</h1></body></html>"
    assert decode_error(502, page).message == "502 Bad Gateway"
    assert decode_error(500, b"\xff broken").message == "\ufffd broken"
    message = decode_error(500, b"x" * 5000).message
    assert len(message) == MAX_MESSAGE
    assert message.endswith("x…")


def test_every_code_has_a_row() -> None:
    assert set(ERRORS) == set(CODES)


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_has_openai_body(code: str) -> None:
    status, body = encode_error(GatewayError(code, "what happened"), "req_12345678")
    assert list(body) == ["error"]
    error = ErrorObject.model_validate(body["error"], strict=True)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert error.message == "what happened"
    # A native 422 is OpenAI's 400; all other statuses are the same on both surfaces.
    assert status == (400 if code == "VALIDATION_ERROR" else CODES[code].status)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (
            invalid("n", "is bad"),
            400,
            {"message": "n: is bad", "type": "invalid_request_error", "param": "n", "code": None},
        ),
        (
            GatewayError("MODEL_NOT_FOUND", "m"),
            404,
            {"message": "m", "type": "invalid_request_error", "param": "model", "code": "model_not_found"},
        ),
        (
            GatewayError("BUDGET_EXCEEDED", "m"),
            429,
            {"message": "m", "type": "insufficient_quota", "param": None, "code": "insufficient_quota"},
        ),
        (
            GatewayError("BACKEND_RATE_LIMITED", "m", retry_after=3),
            429,
            {"message": "m", "type": "requests", "param": None, "code": "rate_limit_exceeded"},
        ),
        (
            GatewayError("MODEL_UNAVAILABLE", "m"),
            503,
            {"message": "m", "type": "server_error", "param": None, "code": "model_unavailable"},
        ),
    ],
)
def test_openai_words_for_the_case(error: GatewayError, status: int, expected: dict[str, Any]) -> None:
    assert encode_error(error, "req_1") == (status, {"error": expected})
