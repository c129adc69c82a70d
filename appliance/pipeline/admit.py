"""May this caller make this call? Permission, the request's shape, the model, the tenant's access to it.

Everything here happens before a single byte goes upstream, and without waiting for anything.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Exchange
from appliance.formats import native
from appliance.formats.base import ReplyHead
from appliance.permissions import require
from appliance.pipeline import peek
from appliance.pipeline.estimate import bound, estimate, size_of
from appliance.pipeline.rates import take_rates
from appliance.state import State

MAX_METADATA_BYTES = 16 * 1024


def admit(exchange: Exchange, state: State) -> None:
    """Raises AUTHZ_PERMISSION_DENIED, VALIDATION_ERROR, MODEL_NOT_FOUND or MODEL_ACCESS_DENIED."""
    assert exchange.principal
    require(exchange.principal, "models:use")
    exchange.members = exchange.members or peek.members(exchange.body)
    if exchange.surface == "native":
        _read_native(exchange)
    else:
        _read_openai(exchange)
    _find_model(exchange)
    assert exchange.model
    size = size_of(exchange.body, exchange.members.get("messages"))
    exchange.input_bound = bound(size, exchange.model.system_prompt, exchange.model.context_window)
    exchange.input_estimate = min(estimate(size), exchange.input_bound)
    take_rates(exchange, state)
    exchange.deadline_at = exchange.received_at + exchange.model.policy.deadline_s
    prefix = "chat_" if exchange.surface == "native" else "chatcmpl-"
    exchange.head = ReplyHead(
        id=prefix + exchange.usage_id.removeprefix("usage_"),
        model=exchange.model_name,
        created=int(exchange.received_unix),
        include_usage=exchange.include_usage,
    )


def _read_native(exchange: Exchange) -> None:
    request = exchange.request or native.decode_request(peek.decoded(exchange.body))
    exchange.metadata, request.metadata = _kept(request.metadata), None  # the caller's own notes; they stay with us
    exchange.request = request
    exchange.model_name = request.model
    exchange.stream = request.stream
    exchange.include_usage = True
    exchange.n = request.n
    exchange.asked_cap = request.max_output_tokens


def _read_openai(exchange: Exchange) -> None:
    shape = peek.chat_shape(exchange.body)
    exchange.model_name = shape.model
    exchange.stream = bool(shape.stream)
    exchange.include_usage = bool(shape.stream_options and shape.stream_options.include_usage)
    exchange.metadata = _kept(shape.metadata)
    exchange.n = shape.n or 1
    caps = [cap for cap in (shape.max_tokens, shape.max_completion_tokens) if cap is not None]
    exchange.asked_cap = min(caps, default=None)


def _kept(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    """Metadata is kept with the usage row, so its size is limited."""
    if metadata and len(msgspec.json.encode(metadata)) > MAX_METADATA_BYTES:
        raise invalid("metadata", f"is larger than {MAX_METADATA_BYTES} bytes")
    return metadata


def _find_model(exchange: Exchange) -> None:
    assert exchange.principal
    name = exchange.model_name
    model = exchange.grid.models.get(name)
    if model is None or model.status == "disabled":
        why = "does not exist" if model is None else "is disabled"
        message = f"the model {clipped(name)!r} {why}; GET /v1/models lists those you may use"
        raise GatewayError("MODEL_NOT_FOUND", message, param="model")
    tenant = exchange.grid.tenants.get(exchange.principal.tenant_id)
    if tenant is None or name not in tenant.models:
        raise GatewayError(
            "MODEL_ACCESS_DENIED",
            f"the model {name!r} is not enabled for the tenant {exchange.principal.tenant_id}",
            param="model",
        )
    exchange.model = model
