"""Send one attempt and class its failure. The only stage that waits for an upstream before an answer is in hand.

A whole answer is in hand when it was read and understood; a streamed one when its first content event is here, so
that an error before that point can still fail over (contract section 3).
"""

from __future__ import annotations

import asyncio
import json

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import Attempt, ConnectFailed, Exchange, Failure, Frame, Upstream, UpstreamCut
from appliance.formats import passthrough
from appliance.formats.chat import CONTENT_EVENTS, Failed, Finished
from appliance.pipeline.record import begin
from appliance.pipeline.stream import UpstreamStream
from appliance.state import State

MAX_REPLY_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024
ERROR_BODY_S = 2.0


class AttemptFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


async def call(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    """True when an answer is in hand (`attempt.reply` or `attempt.stream`); False with `attempt.failure` set."""
    if attempt.delay_s:
        await asyncio.sleep(attempt.delay_s)
    begin(exchange, attempt, state)
    exchange.attempts.append(attempt)
    attempt.started_at = exchange.clock()
    attempt.dispatched = True
    try:
        await (_begin_stream if exchange.stream else _fetch_whole)(exchange, attempt, state)
    except AttemptFailed as failed:
        attempt.failure = failed.failure
        if failed.failure.retry_after:
            state.health.spare(attempt.target.backend, exchange.clock(), failed.failure.retry_after)
    finally:
        attempt.latency_ms = int((exchange.clock() - attempt.started_at) * 1000)
        if attempt.stream is None and attempt.upstream:
            attempt.upstream.close()
    if attempt.failure:
        return False
    exchange.answered = attempt
    return True


async def _fetch_whole(exchange: Exchange, attempt: Attempt, state: State) -> None:
    endpoint = attempt.target.endpoint
    upstream = await _open(exchange, attempt, state)
    body = await _read(exchange, attempt, upstream, MAX_REPLY_BYTES)
    try:
        attempt.reply = endpoint.provider.format.decode_reply(msgspec.json.decode(body))
        if attempt.passthrough:
            attempt.reply_members = passthrough.reply_members(body)
    except GatewayError as error:
        raise AttemptFailed(_mismatch(attempt, error.message)) from error
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError and UnicodeDecodeError are ValueErrors
        what = "an empty body" if not body.strip() else f"a body that is not JSON ({error})"
        raise AttemptFailed(_mismatch(attempt, what)) from error
    exchange.usage = attempt.reply.usage


async def _begin_stream(exchange: Exchange, attempt: Attempt, state: State) -> None:
    endpoint = attempt.target.endpoint
    upstream = await _open(exchange, attempt, state)
    total_at = attempt.started_at + endpoint.total_s
    stream = UpstreamStream(upstream, endpoint.provider.format.stream_decoder(), endpoint.idle_s, total_at)
    frames: list[Frame] = []
    begun = False
    try:
        # Lifecycle events are held back: until content comes, the next target can still take over unnoticed.
        # first_byte holds until then too: an upstream that only sends heartbeats restarts `idle` for ever.
        async with asyncio.timeout_at(min(attempt.started_at + endpoint.first_byte_s, exchange.deadline_at)):
            while not begun:
                arrived = await stream.frames()
                if not arrived:
                    raise AttemptFailed(_mismatch(attempt, "a stream without any content"))
                frames += arrived
                for event in (event for frame in arrived for event in frame.meaning):
                    if isinstance(event, Failed):
                        raise AttemptFailed(_failed_inside(attempt, event))
                    begun = begun or isinstance(event, (*CONTENT_EVENTS, Finished))
    except TimeoutError:
        raise AttemptFailed(_too_slow(attempt, "no content came in time")) from None
    except UpstreamCut as cut:
        raise AttemptFailed(_cut(attempt, cut)) from cut
    except GatewayError as error:
        raise AttemptFailed(_mismatch(attempt, error.message)) from error
    stream.hold(frames)
    attempt.stream = stream


async def _open(exchange: Exchange, attempt: Attempt, state: State) -> Upstream:
    """Raises AttemptFailed for everything but an answer with a status of 200."""
    endpoint = attempt.target.endpoint
    limit = min(attempt.started_at + min(endpoint.first_byte_s, endpoint.total_s), exchange.deadline_at)
    try:
        async with asyncio.timeout_at(limit):
            if endpoint.provider.in_process:
                attempt.sent = True
                upstream = await endpoint.provider.open(endpoint, attempt.body)
            else:

                def sent() -> None:
                    attempt.sent = True

                upstream = await state.pools.open(
                    endpoint.name,
                    endpoint.chat_url,
                    endpoint.headers,
                    attempt.body,
                    endpoint.max_connections,
                    endpoint.connect_s,
                    sent,
                )
    except ConnectFailed as error:
        detail = endpoint.scrub(str(error))
        message = f"provider {endpoint.name} could not be reached"
        raise AttemptFailed(Failure("connect", "BACKEND_ERROR", message, detail=detail)) from error
    except UpstreamCut as cut:
        raise AttemptFailed(_cut(attempt, cut)) from cut
    except TimeoutError:
        raise AttemptFailed(_too_slow(attempt, "the first byte did not come in time")) from None
    attempt.upstream = upstream
    if upstream.status != 200:
        body = await _read_error(exchange, upstream, limit)
        raise AttemptFailed(endpoint.provider.classify(endpoint, upstream.status, upstream.headers, body))
    return upstream


async def _read_error(exchange: Exchange, upstream: Upstream, limit_at: float) -> bytes:
    """What can be had of an error's body in a moment: the status counts, whatever becomes of the text."""
    body = b""
    try:
        async with asyncio.timeout_at(min(limit_at, exchange.clock() + ERROR_BODY_S)):
            while len(body) < MAX_ERROR_BYTES and (chunk := await upstream.chunk()):
                body += chunk
    except (TimeoutError, UpstreamCut):
        pass
    return body[:MAX_ERROR_BYTES]


async def _read(exchange: Exchange, attempt: Attempt, upstream: Upstream, limit_bytes: int) -> bytes:
    endpoint = attempt.target.endpoint
    last_at = min(attempt.started_at + endpoint.total_s, exchange.deadline_at)
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= limit_bytes:
            async with asyncio.timeout_at(min(exchange.clock() + endpoint.idle_s, last_at)):
                chunk = await upstream.chunk()
            if not chunk:
                return b"".join(chunks)
            chunks.append(chunk)
            size += len(chunk)
    except TimeoutError:
        raise AttemptFailed(_too_slow(attempt, "the answer stalled")) from None
    except UpstreamCut as cut:
        raise AttemptFailed(_cut(attempt, cut)) from cut
    raise AttemptFailed(_mismatch(attempt, f"an answer of more than {limit_bytes} bytes"))


# -- failures ---------------------------------------------------------------------------------------------------------


def _too_slow(attempt: Attempt, what: str) -> Failure:
    name = attempt.target.endpoint.name
    return Failure("timeout", "BACKEND_TIMEOUT", f"provider {name} is too slow: {what}")


def _cut(attempt: Attempt, cut: UpstreamCut) -> Failure:
    endpoint = attempt.target.endpoint
    message = f"provider {endpoint.name} cut its answer short"
    return Failure("server_error", "BACKEND_ERROR", message, detail=endpoint.scrub(str(cut)))


def _mismatch(attempt: Attempt, what: str) -> Failure:
    endpoint = attempt.target.endpoint
    message = f"provider {endpoint.name} answered 200 with what is no answer: {endpoint.scrub(what)}"
    return Failure("server_error", "UPSTREAM_SHAPE_MISMATCH", message, 200)


def _failed_inside(attempt: Attempt, event: Failed) -> Failure:
    """An error event in a 200 stream is judged as the HTTP status it stands for; unknown ones count as a 500."""
    endpoint = attempt.target.endpoint
    body = json.dumps({"error": {"message": event.message, "type": event.type}}).encode()
    status = event.status if event.status and 400 <= event.status < 600 else 500
    return endpoint.provider.classify(endpoint, status, {}, body)
