"""What an upstream can do wrong, as scripts for support.upstream: one function per fault. Decides nothing."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable, Mapping
from typing import Any

from support.upstream import DONE, Call, chunk, completion, text_stream

Play = Callable[[Call], Any]


def answers(status: int, body: Any = None, **headers: str) -> Play:
    default = {"error": {"message": f"the upstream says {status}", "type": "some_error"}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda call: call.reply(status, default if body is None else body, named)


def streams(*pieces: bytes) -> Play:
    return lambda call: call.stream(pieces)


def reset_before_headers(call: Call) -> None:
    call.reset()


async def reset_after_headers(call: Call) -> None:
    await call.start_stream("text/event-stream" if call.json.get("stream") else "application/json")
    await asyncio.sleep(0.02)
    call.reset()


async def stall_after_headers(call: Call) -> None:
    await call.start_stream("text/event-stream" if call.json.get("stream") else "application/json")
    await call.until_hung_up()


async def half_the_body_then_stall(call: Call) -> None:
    await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"id": "chatcmpl-1", "choices": [')
    await call.until_hung_up()


async def half_the_body_then_close(call: Call) -> None:
    await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"id": "chatcmpl-1", "choices": [')
    call.cut()


async def never_answer(call: Call) -> None:
    await call.until_hung_up()


async def heartbeats_only(call: Call) -> None:
    await call.start_stream()
    while not call.hung_up:
        await call.chunk(b": still thinking\n\n")
        await asyncio.sleep(0.05)


def begins(then: Play) -> Play:
    """Two words of an answer, and then."""

    async def play(call: Call) -> None:
        await call.start_stream()
        for piece in (
            chunk({"role": "assistant", "content": ""}),
            chunk({"content": "one "}),
            chunk({"content": "two"}),
        ):
            await call.chunk(piece)
        await asyncio.sleep(0.05)
        await then(call)

    return play


async def resets(call: Call) -> None:
    call.reset()


async def closes_cleanly(call: Call) -> None:
    await call.end_stream()


async def closes_without_last_chunk(call: Call) -> None:
    call.cut()


async def stalls(call: Call) -> None:
    await call.until_hung_up()


async def says_error(call: Call) -> None:
    await call.chunk(error_event("the model fell over", "server_error"))
    await call.end_stream()


async def says_error_and_done(call: Call) -> None:
    await call.chunk(error_event("the model fell over", "server_error"))
    await call.chunk(DONE)
    await call.end_stream()


async def says_garbage(call: Call) -> None:
    await call.chunk(b"data: {this is no json\n\n")
    await call.end_stream()


def error_event(message: str, kind: str, **more: Any) -> bytes:
    return chunk(None, error={"message": message, "type": kind} | more)


def http_date(seconds_ahead: float) -> str:
    return email.utils.formatdate(time.time() + seconds_ahead, usegmt=True)


def left_open_after(*pieces: bytes) -> Play:
    """A whole stream, but the connection stays open."""

    async def play(call: Call) -> None:
        await call.start_stream()
        for piece in pieces:
            await call.chunk(piece)
        await call.until_hung_up()

    return play


# -- bodies --------------------------------------------------------------------------------------------------------

QUOTA = {
    "error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}
}
NO_MODEL = {
    "error": {"message": "The model does not exist", "type": "invalid_request_error", "code": "model_not_found"}
}
BAD_PARAM = {
    "error": {"message": "top_p is too high", "type": "invalid_request_error", "param": "top_p", "code": "bad"}
}


def good(call: Call) -> Any:
    """An answer in order, as asked for."""
    return (
        call.stream(text_stream("one ", "two")) if call.json.get("stream") else call.reply(200, completion("one two"))
    )


def by_name(plays: Mapping[str, Play]) -> Play:
    """The play that the upstream model's name begins with: one upstream serves all cases, as `CASE/anything`."""
    return lambda call: plays[call.model.partition("/")[0]](call)
