"""Short-lived tokens of providers that want more than a key: fetched when first needed, renewed before they run out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import aiohttp

from appliance.exchange import ConnectFailed

if TYPE_CHECKING:
    from appliance.providers.credentials import Credential, Token, TokenRequest

RENEW_BEFORE_S = 300.0
"""A token is renewed this long before its end, or at half of its life if that is shorter."""
FETCH_S = 10.0
MAX_ANSWER_BYTES = 64 * 1024


class TokenRefused(Exception):
    """The token endpoint answered, but gave none, or could not even be asked. The message holds no secret of ours."""


class Tokens:
    """Keyed by the credential itself: two providers with the same one share its token."""

    def __init__(self) -> None:
        self._kept: dict[Credential, tuple[str, float]] = {}
        self._fetching: dict[Credential, asyncio.Task[str]] = {}

    async def headers(self, credential: Credential) -> Mapping[str, str]:
        """Raises ConnectFailed, TimeoutError or TokenRefused."""
        value, until = self._kept.get(credential, ("", 0.0))
        if not value or until <= time.monotonic():
            # One fetch serves all that wait, its failure too; who leaves meanwhile does not end it for the others.
            value = await asyncio.shield(self._fetching.get(credential) or self._start(credential))
        return {"Authorization": f"Bearer {value}"}

    def forget(self, credential: Credential, refused: str) -> None:
        """The provider refused that token: the next call asks for another. A newer one is not thrown away."""
        if self._kept.get(credential, ("", 0.0))[0] == refused:
            del self._kept[credential]

    def _start(self, credential: Credential) -> asyncio.Task[str]:
        task = asyncio.get_running_loop().create_task(self._renew(credential))
        self._fetching[credential] = task
        task.add_done_callback(lambda _: self._fetching.pop(credential, None))
        return task

    async def _renew(self, credential: Credential) -> str:
        token = await _fetch(credential)
        life = max(token.expires_in_s - RENEW_BEFORE_S, token.expires_in_s / 2)
        self._kept[credential] = (token.value, time.monotonic() + life)
        return token.value


async def _fetch(credential: Credential) -> Token:
    try:
        request = credential.request(time.time())
    except ValueError as error:
        raise TokenRefused(f"no token can be asked for: {error}") from None
    status, body = await _ask(request)
    try:
        if status == 200:
            return credential.read(body)
    except ValueError:
        pass
    raise TokenRefused(f"the token endpoint answered {status} without a token")


async def _ask(request: TokenRequest) -> tuple[int, bytes]:
    try:
        async with (
            asyncio.timeout(FETCH_S),
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as client,
            client.request(
                request.method, request.url, headers=request.headers, data=request.body or None, allow_redirects=False
            ) as answer,
        ):
            body = b""
            while len(body) < MAX_ANSWER_BYTES and (piece := await answer.content.readany()):
                body += piece
            return answer.status, body
    except aiohttp.ClientError as error:
        raise ConnectFailed(f"the token endpoint could not be reached ({type(error).__name__})") from error
