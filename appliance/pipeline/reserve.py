"""Hold the worst case of a call in every budget that applies, or refuse it: the promise that nobody is overcharged.

The worst case is the upper bound of the input plus the most output the call may produce, each at the dearest price of
its kind. A cap that the caller wrote is kept or refused; one that he left open is lowered to what the budgets cover.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.grid.grid import FrontendModel
from appliance.state import State
from appliance.state.ledger import Amount, BudgetExceeded, Ledger

LEAST_ANSWER_TOKENS = 16
"""A smaller answer is not worth its input: under this the call is refused instead of clamped (contract section 4)."""
UNKNOWN_LARGEST_TOKENS = 16_384
"""The largest answer of a model for which the operator says neither max_output_tokens nor context_window."""
WAIT_S = 10.0
"""How long a call that would fit once others are settled waits for them, before it is refused."""
RUNNING_RETRY_S = 1.0


async def reserve(exchange: Exchange, state: State) -> None:
    """Sets `reservation` and, where a budget depends on it, `output_cap`. Raises BUDGET_EXCEEDED."""
    assert exchange.principal
    if not exchange.operation.costs:
        return
    give_up_at = min(exchange.clock() + WAIT_S, exchange.deadline_at)
    while True:
        try:
            _reserve(exchange, state)
            return
        except BudgetExceeded as exceeded:
            if not exceeded.fits_later or exchange.clock() >= give_up_at:
                raise refusal(exchange, exceeded) from None
        try:
            async with asyncio.timeout_at(give_up_at):
                await state.ledger.resolved()
        except TimeoutError:
            pass  # one last look, then the refusal


class Worst(NamedTuple):
    """The most that a call may use and cost. `cap` is None where it has no open length; `clamped`: the budgets cover no
    longer answer. `budgeted`: a budget depends on it."""

    amount: Amount
    cap: int | None = None
    clamped: bool = False
    budgeted: bool = True


def worst_of(exchange: Exchange, ledger: Ledger, now_ms: int) -> Worst:
    """Once the call is measured. Holds nothing."""
    assert exchange.principal and exchange.model
    subjects, model = exchange.principal.subjects, exchange.model
    if exchange.bound is not None:
        return Worst(Amount(model.price.worst_of(exchange.bound), exchange.bound.total_tokens, 1))
    room = ledger.room(subjects, now_ms)
    cap, clamped = largest_answer(model, exchange.asked_cap), False
    if room is not None and exchange.asked_cap is None:
        covered = _covered_cap(exchange, model, room)
        clamped = covered < cap
        # Less than the least is not tried: then the reservation says which budget is too small, and for how long.
        cap = min(cap, max(covered, LEAST_ANSWER_TOKENS))
    return Worst(worst_case(exchange, model, cap), cap, clamped, room is not None)


def _reserve(exchange: Exchange, state: State) -> None:
    assert exchange.principal and exchange.model
    now_ms = int(_now_unix(exchange) * 1000)
    worst = worst_of(exchange, state.ledger, now_ms)
    exchange.clamped = worst.clamped
    if worst.budgeted and not _bounded_by_itself(exchange, exchange.model):
        exchange.output_cap = worst.cap
    exchange.reservation = state.ledger.reserve(exchange.principal.subjects, worst.amount, now_ms)


def _bounded_by_itself(exchange: Exchange, model: FrontendModel) -> bool:
    """No cap has to be written into the request: the model cannot pass its context window.

    Some upstreams refuse a cap above what they know, so none is written where the promise does not hang on it.
    """
    stated = model.max_output_tokens or "max_tokens" in model.default_params
    return exchange.asked_cap is None and not exchange.clamped and not stated and bool(model.context_window)


def largest_answer(model: FrontendModel, asked: int | None) -> int:
    """The most output tokens per choice that the call may produce."""
    known = model.max_output_tokens or model.context_window or UNKNOWN_LARGEST_TOKENS
    wanted = model.default_params.get("max_tokens", known) if asked is None else asked
    return min(wanted, model.max_output_tokens) if model.max_output_tokens else wanted


def worst_case(exchange: Exchange, model: FrontendModel, cap: int) -> Amount:
    output = cap * exchange.n
    return Amount(model.price.worst(exchange.input_bound, output), exchange.input_bound + output, 1)


def _now_unix(exchange: Exchange) -> float:
    return exchange.received_unix + exchange.clock() - exchange.received_at


def _covered_cap(exchange: Exchange, model: FrontendModel, room: Amount) -> int:
    """The largest cap whose worst case fits into what is left."""
    by_tokens = (room.tokens - exchange.input_bound) // exchange.n
    by_cost = model.price.output_covered(exchange.input_bound, room.cost) // exchange.n
    return max(0, min(by_tokens, by_cost)) if room.requests else 0


def refusal(exchange: Exchange, exceeded: BudgetExceeded) -> GatewayError:
    budget = exceeded.budget
    wait_s = max(1.0, exceeded.resets_ms / 1000 - _now_unix(exchange)) if budget.period != "total" else None
    what = {"cost": "cost", "tokens": "token", "requests": "request"}[exceeded.name]
    message = f"the {budget.period} {what} budget of {budget.subject} does not cover this call"
    if exceeded.fits_later:
        return GatewayError("BUDGET_EXCEEDED", f"{message} beside those that run now", retry_after=RUNNING_RETRY_S)
    return GatewayError("BUDGET_EXCEEDED", message, retry_after=wait_s)
