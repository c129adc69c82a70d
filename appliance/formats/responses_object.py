"""The `response` object of the Responses dialect, around the items: status, echo of the request, errors.

Must not know how items are made.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import FinishReason, Usage
from appliance.formats.openai_error import encode_error
from appliance.formats.responses_usage import encode_usage

Items = list[dict[str, Any]]

SERVICE_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
"""OpenAI's words; another server's own word stays out of an answer, since strict clients refuse it."""

_UNSAID: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The members of a request that an answer repeats, as they read when the caller did not write them."""

_INCOMPLETE: dict[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}

_LIMITS = ("BACKEND_RATE_LIMITED", "RATE_LIMITED", "BUDGET_EXCEEDED", "QUOTA_EXCEEDED")


def echo_of(body: dict[str, Any]) -> dict[str, Any]:
    """What an answer repeats of the request; `body` as the caller wrote it, before history was put in."""
    echo = {name: deepcopy(default) if body.get(name) is None else body[name] for name, default in _UNSAID.items()}
    for name in ("reasoning", "text"):
        if isinstance(echo[name], dict):
            echo[name] = _UNSAID[name] | {key: value for key, value in echo[name].items() if value is not None}
    return echo


def response_object(
    head: ReplyHead,
    output: Items,
    *,
    status: str,
    usage: Usage | None = None,
    echo: dict[str, Any] | None = None,
    service_tier: Any = None,
) -> dict[str, Any]:
    body = {
        "id": head.id,
        "object": "response",
        "created_at": head.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": head.model,
        "output": output,
        "usage": None if usage is None else encode_usage(usage),
    }
    tier = {"service_tier": service_tier} if service_tier in SERVICE_TIERS else {}
    return body | (echo_of({}) if echo is None else echo) | tier


def ending(reason: FinishReason | None) -> dict[str, Any]:
    """The members that say how an answer ended."""
    if reason not in _INCOMPLETE:
        return {"status": "completed"}
    return {"status": "incomplete", "incomplete_details": {"reason": _INCOMPLETE[reason]}}


def failure(error: GatewayError) -> dict[str, Any]:
    """The members of a response that broke."""
    code = "rate_limit_exceeded" if error.code in _LIMITS else "server_error"
    if error.code == "VALIDATION_ERROR":
        code = "invalid_prompt"
    return {"status": "failed", "error": {"code": code, "message": error.message}}


def error_event(error: GatewayError) -> dict[str, Any]:
    """The reference writes the members flat; the wire nests them, and OpenAI's SDKs raise for `error` only."""
    told = encode_error(error, "")[1]["error"]
    flat = {name: told[name] for name in ("code", "message", "param")}
    return {"type": "error", **flat, "error": told}
