"""Large bodies take turns: reading or translating a megabyte takes milliseconds in which nobody else is served.

Several that become ready together would stall the loop for the sum; in turns, others are served between any two.
"""

from __future__ import annotations

import asyncio

from appliance.exchange import Attempt, Exchange
from appliance.formats import native
from appliance.formats.chat import Message
from appliance.formats.openai_message import decode_message
from appliance.permissions import require
from appliance.pipeline import peek
from appliance.pipeline.admit import admit
from appliance.pipeline.translate import translate
from appliance.state import State

LARGE_BODY_BYTES = 128 * 1024
MESSAGES_AT_A_TIME = 256


async def admit_in_turn(exchange: Exchange, state: State) -> None:
    assert exchange.principal
    require(exchange.principal, "models:use")  # before anything is waited for on the caller's behalf
    await exchange.operation.prepare(exchange, state)
    if len(exchange.body) < LARGE_BODY_BYTES:
        admit(exchange, state)
        return
    async with state.large:
        if exchange.surface == "native":
            await _read_in_steps(exchange)
        admit(exchange, state)
        await asyncio.sleep(0)


async def _read_in_steps(exchange: Exchange) -> None:
    """What `admit` would do in one go: thousands of messages are decoded some at a time."""
    exchange.members = peek.members(exchange.body)
    body = peek.decoded(exchange.body)
    await asyncio.sleep(0)
    raw = body.get("messages")
    if not isinstance(raw, list) or not raw:
        return  # admit says what is wrong with it
    messages: list[Message] = []
    for start in range(0, len(raw), MESSAGES_AT_A_TIME):
        some = raw[start : start + MESSAGES_AT_A_TIME]
        messages += [decode_message(message, f"messages.{start + place}") for place, message in enumerate(some)]
        await asyncio.sleep(0)
    exchange.request = native.decode_request(body | {"messages": raw[:1]})
    exchange.request.messages = messages


async def translate_in_turn(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    if len(exchange.body) < LARGE_BODY_BYTES:
        return translate(exchange, attempt)
    async with state.large:
        translated = translate(exchange, attempt)
        await asyncio.sleep(0)
        return translated
