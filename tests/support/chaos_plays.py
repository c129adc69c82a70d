"""What an upstream says to one call, in order or in the way of the fault that the weather put on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from support.chaos_answers import (
    anthropic_stream,
    anthropic_whole,
    openai_stream,
    openai_whole,
    pieces_of,
    text_of,
)
from support.chaos_weather import SOUND

if TYPE_CHECKING:
    from support.chaos_upstream import Manners, Stage

FOR_EVER_S = 30.0
TOO_LONG, FORBIDDEN = "too-long", "forbidden"
"""Marks in a prompt: models that are named `small` and `strict` refuse such calls, each in its own way."""
GARBAGE = (b"", b"It works!", b'{"id": "chatcmpl-1", "choices": [{"in', b"[1, 2", b'{"object": "list", "data": []}')


class Play(NamedTuple):
    dialect: str
    manners: Manners
    rng: Random


async def play(by: Play, stage: Stage) -> None:
    call = stage.call
    if call.fault == SOUND:
        await _in_order(by, stage)
    elif call.fault in _STATUSES:
        await asyncio.sleep(by.rng.uniform(0, 0.02))
        await _refuse(by, stage, *_STATUSES[call.fault])
    else:
        await _WAYS[call.fault](by, stage)


# -- in order ---------------------------------------------------------------------------------------------------------


async def _in_order(by: Play, stage: Stage) -> None:
    call, rng = stage.call, by.rng
    await asyncio.sleep(rng.uniform(0.0, by.manners.pace_s))
    model = call.backend.partition(":")[2]
    if model == "small" and call.mark == TOO_LONG:
        error = {"message": "This model's maximum context length is 9 tokens.", "code": "context_length_exceeded"}
        call.fault = TOO_LONG
        await _refuse(by, stage, 400, error=error)
        return
    if model == "strict" and call.mark == FORBIDDEN:
        call.fault = FORBIDDEN
        await _withhold(stage)
        return
    if not call.stream:
        stage.told()
        call.whole = True
        await _reply(stage, 200, _whole(by, stage))
        return
    events = _events(by, stage)
    pause_s = by.manners.pace_s * rng.random() / len(events)
    await _start(stage)
    for place, event in enumerate(events):
        if place == 1:
            stage.told()
        call.whole = place == len(events) - 1
        await _chunk(stage, event)
        await asyncio.sleep(pause_s)
    await stage.write(b"0\r\n\r\n")


async def _withhold(stage: Stage) -> None:
    """The provider's filter leaves nothing of the answer."""
    stage.told()
    if not stage.call.stream:
        await _reply(stage, 200, openai_whole("", stage.call.spent, "content_filter"))
        return
    await _start(stage)
    for event in openai_stream([], stage.call.spent, "content_filter"):
        await _chunk(stage, event)
    await stage.write(b"0\r\n\r\n")


def _whole(by: Play, stage: Stage) -> dict[str, Any]:
    call = stage.call
    make = anthropic_whole if by.dialect == "anthropic" else openai_whole
    return make(text_of(call.nonce, call.answer, call.size), call.spent)


def _events(by: Play, stage: Stage) -> list[bytes]:
    call = stage.call
    make = anthropic_stream if by.dialect == "anthropic" else openai_stream
    return make(pieces_of(text_of(call.nonce, call.answer, call.size), by.rng, 12), call.spent)


# -- in the way of a fault --------------------------------------------------------------------------------------------

_STATUSES: dict[str, tuple[int, Mapping[str, str]]] = {
    "500": (500, {}),
    "503": (503, {}),
    "429": (429, {"Retry-After": "1"}),
    "401": (401, {}),
}


async def _resets(by: Play, stage: Stage) -> None:
    if stage.call.stream and by.rng.random() < 0.5:
        await _start(stage)
        await asyncio.sleep(by.rng.uniform(0, 0.02))
    stage.reset()


async def _says_garbage(by: Play, stage: Stage) -> None:
    stage.told()
    if not stage.call.stream or by.rng.random() < 0.5:
        await _reply(stage, 200, by.rng.choice(GARBAGE))
        return
    await _start(stage)
    await _chunk(stage, b"data: {this is no json\n\n")
    await stage.write(b"0\r\n\r\n")


async def _is_slow(by: Play, stage: Stage) -> None:
    """Too late for whoever asked; it answers all the same."""
    await asyncio.sleep(by.manners.slow_s)
    if stage.call.stream and by.rng.random() < 0.5:
        await _start(stage)
        await _chunk(stage, _events(by, stage)[0])
        await asyncio.sleep(by.manners.slow_s)
    await _in_order(by, stage)


async def _stalls(by: Play, stage: Stage) -> None:
    await _begin(by, stage)
    await asyncio.sleep(FOR_EVER_S)


async def _cuts(by: Play, stage: Stage) -> None:
    await _begin(by, stage)
    stage.leave()


async def _fails_inside(by: Play, stage: Stage) -> None:
    error = {"message": "the model fell over", "type": "server_error"}
    if not stage.call.stream:
        stage.told()
        await _reply(stage, 200, {"error": error})
        return
    if by.rng.random() < 0.5:
        await _begin(by, stage)
    else:
        stage.told()
        await _start(stage)
    if by.dialect == "anthropic":
        told = {"type": "error", "error": {"type": "overloaded_error", "message": "the model fell over"}}
        await _chunk(stage, f"event: error\ndata: {json.dumps(told)}\n\n".encode())
    else:
        await _chunk(stage, f"data: {json.dumps({'error': error})}\n\n".encode())
    await stage.write(b"0\r\n\r\n")


_WAYS: dict[str, Callable[[Play, Stage], Awaitable[None]]] = {
    "reset": _resets,
    "garbage": _says_garbage,
    "slow": _is_slow,
    "stall": _stalls,
    "cut": _cuts,
    "error-inside-200": _fails_inside,
    "refused": _resets,  # a connection that was kept from before: nobody is there any more
}


async def _begin(by: Play, stage: Stage) -> None:
    """A part of an answer, and time enough for it to be in the gateway's hands."""
    if stage.call.stream:
        events = _events(by, stage)
        await _start(stage)
        stage.told()
        for event in events[: by.rng.randrange(2, max(3, len(events) - 2))]:
            await _chunk(stage, event)
    else:
        body = json.dumps(_whole(by, stage)).encode()
        await stage.write(_head(200, len(body), {}) + body[: len(body) // 2])
    await asyncio.sleep(0.05)


# -- HTTP -------------------------------------------------------------------------------------------------------------


async def _refuse(
    by: Play, stage: Stage, status: int, headers: Mapping[str, str] | None = None, error: Any = None
) -> None:
    stage.told()
    told = error or {"message": f"the upstream says {status}", "type": "api_error"}
    await _reply(stage, status, {"type": "error", "error": told}, headers)


async def _reply(stage: Stage, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    await stage.write(_head(status, len(data), headers or {}) + data)


def _head(status: int, size: int, headers: Mapping[str, str]) -> bytes:
    fields = {"Content-Type": "application/json", "Content-Length": str(size), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Chaos\r\n{lines}\r\n".encode()


async def _start(stage: Stage) -> None:
    await stage.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")


async def _chunk(stage: Stage, data: bytes) -> None:
    await stage.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
