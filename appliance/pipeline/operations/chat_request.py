"""The caller's chat request → the body for one target. Same dialect: members go through undecoded; else by way of
canonical.

Never changes the caller's request: the next attempt starts from it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange
from appliance.formats import FORMATS
from appliance.formats.base import OperatorSettings
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, TextPart
from appliance.grid.grid import FrontendModel
from appliance.pipeline import peek

FEATURES_OF_MEMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "presence_penalty": "penalties",
    "frequency_penalty": "penalties",
    "reasoning_effort": "reasoning",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "n": "n",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""Members that a target may lack. One that is asked in earnest has been refused before this point, so what is left has
a neutral value (temperature 1, no penalty), or is an operator's default that nobody asked for: both are left out."""


def body_for(exchange: Exchange, attempt: Attempt) -> bytes:
    """Sets `attempt.passthrough`. Raises GatewayError when this target's dialect cannot carry the request."""
    assert exchange.model
    model, endpoint, lacks = exchange.model, attempt.target.endpoint, attempt.target.lacks
    defaults = {
        name: value for name, value in model.default_params.items() if FEATURES_OF_MEMBERS.get(name) not in lacks
    }
    if endpoint.dialect == exchange.surface and endpoint.passthrough is not None:
        attempt.passthrough = endpoint.passthrough
        members = exchange.members
        if lacks:
            members = {name: raw for name, raw in members.items() if FEATURES_OF_MEMBERS.get(name) not in lacks}
        settings = OperatorSettings(
            stream=exchange.stream,
            default_params=defaults,
            system_prompt=model.system_prompt,
            max_output_tokens=model.max_output_tokens,
            output_cap=exchange.output_cap,
        )
        return endpoint.passthrough.request(members, attempt.target.upstream_model, settings)
    attempt.passthrough = None
    request = _without(canonical(exchange), lacks)
    if exchange.output_cap is not None:
        request = replace(request, max_output_tokens=exchange.output_cap)
    return msgspec.json.encode(_encoded(request, model, attempt, defaults))


def canonical(exchange: Exchange) -> ChatRequest:
    if exchange.request is None:
        client = FORMATS[exchange.surface]
        exchange.request = client.decode_request(peek.decoded(exchange.body))
    return exchange.request


_MAY_BE_OPEN = frozenset(ChatRequest.__struct_fields__) - {"stop", "n"}
"""Members of the canonical request that are None where nobody asks. Without an earnest value the other two ask for
nothing."""


def _without(request: ChatRequest, lacks: frozenset[str]) -> ChatRequest:
    changes: dict[str, Any] = {
        name: None for name, feature in FEATURES_OF_MEMBERS.items() if feature in lacks and name in _MAY_BE_OPEN
    }
    return replace(request, **changes) if changes else request


def _encoded(
    request: ChatRequest, model: FrontendModel, attempt: Attempt, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """In the target's dialect. An operator's default that the dialect cannot carry is left out: nobody asked for it."""
    encode, upstream_model = attempt.target.endpoint.format.encode_request, attempt.target.upstream_model
    try:
        return encode(with_operator_settings(request, model, defaults), upstream_model)
    except GatewayError as error:
        if request.reasoning is not None and request.reasoning.if_possible:
            return _encoded(replace(request, reasoning=None), model, attempt, defaults)
        refused = {detail["field"] for detail in error.details or ()}
        carried = {name: value for name, value in defaults.items() if name not in refused}
        if len(carried) == len(defaults):
            raise
        return encode(with_operator_settings(request, model, carried), upstream_model)


def with_operator_settings(request: ChatRequest, model: FrontendModel, defaults: Mapping[str, Any]) -> ChatRequest:
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
