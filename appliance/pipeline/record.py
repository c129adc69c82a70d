"""The usage row into the journal, the metrics, the log line. No await, and nothing is dropped.

One row per call that reached an upstream, with every attempt in it. `begin` notes what would be booked if the process
were killed now; `record` notes what was.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange
from appliance.formats.chat import Usage
from appliance.grid.prices import Price
from appliance.pipeline.settle import shown_attempt
from appliance.state import State
from appliance.state.journal import JournalFailed

UNITS = ("images", "audio_ms", "characters", "searches")


def begin(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """Before the first byte goes upstream. Raises JOURNAL_UNAVAILABLE: what cannot be booked is not called."""
    assert exchange.model
    if exchange.begun_as == exchange.model.name or not exchange.operation.costs:
        return
    usage = exchange.operation.estimate(exchange, None)
    row = _row(exchange, attempt, usage) | {
        "status": "interrupted",
        "estimated": True,
        "charged": 1,
        "cost_nano": exchange.model.price.cost(usage),
        "backend_cost_nano": attempt.target.cost.cost(usage),
    }
    try:
        state.journal.begin(row)
    except JournalFailed as error:
        message = "usage cannot be written at the moment, so no call is made; try again later"
        raise GatewayError("JOURNAL_UNAVAILABLE", message, cause=error) from error
    exchange.begun = True
    exchange.begun_as = exchange.model.name


def record(exchange: Exchange, state: State) -> None:
    """After `settle`. An answer whose row cannot be written is turned into an error: nobody gets it unbooked."""
    if exchange.begun:
        assert exchange.usage
        shown = shown_attempt(exchange) if exchange.attempts else None
        try:
            state.journal.end(_row(exchange, shown, exchange.usage))
        except JournalFailed as error:
            exchange.status = "failed"
            exchange.error = GatewayError("JOURNAL_UNAVAILABLE", "usage cannot be written at the moment", cause=error)
    if exchange.on_end:
        exchange.on_end()
    _count(exchange, state)


def _row(exchange: Exchange, shown: Attempt | None, usage: Usage) -> dict[str, Any]:
    assert exchange.principal and exchange.model
    principal, now = exchange.principal, exchange.clock()
    first_token_at = exchange.first_token_at
    return {
        "id": exchange.usage_id,
        "request_id": exchange.request_id,
        "created_ms": exchange.reservation.at_ms if exchange.reservation else int(exchange.received_unix * 1000),
        "partner_id": principal.partner_id,
        "tenant_id": principal.tenant_id,
        "user_id": principal.user_id,
        "key_id": principal.key_id,
        "groups": _groups(exchange),
        "model": exchange.model.name,
        "backend_id": shown.target.backend if shown else "",
        "provider": shown.target.endpoint.name if shown else "",
        "surface": exchange.surface,
        "operation": exchange.operation.name,
        "stream": exchange.stream,
        "status": exchange.status,
        "estimated": exchange.estimated,
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "charged": int(exchange.charged),
        "reserved_nano": exchange.reservation.amount.cost if exchange.reservation else 0,
        "entry": exchange.entry,
        "cost_nano": exchange.cost_nano,
        "backend_cost_nano": exchange.backend_cost_nano,
        "latency_ms": int((now - exchange.received_at) * 1000),
        "ttft_ms": None if first_token_at is None else int((first_token_at - exchange.received_at) * 1000),
        "finish_reason": exchange.finish_reason,
        "error_code": _error_code(exchange),
        "attempts": _attempts(exchange),
        "price": _prices(exchange.model.price, shown),
        "units": _units(usage),
        "metadata": msgspec.json.encode(exchange.metadata).decode() if exchange.metadata else None,
    }


def _groups(exchange: Exchange) -> str:
    """Those that the reservation was held in, whatever has become of the user's groups meanwhile."""
    assert exchange.principal
    names: Iterable[str] = exchange.principal.groups
    if exchange.reservation:
        names = [s.rpartition(":")[2] for s in exchange.reservation.subjects if s.startswith("group:")]
    return f"|{'|'.join(names)}|" if names else ""


def _units(usage: Usage) -> str | None:
    """What is not counted in tokens, as JSON."""
    units = {name: count for name in UNITS if (count := getattr(usage, name))}
    return msgspec.json.encode(units).decode() if units else None


def _error_code(exchange: Exchange) -> str:
    if exchange.error:
        return exchange.error.code
    return "INTERNAL_ERROR" if exchange.status == "failed" and exchange.begun else ""


def _attempts(exchange: Exchange) -> str:
    return msgspec.json.encode(
        [
            {
                "backend": attempt.target.backend,
                "status": _attempt_status(exchange, attempt),
                "latency_ms": attempt.latency_ms,
                "error": {"code": attempt.failure.code, "kind": attempt.failure.kind, "status": attempt.failure.status}
                if attempt.failure
                else None,
            }
            | ({"hedge": True} if attempt.hedge else {})
            for attempt in exchange.attempts
        ]
    ).decode()


def _attempt_status(exchange: Exchange, attempt: Attempt) -> str:
    if attempt.failure:
        return "failed"
    return "cancelled" if attempt.lost else exchange.status


def _prices(price: Price, shown: Attempt | None) -> str:
    """The prices the row was computed with, nano-USD per million tokens: a later price change rewrites no history."""
    cost = shown.target.cost if shown else None
    return f'{{"price":{_amounts(price)},"cost":{_amounts(cost) if cost else "null"}}}'


@functools.lru_cache(maxsize=4096)
def _amounts(price: Price) -> str:
    """JSON of a price; the same few stand in every row."""
    fields = [field.name for field in dataclasses.fields(price) if field.name != "written"]
    return msgspec.json.encode({name: getattr(price, name) for name in fields}).decode()


def _count(exchange: Exchange, state: State) -> None:
    metrics, usage = state.metrics, exchange.usage
    assert usage
    model = exchange.model.name if exchange.model else ""
    metrics.request(model, exchange.status, exchange.surface)
    if not exchange.attempts or not exchange.principal:
        return
    shown = shown_attempt(exchange)
    seconds = exchange.clock() - exchange.received_at
    tokens = (usage.input_tokens, usage.output_tokens)
    metrics.answered(model, shown.target.backend, exchange.principal.tenant_id, seconds, tokens)
    if exchange.first_token_at is not None:
        metrics.first_token(model, exchange.first_token_at - exchange.received_at)
