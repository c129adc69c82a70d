from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import Response, ResponseErrorEvent

from appliance.errors import CODES, GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import FinishReason, Usage
from appliance.formats.responses_object import echo_of, ending, error_event, failure, response_object

HEAD = ReplyHead("resp_1", "front", 1700000000)


def valid(response: dict[str, Any]) -> dict[str, Any]:
    Response.model_validate(response)
    return response


def test_an_empty_request_is_echoed_with_openais_defaults() -> None:
    response = valid(response_object(HEAD, [], status="in_progress"))
    assert (response["id"], response["model"], response["created_at"]) == ("resp_1", "front", 1700000000)
    assert (response["tools"], response["tool_choice"], response["parallel_tool_calls"]) == ([], "auto", True)
    assert (response["usage"], response["error"], response["incomplete_details"]) == (None, None, None)
    assert response["text"] == {"format": {"type": "text"}}


def test_what_the_caller_wrote_is_echoed() -> None:
    tool = {"type": "function", "name": "f", "parameters": {}, "strict": True}
    body = {
        "model": "m",
        "input": "hi",
        "instructions": "i",
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "f"},
        "temperature": 0.0,
        "top_p": None,
        "max_output_tokens": 50,
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "text": {"verbosity": "low", "format": None},
        "metadata": {"a": "b"},
        "previous_response_id": "resp_0",
        "store": False,
        "user": "u",
    }
    echo = echo_of(body)
    assert "input" not in echo
    assert (echo["temperature"], echo["top_p"], echo["store"]) == (0.0, None, False)
    assert echo["reasoning"] == {"effort": "low", "summary": None}
    assert echo["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    response = valid(response_object(HEAD, [], status="completed", usage=Usage(1, 2), echo=echo))
    assert {name: response[name] for name in ("instructions", "tools", "previous_response_id")} == {
        "instructions": "i",
        "tools": [tool],
        "previous_response_id": "resp_0",
    }
    assert response["usage"]["total_tokens"] == 3


def test_echoes_do_not_share_what_they_hold() -> None:
    echo_of({})["metadata"]["a"] = "b"
    assert echo_of({})["metadata"] == {}


def test_only_openais_own_service_tiers_are_shown() -> None:
    assert response_object(HEAD, [], status="completed", service_tier="flex")["service_tier"] == "flex"
    assert "service_tier" not in response_object(HEAD, [], status="completed", service_tier="on_demand")


@pytest.mark.parametrize(
    ("reason", "members"),
    [
        (None, {"status": "completed"}),
        ("stop", {"status": "completed"}),
        ("tool_calls", {"status": "completed"}),
        ("length", {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}),
        ("content_filter", {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}),
    ],
)
def test_endings(reason: FinishReason | None, members: dict[str, Any]) -> None:
    assert ending(reason) == members


@pytest.mark.parametrize("code", CODES)
def test_every_failure_is_valid_for_the_sdk(code: str) -> None:
    error = GatewayError(code, "why")
    response = valid(response_object(HEAD, [], status="failed") | failure(error))
    limits = ("RATE_LIMITED", "BUDGET_EXCEEDED", "QUOTA_EXCEEDED", "BACKEND_RATE_LIMITED")
    expected = "rate_limit_exceeded" if code in limits else "server_error"
    assert response["error"] == {
        "code": "invalid_prompt" if code == "VALIDATION_ERROR" else expected,
        "message": "why",
    }
    event = error_event(error)
    ResponseErrorEvent.model_validate(event | {"sequence_number": 0})
    assert event["error"]["message"] == event["message"] == "why"
