"""A call that one frontend model would refuse goes on as a call of another, which the operator named (`fallback`).

It keeps its attempt budget, its deadline and its rate limits; policy, price and caps are those of the new model.
"""

from __future__ import annotations

from appliance.exchange import Exchange, FallbackReason
from appliance.grid.grid import FrontendModel
from appliance.pipeline.estimate import estimate, size_of
from appliance.state import State


def stand_in(exchange: Exchange, reason: FallbackReason) -> FrontendModel | None:
    """The model that may take the call over; None: the caller sees why this one could not serve it."""
    assert exchange.model and exchange.principal
    name = getattr(exchange.model.fallback, reason)
    model = exchange.grid.models.get(name)
    if model is None or model.status == "disabled" or model.modality != exchange.model.modality:
        return None
    tenant = exchange.grid.tenants.get(exchange.principal.tenant_id)
    if tenant is None or name not in tenant.models or name in exchange.passed_on or name == exchange.model.name:
        return None
    return model


def pass_on(exchange: Exchange, state: State) -> bool:
    """After the last attempt of a model: True when the call is one of another model now; it has to be reserved anew."""
    reason = _reason(exchange)
    model = stand_in(exchange, reason) if reason else None
    if model is None or not _may_go_on(exchange):
        return False
    if exchange.reservation:
        state.ledger.void(exchange.reservation)
        exchange.reservation = None
    take_over(exchange, model)
    return True


def _reason(exchange: Exchange) -> FallbackReason | None:
    """Why this model refused. What models before it said is settled: it took over for that."""
    assert exchange.model
    own = exchange.model.policy.targets
    failures = [attempt.failure for attempt in exchange.attempts if attempt.target in own and attempt.failure]
    return next((failure.reason for failure in reversed(failures) if failure.reason), None)


def may_be_passed_on(exchange: Exchange, reason: FallbackReason) -> bool:
    """For an answer that is in hand: would another model be asked instead?"""
    return _may_go_on(exchange) and stand_in(exchange, reason) is not None


def pass_on_long_input(exchange: Exchange) -> None:
    """Before anything is sent: an input that is longer than the model's context goes to the model that takes longer."""
    while exchange.model and exchange.model.fallback.context_window and exchange.model.context_window:
        if estimate(size_of(exchange.body)) <= exchange.model.context_window:
            return
        model = stand_in(exchange, "context_window")
        if model is None:
            return
        take_over(exchange, model)


def take_over(exchange: Exchange, model: FrontendModel) -> None:
    assert exchange.model
    exchange.passed_on += (exchange.model.name,)
    exchange.model = model
    exchange.output_cap, exchange.clamped = None, False
    exchange.translation_error = exchange.held_back_s = exchange.busy = None
    exchange.operation.measure(exchange)


def _may_go_on(exchange: Exchange) -> bool:
    in_budget = len(exchange.attempts) < exchange.most_attempts
    return in_budget and exchange.clock() < exchange.deadline_at
