"""The answer back to the caller, in the caller's dialect; and the last bytes, or the error that took their place."""

from __future__ import annotations

import msgspec

from appliance.exchange import Exchange
from appliance.formats import FORMATS
from appliance.pipeline.rates import rate_headers
from appliance.pipeline.settle import shown_attempt
from appliance.state import State


async def reply(exchange: Exchange, state: State) -> None:
    """Streams the answer on; a whole one waits for `close`. Raises GatewayError when it breaks half-way."""
    exchange.first_token_at = exchange.clock()
    exchange.reply_headers = headers(exchange)
    assert exchange.answered
    await exchange.operation.send(exchange, exchange.answered, state)
    exchange.status = "completed"


async def close(exchange: Exchange, state: State) -> None:
    """The last bytes: only now, after the row is written, does the caller hold a whole answer."""
    client, error = exchange.client, exchange.error
    if error is None:
        await exchange.operation.finish(exchange, state)
    elif client.started and exchange.writer:
        await client.send(exchange.writer.failure(error))
        await client.end()
    elif client.started:
        await client.break_off()  # no dialect of bytes can say that what came is not all: the cut connection does
    else:
        status, body = FORMATS[exchange.surface].encode_error(error, exchange.request_id)
        await client.whole(status, headers(exchange) | error.headers(), msgspec.json.encode(body))


def headers(exchange: Exchange) -> dict[str, str]:
    """What every inference answer tells: its rate limit, where it comes from, and whether its length was lowered."""
    shown = rate_headers(exchange)
    if exchange.clamped and exchange.reservation:
        shown["X-Scaigrid-Budget-Clamped"] = str(exchange.output_cap)
    if exchange.attempts:
        shown["X-Scaigrid-Backend"] = shown_attempt(exchange).target.backend
        shown["X-Scaigrid-Attempts"] = str(len(exchange.attempts))
    if exchange.passed_on and exchange.model:
        shown["X-Scaigrid-Fallback"] = exchange.model.name
    shown["X-Scaigrid-Generation"] = str(exchange.grid.generation)
    return shown
