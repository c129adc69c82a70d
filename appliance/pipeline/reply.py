"""The answer back to the caller, in the caller's dialect: whole, or frame by frame; and the last bytes of either.

After the first content nothing fails over any more: what breaks then is told as a typed error event.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure, FailureKind, Frame, UpstreamCut
from appliance.formats import FORMATS, passthrough
from appliance.formats.chat import (
    Failed,
    Finished,
    Part,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
    UsageSeen,
)
from appliance.formats.native import usage_object
from appliance.grid.prices import usd
from appliance.pipeline.rates import rate_headers
from appliance.state import State


async def reply(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """Streams the answer on; a whole one waits for `close`. Raises GatewayError when it breaks half-way."""
    exchange.first_token_at = exchange.clock()
    if attempt.reply:
        exchange.finish_reason = next((c.finish_reason or "" for c in attempt.reply.choices), "")
        if attempt.reply.usage is None:
            exchange.output_bytes = sum(_said_bytes(part) for c in attempt.reply.choices for part in c.parts)
    else:
        await _stream(exchange, attempt, state)
    exchange.status = "completed"


async def _stream(exchange: Exchange, attempt: Attempt, state: State) -> None:
    assert attempt.stream and attempt.upstream and exchange.head and exchange.principal
    if attempt.passthrough:
        exchange.writer = passthrough.PassthroughWriter(exchange.head)
    else:
        exchange.writer = passthrough.TranslatedWriter(FORMATS[exchange.surface].stream_encoder(exchange.head))
    name = attempt.target.endpoint.name
    try:
        await exchange.client.start_stream(headers(exchange))
        while frames := await attempt.stream.frames():
            state.directory.check(exchange.principal)  # a revoked key or suspended tenant ends here
            broken = _note(exchange, frames)
            data = exchange.writer.frames(frames if broken is None else frames[: broken.place])
            if data:
                await exchange.client.send(data)
            if broken:
                raise _broke(attempt, "BACKEND_ERROR", f"provider {name} broke off its answer", broken.message)
        if not attempt.stream.complete:
            raise UpstreamCut("the stream ended without its end mark")
    except TimeoutError:
        message = f"provider {name} stopped in the middle of its answer"
        raise _broke(attempt, "BACKEND_TIMEOUT", message, "nothing came within idle or total") from None
    except UpstreamCut as cut:
        raise _broke(attempt, "BACKEND_ERROR", f"provider {name} cut its answer short", str(cut)) from cut
    except GatewayError as error:
        if error.code != "UPSTREAM_SHAPE_MISMATCH":
            raise
        raise _broke(attempt, error.code, f"provider {name} went on with what is no answer", error.message) from error
    finally:
        attempt.latency_ms = int((exchange.clock() - attempt.started_at) * 1000)
        attempt.upstream.close()


def _broke(attempt: Attempt, code: str, message: str, detail: str) -> GatewayError:
    """The error for the caller; what the upstream said goes to the row and the log with the attempt."""
    kind: FailureKind = "timeout" if code == "BACKEND_TIMEOUT" else "server_error"
    scrubbed = attempt.target.endpoint.scrub(detail)
    attempt.failure = Failure(kind, code, message, detail=f"{message}: {scrubbed}")
    return GatewayError(code, message)


class _Broken(NamedTuple):
    """An error event inside the stream, and the place of its frame."""

    place: int
    message: str


def _note(exchange: Exchange, frames: list[Frame]) -> _Broken | None:
    """Count what the frames bring, up to the first that is an error."""
    for place, frame in enumerate(frames):
        for event in frame.meaning:
            if isinstance(event, TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta):
                exchange.output_bytes += _said_bytes(event)
            elif isinstance(event, UsageSeen):
                exchange.usage = event.usage
            elif isinstance(event, Finished):
                exchange.finish_reason = event.finish_reason
            elif isinstance(event, Failed):
                return _Broken(place, event.message)
    return None


def _said_bytes(piece: Part | TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta) -> int:
    """Bytes of generated text in a part or a delta: an answer counts the same whole and in pieces."""
    if isinstance(piece, ToolCallPart | ToolCallDelta):
        return len(piece.arguments.encode("utf-8", "replace")) + len((piece.name or "").encode("utf-8", "replace"))
    if isinstance(piece, TextPart | ReasoningPart | RefusalPart | TextDelta | ReasoningDelta | RefusalDelta):
        return len(piece.text.encode("utf-8", "replace"))
    return 0


async def close(exchange: Exchange) -> None:
    """The last bytes: only now, after the row is written, does the caller hold a whole answer."""
    client, error = exchange.client, exchange.error
    if client.started:
        assert exchange.writer and exchange.usage
        if error:
            await client.send(exchange.writer.failure(error))
        else:
            await client.send(exchange.writer.closing(exchange.usage, usd(exchange.cost_nano), exchange.estimated))
        await client.end()
    elif error:
        status, body = FORMATS[exchange.surface].encode_error(error, exchange.request_id)
        await client.whole(status, headers(exchange) | error.headers(), msgspec.json.encode(body))
    else:
        await client.whole(200, headers(exchange), _whole_body(exchange))


def headers(exchange: Exchange) -> dict[str, str]:
    """What every inference answer tells: its rate limit, where it comes from, and whether its length was lowered."""
    shown = rate_headers(exchange)
    if exchange.clamped and exchange.reservation:
        shown["X-Scaigrid-Budget-Clamped"] = str(exchange.output_cap)
    if exchange.attempts:
        shown["X-Scaigrid-Backend"] = (exchange.answered or exchange.attempts[-1]).target.backend
        shown["X-Scaigrid-Attempts"] = str(len(exchange.attempts))
    return shown


def _whole_body(exchange: Exchange) -> bytes:
    attempt = exchange.answered
    assert attempt and attempt.reply and exchange.head and exchange.usage
    if attempt.passthrough:
        return passthrough.reply(attempt.reply_members, exchange.head)
    answer = msgspec.structs.replace(attempt.reply, usage=exchange.usage)
    data = FORMATS[exchange.surface].encode_reply(answer, exchange.head)
    if exchange.surface != "native":
        return msgspec.json.encode(data)
    data["usage"] = usage_object(exchange.usage, usd(exchange.cost_nano), exchange.estimated)
    meta = {
        "request_id": exchange.request_id,
        "backend": attempt.target.backend,
        "provider": attempt.target.endpoint.name,
        "attempts": len(exchange.attempts),
        "latency_ms": int((exchange.clock() - exchange.received_at) * 1000),
    }
    return msgspec.json.encode({"status": "ok", "data": data, "meta": meta})
