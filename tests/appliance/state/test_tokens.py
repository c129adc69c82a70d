"""Tokens from a real server on loopback: how often it is asked, when again, and that no failure tells a secret."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest

from appliance.exchange import ConnectFailed
from appliance.providers.credentials import EntraClient, ServiceAccount
from appliance.state import tokens as tokens_module
from appliance.state.tokens import MAX_ANSWER_BYTES, TokenRefused, Tokens
from support.appliance import free_port
from support.build import Clock
from support.upstream import Call, Upstream

SECRET = "entra-secret-0123456789"


@pytest.fixture(scope="module")
def server() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The hands of the module's clock."""
    made = Clock()
    monkeypatch.setattr(tokens_module, "time", SimpleNamespace(monotonic=made, time=lambda: 1_800_000_000.0))
    return made


def credential(server: Upstream, client_id: str = "c", secret: str = SECRET) -> EntraClient:
    return EntraClient("tenant", client_id, secret, server.url)


class Counter:
    """Gives `token-1`, `token-2` … to each client that asks."""

    def __init__(self, expires_in: Any = 3600, pause_s: float = 0.0) -> None:
        self.calls: list[Call] = []
        self._expires_in = expires_in
        self._pause_s = pause_s

    async def __call__(self, call: Call) -> None:
        self.calls.append(call)
        await asyncio.sleep(self._pause_s)
        await call.reply(200, {"access_token": f"token-{len(self.calls)}", "expires_in": self._expires_in})


async def got(tokens: Tokens, known: EntraClient) -> str:
    async with asyncio.timeout(5):
        return (await tokens.headers(known))["Authorization"]


# -- how often --------------------------------------------------------------------------------------------------------


async def test_a_hundred_callers_need_one_token(server: Upstream) -> None:
    counter = Counter(pause_s=0.05)
    server.answer(counter)
    tokens = Tokens()
    found = await asyncio.gather(*(got(tokens, credential(server)) for _ in range(100)))
    assert set(found) == {"Bearer token-1"}
    assert len(counter.calls) == 1
    assert await got(tokens, credential(server)) == "Bearer token-1"
    assert len(counter.calls) == 1
    (call,) = counter.calls
    assert call.path == "/tenant/oauth2/v2.0/token"
    assert parse_qs(call.body.decode())["client_secret"] == [SECRET]


async def test_each_credential_has_a_token_of_its_own(server: Upstream) -> None:
    counter = Counter()
    server.answer(counter)
    tokens = Tokens()
    found = [await got(tokens, credential(server, name)) for name in ("one", "two", "one", "two")]
    assert found == ["Bearer token-1", "Bearer token-2"] * 2


async def test_a_new_secret_is_another_credential(server: Upstream) -> None:
    server.answer(Counter())
    tokens = Tokens()
    assert await got(tokens, credential(server)) == "Bearer token-1"
    assert await got(tokens, credential(server, secret="rotated-secret")) == "Bearer token-2"


async def test_who_leaves_while_the_token_comes_does_not_keep_it_from_the_others(server: Upstream) -> None:
    counter = Counter(pause_s=0.1)
    server.answer(counter)
    tokens = Tokens()
    first, *others = (asyncio.ensure_future(got(tokens, credential(server))) for _ in range(5))
    await asyncio.sleep(0.03)
    first.cancel()
    assert await asyncio.gather(*others) == ["Bearer token-1"] * 4
    assert first.cancelled()
    assert len(counter.calls) == 1


# -- when again -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_in", "still", "renewed"),
    [(3600, 3299, 3300), ("86400", 86_099, 86_100), (600, 299, 300), (100, 49, 50), (1, 0.4, 0.5)],
)
async def test_a_token_is_renewed_before_its_end(
    server: Upstream, clock: Clock, expires_in: Any, still: float, renewed: float
) -> None:
    server.answer(Counter(expires_in))
    tokens = Tokens()
    start = clock.now
    assert await got(tokens, credential(server)) == "Bearer token-1"
    clock.now = start + still
    assert await got(tokens, credential(server)) == "Bearer token-1"
    clock.now = start + renewed
    found = await asyncio.gather(*(got(tokens, credential(server)) for _ in range(10)))
    assert set(found) == {"Bearer token-2"}


async def test_a_token_that_the_provider_refused_is_not_used_again(server: Upstream) -> None:
    server.answer(Counter())
    tokens = Tokens()
    tokens.forget(credential(server), "token-0")
    assert await got(tokens, credential(server)) == "Bearer token-1"
    tokens.forget(credential(server), "token-1")
    assert await got(tokens, credential(server)) == "Bearer token-2"
    tokens.forget(credential(server), "token-1")  # a late refusal of the old one
    assert await got(tokens, credential(server)) == "Bearer token-2"


# -- no token ---------------------------------------------------------------------------------------------------------


