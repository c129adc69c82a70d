"""Anthropic: its own headers, a base URL without /v1, and its own way to say that money is missing."""

from __future__ import annotations

import json

import pytest

from appliance.formats import anthropic
from appliance.grid.compile import compile_grid
from appliance.providers.base import Endpoint
from support.build import load_yaml

KEY = "sk-ant-abcdefghijklmnop"


def endpoint(extra: str = "") -> Endpoint:
    loaded = load_yaml(f"providers: {{up: {{type: anthropic, api_key: {KEY}{extra}}}}}\n")
    return compile_grid(loaded, 1).endpoints["up"]


def test_the_key_has_its_own_header_and_the_version_is_said() -> None:
    headers = endpoint().headers
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert "Authorization" not in headers


def test_base_url_is_written_without_v1() -> None:
    assert endpoint().url("chat") == "https://api.anthropic.com/v1/messages"
    assert endpoint(", base_url: 'http://proxy.test/claude'").url("chat") == "http://proxy.test/claude/v1/messages"


def test_the_operator_may_ask_for_another_version() -> None:
    assert endpoint(", headers: {anthropic-version: '2024-01-01'}").headers["anthropic-version"] == "2024-01-01"


def test_it_speaks_its_own_dialect() -> None:
    assert (endpoint().provider.format_name, endpoint().provider.format) == ("anthropic", anthropic)


@pytest.mark.parametrize(
    ("status", "type_", "kind"),
    [
        (400, "invalid_request_error", "caller"),
        (401, "authentication_error", "operator"),
        (403, "permission_error", "operator"),
        (404, "not_found_error", "operator"),
        (413, "request_too_large", "caller"),
        (429, "rate_limit_error", "rate_limited"),
        (500, "api_error", "server_error"),
        (504, "timeout_error", "timeout"),
        (529, "overloaded_error", "server_error"),
    ],
)
def test_its_documented_errors(status: int, type_: str, kind: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": type_, "message": "what went wrong"}}).encode()
    failure = endpoint().provider.classify(endpoint(), status, {}, body)
    assert failure.kind == kind
    assert "what went wrong" in failure.detail


def test_an_empty_account_is_the_operator_s_and_not_the_caller_s_fault() -> None:
    """Anthropic answers 400 invalid_request_error for it; the caller can do nothing about it."""
    message = (
        "Your credit balance is too low to access the Anthropic API. "
        "Please go to Plans & Billing to upgrade or purchase credits."
    )
    body = json.dumps({"type": "error", "error": {"type": "invalid_request_error", "message": message}}).encode()
    failure = endpoint().provider.classify(endpoint(), 400, {}, body)
    assert failure.kind in ("quota", "operator")
    assert failure.code != "VALIDATION_ERROR"
    assert "credit balance" not in failure.message
