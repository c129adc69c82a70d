"""A chat's answer: fetched whole, or begun as a stream and sent on frame by frame.

A whole answer is in hand when it was read and understood; a streamed one when its first content event is here, so
that an error before that point can still fail over (contract section 3). After it nothing fails over any more: what
breaks then is told as a typed error event.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Failure, FailureKind, UpstreamCut
from appliance.formats import FORMATS, passthrough
from appliance.formats.base import Frame
from appliance.formats.chat import (
    CONTENT_EVENTS,
    ChatEvent,
    ChatReply,
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
from appliance.pipeline.call import (
    AttemptFailed,
    cut,
    failed_inside,
    guarded,
    mismatch,
    open_upstream,
    read_whole,
    too_slow,
)
from appliance.pipeline.pass_on import may_be_passed_on
from appliance.pipeline.stream import UpstreamStream
from appliance.state import State


async def fetch_whole(exchange: Exchange, attempt: Attempt, state: State) -> None:
    upstream = await open_upstream(exchange, attempt, state, "chat", attempt.body)
    attempt.upstream = upstream
    body = await read_whole(exchange, attempt, upstream)
    try:
        attempt.reply = attempt.target.endpoint.format.decode_reply(msgspec.json.decode(body))
    except GatewayError as error:
        raise AttemptFailed(mismatch(attempt, error.message)) from error
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        what = "an empty body" if not body.strip() else f"a body that is not JSON ({error})"
        raise AttemptFailed(mismatch(attempt, what)) from error
    attempt.usage = attempt.reply.usage
    choices = attempt.reply.choices
    if choices and all(choice.finish_reason == "content_filter" and not _content(choice.parts) for choice in choices):
        _leave_withheld(exchange, attempt)
    if attempt.passthrough:
        attempt.reply_body = body


async def begin_stream(exchange: Exchange, attempt: Attempt, state: State) -> None:
    endpoint = attempt.target.endpoint
    upstream = attempt.upstream = await open_upstream(exchange, attempt, state, "chat", attempt.body, stream=True)
    total_at = attempt.started_at + endpoint.total_s
    stream = UpstreamStream(upstream, endpoint.format.stream_decoder(), endpoint.idle_s, total_at)
    frames: list[Frame] = []
    begun = False
    try:
        # Lifecycle events are held back: until content comes, the next target can still take over unnoticed.
        # first_byte holds until then too: an upstream that only sends heartbeats restarts `idle` for ever.
        async with asyncio.timeout_at(min(attempt.started_at + endpoint.first_byte_s, exchange.deadline_at)):
            while not begun:
                arrived = await stream.frames()
                if not arrived:
                    raise AttemptFailed(mismatch(attempt, "a stream without any content"))
                frames += arrived
                events = [event for frame in frames for event in frame.meaning]
                for event in events:
                    if isinstance(event, Failed):
                        raise AttemptFailed(failed_inside(attempt, event))
                    if isinstance(event, UsageSeen):
                        attempt.usage = event.usage
                    begun = begun or isinstance(event, (*CONTENT_EVENTS, Finished))
                if begun and _is_withheld(exchange, events):
                    _leave_withheld(exchange, attempt)
    except TimeoutError:
        raise AttemptFailed(too_slow(attempt, "no content came in time")) from None
    except UpstreamCut as broken:
        raise AttemptFailed(cut(attempt, broken)) from broken
    except GatewayError as error:
        raise AttemptFailed(mismatch(attempt, error.message)) from error
    stream.hold(frames)
    attempt.stream = stream


def _content(parts: list[Part]) -> list[Part]:
    """What a filter says in place of an answer is none of it."""
    return [part for part in parts if not isinstance(part, RefusalPart)]


def _is_withheld(exchange: Exchange, events: list[ChatEvent]) -> bool:
    """A stream that ends before it began, by the provider's filter. Of several choices, others may still speak."""
    ended = any(isinstance(event, Finished) and event.finish_reason == "content_filter" for event in events)
    said = any(isinstance(event, CONTENT_EVENTS) and not isinstance(event, RefusalDelta) for event in events)
    return ended and not said and exchange.n == 1