async def refused(tokens: Tokens, known: Any) -> BaseException:
    """The failure; nothing of it, not even its traceback, tells a secret."""
    with pytest.raises((TokenRefused, ConnectFailed, TimeoutError)) as caught:
        await got(tokens, known)
    told = "".join(traceback.format_exception(caught.value))
    assert not [secret for secret in known.secrets if secret[:8] in told]
    assert "echoed" not in str(caught.value)
    return caught.value


def echo(call: Call) -> Any:
    """What a careless endpoint says: all that it was told."""
    said = {"error": "invalid_client", "error_description": f"echoed {parse_qs(call.body.decode())}"}
    return call.reply(401, said)


async def test_a_refusal_is_told_without_its_text(server: Upstream) -> None:
    server.answer(echo)
    error = await refused(Tokens(), credential(server))
    assert isinstance(error, TokenRefused)
    assert "401" in str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b""),
        (200, b"<html>log in</html>"),
        (200, b'{"error": "echoed"}'),
        (200, b'{"access_token": ""}'),
        (200, b'{"access_token": "a\\r\\nX-Own: b"}'),
        (200, b'{"access_token": "t", "expires_in": [1]}'),
        (200, b"[" * 60_000),
        (200, b'{"access_token": "' + b"t" * MAX_ANSWER_BYTES),
        (201, b'{"access_token": "t"}'),
        (302, b'{"access_token": "t"}'),
        (500, b'{"access_token": "t"}'),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_whatever_is_no_token_is_none(server: Upstream, status: int, body: bytes) -> None:
    server.answer(lambda call: call.reply(status, body, {"Location": f"{server.url}/elsewhere"}))
    seen = len(server.calls)
    assert isinstance(await refused(Tokens(), credential(server)), TokenRefused)
    assert len(server.calls) == seen + 1, "a redirect would take the secret elsewhere"


async def test_a_token_that_comes_in_pieces_is_read_whole(server: Upstream) -> None:
    answer = json.dumps({"access_token": "t" * 3000, "expires_in": 3600}).encode()

    async def script(call: Call) -> None:
        await call.start_stream("application/json")
        for start in range(0, len(answer), 500):
            await call.chunk(answer[start : start + 500])
            await asyncio.sleep(0.01)
        await call.end_stream()

    server.answer(script)
    assert await got(Tokens(), credential(server)) == "Bearer " + "t" * 3000


async def test_nobody_there() -> None:
    away = EntraClient("tenant", "c", SECRET, f"http://127.0.0.1:{free_port()}")
    error = await refused(Tokens(), away)
    assert isinstance(error, ConnectFailed)
    assert "token endpoint" in str(error)


@pytest.mark.parametrize("script", [Call.cut, Call.reset])
async def test_a_connection_that_breaks(server: Upstream, script: Any) -> None:
    server.answer(script)
    assert isinstance(await refused(Tokens(), credential(server)), ConnectFailed)


async def test_an_answer_that_breaks_off(server: Upstream) -> None:
    async def script(call: Call) -> None:
        await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"access_token": "t"}')
        await asyncio.sleep(0.02)
        call.cut()

    server.answer(script)
    assert isinstance(await refused(Tokens(), credential(server)), ConnectFailed)


async def test_an_endpoint_that_says_nothing(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "FETCH_S", 0.05)
    server.answer(lambda call: call.until_hung_up(5))
    assert isinstance(await refused(Tokens(), credential(server)), TimeoutError)


async def test_all_that_wait_share_a_failure(server: Upstream) -> None:
    """Asking one after the other, the last of a hundred would wait for a hundred time-outs."""
    seen = len(server.calls)

    async def script(call: Call) -> None:
        await asyncio.sleep(0.05)
        await echo(call)

    server.answer(script)
    tokens = Tokens()
    found = await asyncio.gather(*(got(tokens, credential(server)) for _ in range(100)), return_exceptions=True)
    assert [type(error) for error in found] == [TokenRefused] * 100
    assert len(server.calls) == seen + 1


async def test_a_failure_is_not_kept(server: Upstream) -> None:
    server.answer(echo)
    tokens = Tokens()
    await refused(tokens, credential(server))
    server.answer(Counter())
    assert await got(tokens, credential(server)) == "Bearer token-1"


async def test_a_key_that_cannot_sign_is_a_refusal() -> None:
    account = ServiceAccount("a@b.test", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END", "https://oauth2.test/token")
    error = await refused(Tokens(), account)
    assert isinstance(error, TokenRefused)
    assert "private_key" in str(error)


async def test_proxies_of_the_environment_do_not_get_the_secret(
    server: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answer(Counter())
    assert await got(Tokens(), credential(server)) == "Bearer token-1"


async def test_cookies_are_not_kept(server: Upstream) -> None:
    async def script(call: Call) -> None:
        await call.reply(200, {"access_token": "t"}, {"Set-Cookie": "session=x"})

    server.answer(script)
    tokens = Tokens()
    for _ in range(2):
        await got(tokens, credential(server))
        tokens.forget(credential(server), "t")
    assert "cookie" not in server.calls[-1].headers
