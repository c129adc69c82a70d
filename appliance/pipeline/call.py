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
from appliance.pipeline.route import rule_of
from appliance.providers.base import Endpoint, overridden
from appliance.providers.refusal_reasons import reason_in
from appliance.state import State
from appliance.state.fair_queue import Busy, Slot
from appliance.state.tokens import TokenRefused

MAX_REPLY_BYTES = 256 * 1024 * 1024
MAX_ERROR_BYTES = 256 * 1024
ERROR_BODY_S = 2.0

WAITED_S = 0.001
"""A call that had its place sooner did not wait for it."""

JSON = {"Content-Type": "application/json"}


class AttemptFailed(Exception):
    def __init__(self, failure: Failure) -> None:
        self.failure = failure


async def call(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    """True when an answer is in hand; False with `attempt.failure` set, and `dispatched` False if nobody was asked."""
    if attempt.delay_s:
        await asyncio.sleep(attempt.delay_s)
    try:
        if exchange.operation.costs:
            attempt.slot = await _slot(exchange, attempt, state)
            _look_again(exchange, attempt, state)
    except AttemptFailed as failed:
        attempt.failure = failed.failure
        return False
    try:
        return await _dispatched(exchange, attempt, state)
    finally:
        if attempt.slot:
            attempt.slot.release()


async def _slot(exchange: Exchange, attempt: Attempt, state: State) -> Slot | None:
    """A place among the provider's connections; tenants take turns in waiting for one. Raises AttemptFailed."""
    assert exchange.principal
    endpoint = attempt.target.endpoint
    if endpoint.provider.in_process:
        return None
    tenant = exchange.grid.tenants[exchange.principal.tenant_id]
    terms = exchange.grid.queues[endpoint.name]
    queue = state.pools.queue(endpoint.name, terms.at_once, terms.size, exchange.grid.generation)
    patience_s = max(0.0, min(terms.wait_s, exchange.deadline_at - exchange.clock()))
    if attempt.hedge:
        patience_s = 0.0  # the place that was free a moment ago is taken: a hedge waits for none
    try:
        return await queue.slot(tenant.id, tenant.weight, patience_s)
    except Busy as busy:
        message = f"provider {endpoint.name} is busy: {queue.in_use} calls are under way and {queue.waiting} wait"
        retry_after = max(1.0, busy.retry_after_s or 0.0)
        failure = Failure("busy", "BACKEND_RATE_LIMITED", message, retry_after=retry_after)
        if exchange.busy is None or retry_after < (exchange.busy.retry_after or 0.0):
            exchange.busy = failure
        raise AttemptFailed(failure) from None


def _look_again(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """The backend may have failed while the call waited for a place: a whole queue must not run into it."""
    assert exchange.model
    permit, now = attempt.permit, exchange.clock()
    rule = rule_of(exchange.model.policy)
    if permit is None or permit.lease or rule is None or now - permit.since < WAITED_S:
        return
    refused = state.health.look(attempt.target.backend, rule, now, spared_too=True)
    if refused:
        if attempt.slot:
            attempt.slot.release()
        exchange.held_back_s = refused.wait_s
        message = f"provider {attempt.target.endpoint.name} failed while the call waited for a place there"
        raise AttemptFailed(Failure("busy", "MODEL_UNAVAILABLE", message, retry_after=max(1.0, refused.wait_s)))


async def _dispatched(exchange: Exchange, attempt: Attempt, state: State) -> bool:
    begin(exchange, attempt, state)
    exchange.attempts.append(attempt)
    attempt.number = len(exchange.attempts)
    attempt.started_at = exchange.clock()
    attempt.dispatched = True
    if attempt.permit:
        attempt.permit.timed = exchange.operation.costs
        state.health.started(attempt.permit, attempt.started_at)
    try:
        await exchange.operation.fetch(exchange, attempt, state)
    except AttemptFailed as failed:
        attempt.failure = failed.failure
        _tell_failure(exchange, attempt, state)
        if failed.failure.retry_after:
            state.health.spare(attempt.target.backend, exchange.clock(), failed.failure.retry_after)
    finally:
        attempt.latency_ms = int((exchange.clock() - attempt.started_at) * 1000)
        if attempt.stream is None and attempt.upstream:
            attempt.upstream.close()
    if attempt.failure:
        return False
    if attempt.permit:
        now = exchange.clock()
        state.health.answered(attempt.permit, now, now - attempt.started_at if exchange.stream else None)
    return True


def _tell_failure(exchange: Exchange, attempt: Attempt, state: State) -> None:
    """What the failure says of the backend: nothing, when it was the caller's deadline that was too short for it, or
    when we had no place for the call."""
    if attempt.permit is None or attempt.failure is None:
        return
    now = exchange.clock()
    kind = attempt.failure.kind
    ours = kind == "busy" or (kind == "timeout" and now >= exchange.deadline_at)
    state.health.finished(attempt.permit, "canceled" if ours else kind, now)


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
    # The first connection has its place already; the second and third of one attempt wait for their own.
    slot, attempt.slot = attempt.slot or await _slot(exchange, attempt, state), None
    limit = min(exchange.clock() + min(endpoint.first_byte_s, endpoint.total_s), exchange.deadline_at)
    try:
        async with asyncio.timeout_at(limit):
            upstream = await _opened(exchange, attempt, state, operation, body, stream, slot)
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


async def _opened(
    exchange: Exchange, attempt: Attempt, state: State, operation: str, body: bytes, stream: bool, slot: Slot | None
) -> Upstream:
    endpoint = attempt.target.endpoint
    if endpoint.provider.in_process:
        attempt.sent = True
        return await endpoint.provider.open(endpoint, operation, body, attempt.upload)

    def sent() -> None:
        attempt.sent = True

    try:
        url = endpoint.url(operation, attempt.target.upstream_model, stream)
        headers = await _headers(exchange, attempt, state)
        return await state.pools.open(
            endpoint.name,
            url,
            headers,
            body,
            endpoint.max_connections,
            endpoint.connect_s,
            sent,
            upload=attempt.upload,
            slot=slot,
        )
    except BaseException:
        if slot:
            slot.release()
        raise


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
    if reason := reason_in(what):  # some aggregators relay a refusal as a document with status 200
        return Failure("caller", "VALIDATION_ERROR", message, 200, reason=reason)
    return Failure("server_error", "UPSTREAM_SHAPE_MISMATCH", message, 200)


def failed_inside(attempt: Attempt, event: Failed) -> Failure:
    """An error event in a 200 stream is judged as the HTTP status it stands for; unknown ones count as a 500."""
    endpoint = guarded(attempt)
    told = {"message": event.message, "type": event.type, "code": event.code, "retry_after": event.retry_after}
    body = json.dumps({"error": told}).encode()
    status = event.status if event.status and 400 <= event.status < 600 else 500
    return endpoint.provider.classify(endpoint, status, {}, body)
