from __future__ import annotations

import anthropic
import httpx2
import pytest
from anthropic.types.shared import ErrorResponse

from appliance.errors import CODES, GatewayError, invalid
from appliance.formats.anthropic_error import ERRORS, encode_error, error_event
from appliance.formats.anthropic_stream import ERROR_STATUSES
from support.sse import events


def test_every_code_has_its_place() -> None:
    assert ERRORS.keys() == CODES.keys()


@pytest.mark.parametrize("code", CODES)
def test_every_body_is_one_of_anthropics(code: str) -> None:
    status, body = encode_error(GatewayError(code, "what was wrong"), "req_1")
    assert body == {
        "type": "error",
        "error": {"type": ERRORS[code][1], "message": "what was wrong"},
        "request_id": "req_1",
    }
    if code != "PAYLOAD_TOO_LARGE":  # the API's word for it, which the SDK has no type for
        ErrorResponse.model_validate(body)
    assert body["error"]["type"] in ERROR_STATUSES
    assert 400 <= status < 600


def test_a_refused_thread_says_so_in_the_words_that_the_sdk_goes_on_after() -> None:
    _, body = encode_error(invalid("thread", "is not held here"), "req_1")
    assert body["error"]["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert "details" not in encode_error(invalid("top_k", "must be a number"), "req_1")[1]["error"]


@pytest.mark.parametrize(
    ("code", "raised"),
    [
        ("AUTH_TOKEN_INVALID", anthropic.AuthenticationError),
        ("AUTHZ_PERMISSION_DENIED", anthropic.PermissionDeniedError),
        ("VALIDATION_ERROR", anthropic.BadRequestError),
        ("MODEL_NOT_FOUND", anthropic.NotFoundError),
        ("RATE_LIMITED", anthropic.RateLimitError),
        ("BUDGET_EXCEEDED", anthropic.RateLimitError),
        ("MODEL_UNAVAILABLE", anthropic.InternalServerError),
        ("INTERNAL_ERROR", anthropic.InternalServerError),
    ],
)
def test_the_sdk_raises_what_belongs_to_the_case(code: str, raised: type[anthropic.APIStatusError]) -> None:
    status, body = encode_error(GatewayError(code, "m"), "req_1")
    client = anthropic.Anthropic(api_key="x")
    response = httpx2.Response(status, json=body, request=httpx2.Request("POST", "https://x"))
    error = client._make_status_error("m", body=body, response=response)
    assert isinstance(error, raised)


def test_whether_the_sdk_tries_again_follows_from_the_status() -> None:
    """It tries 408, 409, 429 and 5xx again: what the caller must change first should be none of them."""
    tried_again = {code for code, (status, _) in ERRORS.items() if status in (408, 409, 429) or status >= 500}
    later_may_help = {code for code, row in CODES.items() if row.retryable}
    by_contract = {"QUOTA_EXCEEDED", "BUDGET_EXCEEDED", "SLUG_CONFLICT", "DECLARED_IN_CONFIG"}
    assert tried_again - later_may_help == by_contract | {"UPSTREAM_SHAPE_MISMATCH", "INTERNAL_ERROR"}
    assert later_may_help <= tried_again


def test_a_broken_stream_ends_with_the_error_event() -> None:
    told = error_event(GatewayError("BACKEND_ERROR", "provider x broke off"))
    assert events(told) == [
        ("error", {"type": "error", "error": {"type": "api_error", "message": "provider x broke off"}})
    ]
