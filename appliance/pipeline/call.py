"""Send one attempt and class its failure. The only stage that waits for an upstream before an answer is in hand.

What an answer is, and when it is in hand, the operation knows; this file knows connections, time limits and failures.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping

from appliance.exchange import Attempt, ConnectFailed, Exchange, Failure, Upstream, UpstreamCut
from appliance.formats.chat import Failed
from appliance.pipeline.record import begin
from appliance.providers.base import Endpoint, overridden
from appliance.state import State
from appliance.state.tokens import TokenRefused

MAX_REPLY_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024
ERROR_BODY_S = 2.0

JSON = {"Content-Type": "application/json"}


class AttemptFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


async def call(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    """True when an answer is in hand (`exchange.answered`); False with `attempt.failure` set."""
    if attempt.delay_s:
        await asyncio.sleep(attempt.delay_s)
    begin(exchange, attempt, state)
    exchange.attempts.append(attempt)
    attempt.started_at = exchange.clock()
    attempt.dispatched = True
    try:
        await exchange.operation.fetch(exchange, attempt, state)
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


async def open_upstream(
    exchange: Exchange,
    attempt: Attempt,
    state: State,
    operation: str,
    body: bytes,
    *,
    stream: bool = False,
) -> Upstream:
    """Raises AttemptFailed for everything but an answer with a status of 200."""
    endpoint = attempt.target.endpoint
    limit = min(attempt.started_at + min(endpoint.first_byte_s, endpoint.total_s), exchange.deadline_at)
    try:
        async with asyncio.timeout_at(limit):
            if endpoint.provider.in_process:
                attempt.sent = True
                upstream = await endpoint.provider.open(endpoint, operation, body, attempt.upload)
            else:

                def sent() -> None:
                    attempt.sent = True

                upstream = await state.pools.open(
                    endpoint.name,
                    endpoint.url(operation, attempt.target.upstream_model, stream),
                    await _headers(exchange, attempt, state),
                    body,
                    endpoint.max_connections,
                    endpoint.connect_s,
                    sent,
                    upload=attempt.upload,
                )
    except ConnectFailed as error:
        detail = guarded(attempt).scrub(str(error))
        message = f"provider {endpoint.name} could not be reached"
        raise AttemptFailed(Failure("connect", "BACKEND_ERROR", message, detail=detail)) from error
    except TokenRefused as error:
        message = f"provider {endpoint.name} gave the gateway no token; the operator has to mend its entry"
        raise AttemptFailed(Failure("operator", "BACKEND_ERROR", message, detail=str(error))) from error
    except UpstreamCut as broken:
        raise AttemptFailed(cut(attempt, broken)) from broken
    except TimeoutError:
        raise AttemptFailed(too_slow(attempt, "the first byte did not come in time")) from None
    if upstream.status != 200:
        try:
            error_body = await _read_error(exchange, upstream, limit)
        finally:
            upstream.close()
        if upstream.status == 401 and endpoint.credential:
            state.tokens.forget(endpoint.credential, attempt.token)
        known = guarded(attempt)
        raise AttemptFailed(endpoint.provider.classify(known, upstream.status, upstream.headers, error_body))
    return upstream


async def _headers(exchange: Exchange, attempt: Attempt, state: State) -> Mapping[str, str]:
    endpoint = attempt.target.endpoint
    ours = dict(JSON) if attempt.upload is None else {}
    if endpoint.dialect == exchange.surface:
        ours |= exchange.forwarded
    headers = overridden(ours, endpoint.headers)
    if endpoint.credential is None:
        return headers
    fresh = await state.tokens.headers(endpoint.credential)
    attempt.token = fresh["Authorization"].removeprefix("Bearer ")
    return overridden(headers, fresh)


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


async def read_whole(
    exchange: Exchange, attempt: Attempt, upstream: Upstream, limit_bytes: int = MAX_REPLY_BYTES
) -> bytes:
    """The rest of an answer. Raises AttemptFailed."""
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
        raise AttemptFailed(too_slow(attempt, "the answer stalled")) from None
    except UpstreamCut as broken:
        raise AttemptFailed(cut(attempt, broken)) from broken
    raise AttemptFailed(mismatch(attempt, f"an answer of more than {limit_bytes} bytes"))


# -- failures ---------------------------------------------------------------------------------------------------------


def guarded(attempt: Attempt) -> Endpoint:
    """The target's endpoint, for texts that quote the upstream: a token that it was sent counts among the secrets."""
    endpoint = attempt.target.endpoint
    return dataclasses.replace(endpoint, secrets=(*endpoint.secrets, attempt.token)) if attempt.token else endpoint


def too_slow(attempt: Attempt, what: str) -> Failure:
    name = attempt.target.endpoint.name
    return Failure("timeout", "BACKEND_TIMEOUT", f"provider {name} is too slow: {what}")


def cut(attempt: Attempt, broken: UpstreamCut) -> Failure:
    endpoint = guarded(attempt)
    message = f"provider {endpoint.name} cut its answer short"
    return Failure("server_error", "BACKEND_ERROR", message, detail=endpoint.scrub(str(broken)))


def mismatch(attempt: Attempt, what: str) -> Failure:
    endpoint = guarded(attempt)
    message = f"provider {endpoint.name} answered 200 with what is no answer: {endpoint.scrub(what)}"
    return Failure("server_error", "UPSTREAM_SHAPE_MISMATCH", message, 200)


def failed_inside(attempt: Attempt, event: Failed) -> Failure:
    """An error event in a 200 stream is judged as the HTTP status it stands for; unknown ones count as a 500."""
    endpoint = guarded(attempt)
    told = {"message": event.message, "type": event.type, "code": event.code, "retry_after": event.retry_after}
    body = json.dumps({"error": told}).encode()
    status = event.status if event.status and 400 <= event.status < 600 else 500
    return endpoint.provider.classify(endpoint, status, {}, body)
