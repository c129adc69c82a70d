"""What the call used and costs. No await: it runs in the line's `finally`, also when the caller hung up.

What the upstream reported is exact. What it did not report is estimated from the bytes that were seen, and marked.
"""

from __future__ import annotations

from appliance.exchange import Attempt, Exchange
from appliance.formats.chat import Usage
from appliance.state import State
from appliance.state.health import Outcome
from appliance.state.ledger import Amount


def settle(exchange: Exchange, state: State) -> None:
    """Sets usage, estimated and the costs; resolves the reservation, gives the rate slots back."""
    _measure(exchange)
    _tell_health(exchange, state)
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


def _tell_health(exchange: Exchange, state: State) -> None:
    """How each call to an upstream ended that is not told yet: the answered one, and one that was cut off under way."""
    for attempt in exchange.attempts:
        if attempt.permit is None:
            continue
        kept: Outcome = "ok" if exchange.status == "completed" else "canceled"
        state.health.finished(attempt.permit, attempt.failure.kind if attempt.failure else kept, exchange.clock())


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
        target = shown_attempt(exchange).target
        if exchange.charged and exchange.operation.costs:
            exchange.cost_nano = exchange.model.price.cost(exchange.usage)
            exchange.backend_cost_nano = target.cost.cost(exchange.usage)
        # A hedge that lost was worked on as well: that is our expense, and no part of the caller's price.
        exchange.backend_cost_nano += sum(attempt.backend_cost_nano for attempt in exchange.attempts)


def shown_attempt(exchange: Exchange) -> Attempt:
    """The one whose backend the row, the headers and the log name: who answered, else who was at work at the end, else
    who failed last."""
    unlost = [attempt for attempt in exchange.attempts if not attempt.lost]
    at_work = [attempt for attempt in unlost if not attempt.failure]
    return exchange.answered or (at_work or unlost)[-1]


def _owes(exchange: Exchange) -> bool:
    """An answer that began is owed for; so is a call that ended on our side while an upstream worked on it."""
    return bool(exchange.answered) or any(
        attempt.sent and not attempt.failure and not attempt.lost for attempt in exchange.attempts
    )