def _leave_withheld(exchange: Exchange, attempt: Attempt) -> None:
    """The provider's filter left nothing of the answer: where another model may serve the call instead, this is no
    answer but a failed attempt, and what it cost is ours."""
    if not may_be_passed_on(exchange, "content_filter"):
        return
    name = attempt.target.endpoint.name
    usage = attempt.usage or exchange.operation.estimate(exchange, None)
    attempt.backend_cost_nano = attempt.target.cost.cost(usage)
    message = f"the content filter of provider {name} withheld the answer"
    raise AttemptFailed(Failure("caller", "VALIDATION_ERROR", message, 200, reason="content_filter"))


def note_whole(exchange: Exchange, reply: ChatReply) -> None:
    exchange.finish_reason = next((choice.finish_reason or "" for choice in reply.choices), "")
    if reply.usage is None:
        exchange.output_bytes = sum(_said_bytes(part) for choice in reply.choices for part in choice.parts)


async def send_stream(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """Raises GatewayError when the answer breaks half-way."""
    assert attempt.stream and attempt.upstream and exchange.head and exchange.principal
    if attempt.passthrough:
        exchange.writer = attempt.passthrough.writer(exchange.head)
    else:
        exchange.writer = passthrough.TranslatedWriter(FORMATS[exchange.surface].stream_encoder(exchange.head))
    name = attempt.target.endpoint.name
    try:
        await exchange.client.start_stream(exchange.reply_headers)
        while frames := await attempt.stream.frames():
            state.directory.check(exchange.principal)  # a revoked key or suspended tenant ends here
            broken = _note(exchange, frames)
            data = exchange.writer.frames(frames if broken is None else frames[: broken.place])
            if data:
                await exchange.client.send(data)
            if broken:
                attempt.failure = failed_inside(attempt, broken.event)
                raise attempt.failure.error()
        if not attempt.stream.complete:
            raise UpstreamCut("the stream ended without its end mark")
    except TimeoutError:
        message = f"provider {name} stopped in the middle of its answer"
        raise broke(attempt, "BACKEND_TIMEOUT", message, "nothing came within idle or total") from None
    except UpstreamCut as short:
        raise broke(attempt, "BACKEND_ERROR", f"provider {name} cut its answer short", str(short)) from short
    except GatewayError as error:
        if error.code != "UPSTREAM_SHAPE_MISMATCH":
            raise
        raise broke(attempt, error.code, f"provider {name} went on with what is no answer", error.message) from error
    finally:
        attempt.latency_ms = int((exchange.clock() - attempt.started_at) * 1000)
        attempt.upstream.close()


def broke(attempt: Attempt, code: str, message: str, detail: str) -> GatewayError:
    """The error for the caller; what the upstream said goes to the row and the log with the attempt."""
    kind: FailureKind = "timeout" if code == "BACKEND_TIMEOUT" else "server_error"
    scrubbed = guarded(attempt).scrub(detail)
    attempt.failure = Failure(kind, code, message, detail=f"{message}: {scrubbed}")
    return GatewayError(code, message)


class _Broken(NamedTuple):
    """An error event inside the stream, and the place of its frame."""

    place: int
    event: Failed


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
                return _Broken(place, event)
    return None


def _said_bytes(piece: Part | TextDelta | ReasoningDelta | RefusalDelta | ToolCallDelta) -> int:
    """Bytes of generated text in a part or a delta: an answer counts the same whole and in pieces."""
    if isinstance(piece, ToolCallPart | ToolCallDelta):
        return len(piece.arguments.encode("utf-8", "replace")) + len((piece.name or "").encode("utf-8", "replace"))
    if isinstance(piece, TextPart | ReasoningPart | RefusalPart | TextDelta | ReasoningDelta | RefusalDelta):
        return len(piece.text.encode("utf-8", "replace"))
    return 0
