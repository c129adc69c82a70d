"""What the call used and costs. No await: it runs in the line's `finally`, also when the caller hung up.

What the upstream reported is exact. What it did not report is estimated from the bytes that were seen, and marked.
"""

from __future__ import annotations

from appliance.exchange import Exchange
from appliance.formats.chat import Usage
from appliance.state import State
from appliance.state.ledger import Amount


def settle(exchange: Exchange, state: State) -> None:
    """Sets usage, estimated and the costs; resolves the reservation, gives the rate slots back."""
    _measure(exchange)
    assert exchange.usage
    if exchange.grant:
        if exchange.attempts:
            state.limiter.release(exchange.grant, exchange.usage.total_tokens, exchange.clock())
        else:  # refused by something else: nothing of it counts
            state.limiter.give_back(exchange.grant, exchange.clock())
    if exchange.reservation:
        if exchange.begun:
            used = Amount(exchange.cost_nano, exchange.usage.total_tokens, int(exchange.charged))
            exchange.entry = state.ledger.post(exchange.reservation, used)
        else:
            state.ledger.void(exchange.reservation)


def _measure(exchange: Exchange) -> None:
    reported = exchange.usage
    exchange.charged = _owes(exchange)
    if exchange.status == "completed" and reported and not exchange.operation.is_unknown(exchange, reported):
        exchange.usage = reported
    elif exchange.charged:
        exchange.usage = exchange.operation.estimate(exchange, reported)
        exchange.estimated = True
    else:
        exchange.usage = Usage()
    if exchange.model and exchange.attempts:
        target = (exchange.answered or exchange.attempts[-1]).target
        if exchange.charged and exchange.operation.costs:
            exchange.cost_nano = exchange.model.price.cost(exchange.usage)
            exchange.backend_cost_nano = target.cost.cost(exchange.usage)


def _owes(exchange: Exchange) -> bool:
    """An answer that began is owed for; so is a call that ended on our side while an upstream worked on it."""
    return bool(exchange.answered) or any(attempt.sent and not attempt.failure for attempt in exchange.attempts)
