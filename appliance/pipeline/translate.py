"""The caller's request → the body for one target. Same dialect: members go through undecoded; else by way of canonical.

Never changes the caller's request: the next attempt starts from it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure
from appliance.formats import FORMATS, passthrough
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, TextPart
from appliance.grid.grid import FrontendModel
from appliance.pipeline import peek


def translate(exchange: Exchange, attempt: Attempt) -> bool:
    """Sets `attempt.body`. False when this target's dialect cannot carry the request; the reason is kept."""
    assert exchange.model
    provider = attempt.target.endpoint.provider
    attempt.passthrough = provider.format_name == exchange.surface
    try:
        if attempt.passthrough:
            attempt.body = passthrough.request(
                exchange.members,
                attempt.target.upstream_model,
                stream=exchange.stream,
                default_params=exchange.model.default_params,
                system_prompt=exchange.model.system_prompt,
                max_output_tokens=exchange.model.max_output_tokens,
                output_cap=exchange.output_cap,
            )
        else:
            request = _canonical(exchange)
            if exchange.output_cap is not None:
                request = replace(request, max_output_tokens=exchange.output_cap)
            encoded = _encoded(request, exchange.model, attempt)
            attempt.body = msgspec.json.encode(encoded)
    except GatewayError as error:
        exchange.translation_error = error
        attempt.failure = Failure("caller", error.code, error.message, param=error.param)
        return False
    return True


def _canonical(exchange: Exchange) -> ChatRequest:
    if exchange.request is None:
        client = FORMATS[exchange.surface]
        exchange.request = client.decode_request(peek.decoded(exchange.body))
    return exchange.request


def _encoded(request: ChatRequest, model: FrontendModel, attempt: Attempt) -> dict[str, Any]:
    """In the target's dialect. An operator's default that the dialect cannot carry is left out: nobody asked for it."""
    encode, upstream_model = attempt.target.endpoint.provider.format.encode_request, attempt.target.upstream_model
    try:
        return encode(_with_operator_settings(request, model, model.default_params), upstream_model)
    except GatewayError as error:
        refused = {detail["field"] for detail in error.details or ()}
        carried = {name: value for name, value in model.default_params.items() if name not in refused}
        if len(carried) == len(model.default_params):
            raise
        return encode(_with_operator_settings(request, model, carried), upstream_model)


def _with_operator_settings(request: ChatRequest, model: FrontendModel, defaults: Mapping[str, Any]) -> ChatRequest:
    """The frontend model's system prompt, defaults and output limit, as the YAML has them."""
    changes: dict[str, Any] = {
        name: value
        for name, value in defaults.items()
        if name not in ("max_tokens", "stop", "reasoning_effort") and getattr(request, name) is None
    }
    default_cap = defaults.get("max_tokens", model.max_output_tokens)
    cap = default_cap if request.max_output_tokens is None else request.max_output_tokens
    if cap is not None and model.max_output_tokens is not None:
        cap = min(cap, model.max_output_tokens)
    changes["max_output_tokens"] = cap
    if not request.stop and "stop" in defaults:
        stop = defaults["stop"]
        changes["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if request.reasoning is None and "reasoning_effort" in defaults:
        changes["reasoning"] = ReasoningOptions(effort=defaults["reasoning_effort"])
    if model.system_prompt:
        changes["messages"] = [Message("system", [TextPart(model.system_prompt)]), *request.messages]
    return replace(request, **changes)
