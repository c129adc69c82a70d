"""The whole line on one screen: authenticate → admit → reserve → route → translate → call → reply → settle → record.

`accept` (appliance/api/accept.py) comes before it and catches what nobody foresaw.
"""

from __future__ import annotations

import asyncio

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.authenticate import authenticate, cut_off, end_when_cut_off
from appliance.pipeline.exhausted import exhausted
from appliance.pipeline.pass_on import pass_on
from appliance.pipeline.race import ask
from appliance.pipeline.record import record
from appliance.pipeline.reply import close, reply
from appliance.pipeline.reserve import reserve
from appliance.pipeline.route import Route
from appliance.pipeline.settle import settle
from appliance.pipeline.turns import admit_in_turn, translate_in_turn
from appliance.state import State


async def run(exchange: Exchange, state: State) -> None:
    """Take one exchange from accepted to recorded."""
    try:
        authenticate(exchange, state)
        end_when_cut_off(exchange)
        await admit_in_turn(exchange, state)
        await reserve(exchange, state)
        while not await _answered(exchange, state):
            if not pass_on(exchange, state):
                raise exhausted(exchange)
            await reserve(exchange, state)
    except GatewayError as error:
        exchange.error = error
    except asyncio.CancelledError:
        exchange.status = "cancelled"
        if not exchange.cut_off:
            raise  # the client hung up
        exchange.error = cut_off(exchange)
    finally:  # no await below: a client that hangs up cannot split it
        settle(exchange, state)
        record(exchange, state)
    # The last bytes leave only now, so that nobody holds a whole answer whose row a kill could still lose.
    await close(exchange, state)


async def _answered(exchange: Exchange, state: State) -> bool:
    """False when no target of the model gave an answer."""
    route = Route(exchange, state)
    for attempt in route:
        if await translate_in_turn(exchange, attempt, state) and await ask(exchange, attempt, route, state):
            await reply(exchange, state)
            return True
    return False
