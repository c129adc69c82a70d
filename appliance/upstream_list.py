"""Asks a provider for its list of models: the one question that costs no tokens. It judges no answer.

The gateway's own question, not a caller's: it takes no place in the provider's queue.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.exchange import ConnectFailed, FailureKind, Upstream, UpstreamCut
from appliance.providers.base import Endpoint, overridden
from appliance.state import State
from appliance.state.tokens import TokenRefused

ERROR_BODY_S = 2.0
"""Of an error the status counts, whatever becomes of its text."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` has what was read: no more than was asked for, and of a refusal what came in a moment."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    endpoint: Endpoint
    """As it was asked: its `scrub` knows the token, too."""


class NoAnswer(Exception):
    """`kind` is what a call would have failed with. The message holds no secret."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


async def ask_for_models(endpoint: Endpoint, state: State, within_s: float, limit_bytes: int) -> Answer:
    """An answer of any status. Raises NoAnswer."""
    try:
        async with asyncio.timeout(within_s):
            token = await _token(endpoint, state)
            answer = await _fetch(_knowing(endpoint, token), token, state, limit_bytes)
    except TimeoutError:
        raise NoAnswer("timeout", f"provider {endpoint.name} gave no list within {within_s:g} s") from None
    if answer.status == 401 and endpoint.credential:
        state.tokens.forget(endpoint.credential, _bearer(token))
    return answer


async def _token(endpoint: Endpoint, state: State) -> Mapping[str, str]:
    """The headers with it; none for a provider that wants no more than its key."""
    if endpoint.credential is None:
        return {}
    try:
        return await state.tokens.headers(endpoint.credential)
    except ConnectFailed as error:
        raise _not_asked("connect", endpoint, error) from error
    except TokenRefused as error:
        raise _not_asked("operator", endpoint, error) from error
    except TimeoutError as error:
        raise _not_asked("timeout", endpoint, error) from error


def _bearer(token: Mapping[str, str]) -> str:
    return token["Authorization"].removeprefix("Bearer ")


def _knowing(endpoint: Endpoint, token: Mapping[str, str]) -> Endpoint:
    """A token that is sent counts among the secrets."""
    return dataclasses.replace(endpoint, secrets=(*endpoint.secrets, _bearer(token))) if token else endpoint


async def _fetch(endpoint: Endpoint, token: Mapping[str, str], state: State, limit_bytes: int) -> Answer:
    try:
        upstream = await state.pools.open(
            endpoint.name,
            endpoint.url("models"),
            overridden(endpoint.headers, token),
            b"",
            endpoint.max_connections,
            endpoint.connect_s,
            _sent,
            method="GET",
        )
        try:
            body = await _read(upstream, limit_bytes)
        finally:
            upstream.close()
    except ConnectFailed as error:
        raise _not_asked("connect", endpoint, error) from error
    except UpstreamCut as error:
        raise _not_asked("server_error", endpoint, error) from error
    return Answer(upstream.status, upstream.headers, body, endpoint)


def _sent() -> None:
    """Nothing is booked for this question, so nobody needs to know."""


async def _read(upstream: Upstream, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(None if upstream.status == 200 else ERROR_BODY_S):
            while size <= limit_bytes and (chunk := await upstream.chunk()):
                chunks.append(chunk)
                size += len(chunk)
    except (TimeoutError, UpstreamCut):
        if upstream.status == 200:
            raise
    return b"".join(chunks)


def _not_asked(kind: FailureKind, endpoint: Endpoint, error: Any) -> NoAnswer:
    why = endpoint.scrub(str(error)) or "no token in time"
    return NoAnswer(kind, f"provider {endpoint.name} could not be asked: {why}")
