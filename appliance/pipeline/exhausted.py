"""Nobody answered: the error that the caller sees. The log and the usage row keep every attempt's failure."""

from __future__ import annotations

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure
from appliance.formats.needs import refusal


def exhausted(exchange: Exchange) -> GatewayError:
    """After the last attempt of the last model."""
    assert exchange.model
    if not exchange.attempts:
        return _nobody(exchange)
    failure = _telling(exchange.attempts)
    if failure.kind == "operator":
        return GatewayError("MODEL_UNAVAILABLE", f"no target of {exchange.model_name!r} is left: {failure.message}")
    error = failure.error()
    if failure.kind == "rate_limited":
        error.retry_after = _shortest_wait(exchange.attempts)
    return error


def _telling(attempts: list[Attempt]) -> Failure:
    """The last failure; of two attempts that ran at once, the one that says that the request is at fault."""
    failed = [attempt for attempt in attempts if attempt.failure]
    last = failed[-1]
    at_once = [attempt.failure for attempt in failed[-2:] if attempt.failure] if last.hedge else []
    assert last.failure
    return next((failure for failure in at_once if failure.kind == "caller"), last.failure)


def _shortest_wait(attempts: list[Attempt]) -> float | None:
    """Who comes back by then finds one of the targets that asked to be spared."""
    limits = [attempt.failure for attempt in attempts if attempt.failure and attempt.failure.kind == "rate_limited"]
    return min((limit.retry_after for limit in limits if limit.retry_after is not None), default=None)


def _nobody(exchange: Exchange) -> GatewayError:
    """Nobody was asked. Where a target could serve later that is said, whatever the others cannot carry."""
    assert exchange.model
    if exchange.busy:
        return exchange.busy.error()
    if exchange.held_back_s is not None:
        message = f"every target of the model {exchange.model_name!r} has failed of late and is left alone for a while"
        return GatewayError("MODEL_UNAVAILABLE", message, retry_after=max(1.0, exchange.held_back_s))
    if exchange.translation_error:
        return exchange.translation_error
    skipped = [decision for decision in exchange.decisions if not decision.taken]
    if lacking := [decision.target.lacks for decision in skipped if decision.why == "lacks"]:
        missing = frozenset.intersection(*lacking) & exchange.needs or lacking[0] & exchange.needs
        return refusal(missing, exchange.surface, exchange.members)
    words = {"unconfigured": "", "disabled": "switched off", "condition": "not for this call"}
    reasons = sorted({words.get(decision.why) or str(decision.detail) for decision in skipped})
    return GatewayError(
        "MODEL_UNAVAILABLE", f"no target of the model {exchange.model_name!r} can serve: {'; '.join(reasons)}"
    )
