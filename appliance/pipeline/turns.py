"""Large bodies take turns: reading or translating a megabyte takes milliseconds in which nobody else is served.

Several that become ready together would stall the loop for the sum; in turns, others are served between any two.
"""

from __future__ import annotations

import asyncio

from appliance.exchange import Attempt, Exchange
from appliance.pipeline.admit import admit
from appliance.pipeline.translate import translate
from appliance.state import State

LARGE_BODY_BYTES = 128 * 1024


async def admit_in_turn(exchange: Exchange, state: State) -> None:
    if len(exchange.body) < LARGE_BODY_BYTES:
        admit(exchange, state)
        return
    async with state.large:
        admit(exchange, state)
        await asyncio.sleep(0)


async def translate_in_turn(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    if len(exchange.body) < LARGE_BODY_BYTES:
        return translate(exchange, attempt)
    async with state.large:
        translated = translate(exchange, attempt)
        await asyncio.sleep(0)
        return translated
