"""May this caller make this call? Permission, the request's shape, the model, the tenant's access to it.

Everything here happens before a single byte goes upstream, and without waiting for anything.
"""

from __future__ import annotations

from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Exchange
from appliance.permissions import require
from appliance.pipeline.pass_on import pass_on_long_input
from appliance.pipeline.rates import take_rates
from appliance.state import State


def admit(exchange: Exchange, state: State) -> None:
    """Raises AUTHZ_PERMISSION_DENIED, VALIDATION_ERROR, MODEL_NOT_FOUND, MODEL_ACCESS_DENIED or RATE_LIMITED."""
    assert exchange.principal
    require(exchange.principal, "models:use")
    exchange.operation.read(exchange)
    find_model(exchange)
    assert exchange.model
    exchange.operation.measure(exchange)
    exchange.most_attempts = 1 + exchange.model.policy.retries
    asked = exchange.model
    pass_on_long_input(exchange)
    take_rates(exchange, state)
    # The time that a form took to arrive is the caller's own.
    begun_at = exchange.clock() if exchange.upload else exchange.received_at
    exchange.deadline_at = begun_at + asked.policy.deadline_s


def find_model(exchange: Exchange) -> None:
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
    if model.modality != exchange.operation.modality:
        raise invalid(
            "model",
            f"{clipped(name)!r} is of modality {model.modality}; this endpoint serves models of modality "
            f"{exchange.operation.modality}",
        )
    exchange.model = model
