"""The caller's request → the body for one target, by the operation that was asked.

Never changes the caller's request: the next attempt starts from it again.
"""

from __future__ import annotations

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure
from appliance.formats.needs import refusal


def translate(exchange: Exchange, attempt: Attempt) -> bool:
    """Sets `attempt.body`. False when this target cannot carry the request; the reason is kept."""
    try:
        lacking = exchange.needs & attempt.target.lacks
        if lacking:
            raise refusal(lacking, exchange.surface, exchange.members)
        exchange.operation.translate(exchange, attempt)
    except GatewayError as error:
        exchange.translation_error = error
        attempt.failure = Failure("caller", error.code, error.message, param=error.param)
        return False
    return True
