"""Providers and backend models over the API: what is configured, and what each family of upstreams says it offers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sanic import Request

from appliance.api import providers
from appliance.api.accept import Appliance, Call, plain
from appliance.api.envelope import Page
from appliance.api.routes import ROUTES, Route
from appliance.errors import GatewayError
from appliance.grid.compile import compile_grid
from appliance.grid.grid import Grid
from appliance.grid.holder import Generation, Holder
from appliance.permissions import ROLES
from appliance.state.pools import Pools
from support.appliance import free_port
from support.build import SECRET, load_yaml, make_directory, make_grid, make_state, make_user
from support.upstream import Call as UpstreamCall
from support.upstream import Upstream

KEY = "upstream-key-0123456789"
TOKEN = "short-lived-token-0123456789"
ENTRA_SECRET = "entra-secret-0123456789"


def call_of(grid: Grid, pools: Pools | None = None, query: dict[str, str] | None = None, **params: str) -> Call:
    state = make_state(pools=cast(Any, pools))
    request = SimpleNamespace(args={name: [value] for name, value in (query or {}).items()}, body=b"")
    call = Call(Appliance(Holder(Generation(grid)), state), grid, cast(Request, request), "req_12345678")
    call.params = params
    return call


# -- what is configured -----------------------------------------------------------------------------------------------

LISTED = make_grid(
    """
providers:
  azure-eu: {type: azure, base_url: "https://acme.test", api_key: secret-of-azure}
  claude: {type: anthropic, api_key: secret-of-claude}
  demo: {type: demo}
  idle: {type: openai, api_key: secret-of-idle, api: responses}
  missing: {type: openai, api_key: "${env:NO_SUCH}"}
models:
  m:
    price: {input: "1.00", output: "2.00"}
    route:
      - {backend: "claude:claude-opus", cost: {input: "0.40", output: "1.25"}}
      - {backend: "azure-eu:gpt/4o prod", enabled: false}
  n: {price: free, route: [{backend: "claude:claude-opus"}, {backend: "missing:gpt-4o"}, {backend: "demo:demo"}]}
"""
)


async def test_providers_are_listed_by_name_with_what_they_are() -> None:
    page = await providers.list_providers(call_of(LISTED))
    assert page.cursor is None
    shown = {item["id"]: item for item in page.items}
    assert list(shown) == ["azure-eu", "claude", "demo", "idle", "missing"]
    assert shown["claude"] == {
        "id": "claude",
        "name": "claude",
        "provider_type": "anthropic",
        "dialect": "anthropic",
        "base_url": "https://api.anthropic.com",
        "status": "active",
        "unconfigured": None,
        "backend_count": 1,
    }
    assert (shown["idle"]["backend_count"], shown["idle"]["dialect"]) == (0, "responses")
    assert shown["missing"]["status"] == "unconfigured"
    assert shown["missing"]["unconfigured"] == "environment variable NO_SUCH is not set"
    assert "secret-of" not in str(page.items)


async def test_one_provider() -> None:
    one = await providers.get_provider(call_of(LISTED, provider_id="azure%2Deu"))
    assert (one["id"], one["provider_type"], one["base_url"]) == ("azure-eu", "azure", "https://acme.test")


@pytest.mark.parametrize("name", ["nobody", "", "CLAUDE", "claude/", "x" * 5000])
async def test_a_provider_that_is_not_there(name: str) -> None:
    for handler in (providers.get_provider, providers.discover):
        with pytest.raises(GatewayError) as caught:
            await handler(call_of(LISTED, provider_id=name))
        assert caught.value.code == "PROVIDER_NOT_FOUND"
        assert len(caught.value.message) < 400


async def pages(handler: Any, limit: int) -> list[list[str]]:
    found: list[list[str]] = []
    cursor = ""
    while True:
        page: Page = await handler(call_of(LISTED, query={"limit": str(limit), "cursor": cursor}))
        found.append([item["id"] for item in page.items])
        if page.cursor is None:
            return found
        cursor = page.cursor


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("handler", [providers.list_providers, providers.list_backends])
async def test_pages_put_together_are_the_whole_list(handler: Any, limit: int) -> None:
    found = await pages(handler, limit)
    assert all(len(page) == limit for page in found[:-1])
    assert found[-1]
    assert [name for page in found for name in page] == (await pages(handler, 100))[0]


async def test_backend_models_are_listed_with_the_models_they_serve() -> None:
    page = await providers.list_backends(call_of(LISTED))
    shown = {item["id"]: item for item in page.items}
    assert list(shown) == ["azure-eu:gpt/4o prod", "claude:claude-opus", "demo:demo", "missing:gpt-4o"]
    opus = shown["claude:claude-opus"]
    assert {name: opus[name] for name in ("uri", "provider_id", "provider_type", "upstream_model", "models")} == {
        "uri": "claude:claude-opus",
        "provider_id": "claude",
        "provider_type": "anthropic",
        "upstream_model": "claude-opus",
        "models": ["m", "n"],
    }
    assert (opus["input_cost_per_mtok"], opus["output_cost_per_mtok"]) == ("0.40", "1.25")
    assert "embeddings" in opus["lacks"]
    health = {name: (item["enabled"], item["health_status"]) for name, item in shown.items()}
    assert health == {
        "azure-eu:gpt/4o prod": (False, "unavailable"),
        "claude:claude-opus": (True, "healthy"),
        "demo:demo": (True, "healthy"),
        "missing:gpt-4o": (True, "unavailable"),
    }


async def test_one_backend_model_by_its_encoded_id() -> None:
    one = await providers.get_backend(call_of(LISTED, backend_id="azure-eu%3Agpt%2F4o%20prod"))
    assert one["id"] == "azure-eu:gpt/4o prod"
    with pytest.raises(GatewayError) as caught:
        await providers.get_backend(call_of(LISTED, backend_id="claude:nope"))
    assert caught.value.code == "BACKEND_NOT_FOUND"


# -- what a provider offers -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made = Pools()
    yield made
    await made.close()


PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()


def grid_of(upstream: Upstream, entry: str, *, url: str = "") -> Grid:
    """Provider `up`, with model `known` as its one backend."""
    account = {"client_email": "a@b.test", "private_key": PEM, "token_uri": f"{upstream.url}/token"}
    text = (
        f"providers: {{up: {{{entry.replace('@', url or upstream.url)}}}}}\n"
        'models: {m: {price: free, route: [{backend: "up:known"}]}}\n'
    )
    return compile_grid(load_yaml(text, {"ACCOUNT": json.dumps(account)}), 1)


async def discovered(upstream: Upstream, pools: Pools, entry: str, **options: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        return await providers.discover(call_of(grid_of(upstream, entry, **options), pools, provider_id="up"))


CUSTOM = f"type: custom, base_url: '@/v1', api_key: {KEY}"
ENTRA = f"entra: {{tenant_id: t, client_id: c, client_secret: {ENTRA_SECRET}, authority: '@'}}"
VERTEX = "type: google, base_url: '@', vertex: {project: p, location: global, service_account: '${env:ACCOUNT}'}"

FAMILIES: dict[str, tuple[str, str, dict[str, str], Any, list[dict[str, Any]]]] = {
    "openai": (
        CUSTOM,
        "/v1/models",
        {"authorization": f"Bearer {KEY}"},
        {"object": "list", "data": [{"id": "known", "owned_by": "me"}, {"id": "b"}, {"id": "a", "created": 1}]},
        [
            {"id": "a", "configured": False},
            {"id": "b", "configured": False},
            {"id": "known", "owned_by": "me", "configured": True},
        ],
    ),
    "anthropic": (
        f"type: anthropic, base_url: '@', api_key: {KEY}",
        "/v1/models?limit=1000",
        {"x-api-key": KEY, "anthropic-version": "2023-06-01"},
        {"data": [{"type": "model", "id": "known", "display_name": "Known"}], "has_more": False},
        [{"id": "known", "display_name": "Known", "configured": True}],
    ),
    "gemini": (
        f"type: google, base_url: '@', api_key: {KEY}",
        "/v1beta/models?pageSize=1000",
        {"x-goog-api-key": KEY},
        {"models": [{"name": "models/known", "displayName": "Known", "inputTokenLimit": 5, "outputTokenLimit": 3}]},
        [
            {
                "id": "known",
                "display_name": "Known",
                "context_window": 5,
                "max_output_tokens": 3,
                "configured": True,
            }
        ],
    ),
    "vertex": (
        VERTEX,
        "/v1beta1/publishers/google/models?pageSize=1000",
        {"authorization": f"Bearer {TOKEN}"},
        {"publisherModels": [{"name": "publishers/google/models/known"}]},
        [
            {
                "id": "known",
                "display_name": None,
                "context_window": None,
                "max_output_tokens": None,
                "configured": True,
            }
        ],
    ),
    "azure": (
        f"type: azure, base_url: '@', api_key: {KEY}",
        "/openai/models?api-version=2024-10-21",
        {"api-key": KEY},
        {"data": [{"id": "known"}]},
        [{"id": "known", "configured": True}],
    ),
    "azure with Entra": (
        f"type: azure, base_url: '@/openai/v1', {ENTRA}",
        "/openai/v1/models",
        {"authorization": f"Bearer {TOKEN}"},
        {"data": [{"id": "known"}]},
        [{"id": "known", "configured": True}],
    ),
    "together, whose list has no frame": (
        f"type: together, base_url: '@/v1', api_key: {KEY}",
        "/v1/models",
        {"authorization": f"Bearer {KEY}"},
        [{"id": "known", "display_name": "Known", "context_length": 4096}],
        [{"id": "known", "display_name": "Known", "context_length": 4096, "configured": True}],
    ),
    "a server of one's own without a key": (
        "type: vllm, base_url: '@/v1'",
        "/v1/models",
        {},
        {"data": [{"id": "known", "max_model_len": 32768}]},
        [{"id": "known", "max_model_len": 32768, "configured": True}],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
async def test_each_family_is_asked_in_its_own_way(upstream: Upstream, pools: Pools, family: str) -> None:
    entry, path, headers, body, items = FAMILIES[family]

    async def script(call: UpstreamCall) -> None:
        if "token" in call.path:
            await call.reply(200, {"access_token": TOKEN, "expires_in": 3600})
        else:
            await call.reply(200, body)

    upstream.answer(script)
    found = await discovered(upstream, pools, entry)
    assert found == {"provider": "up", "items": items}
    asked = upstream.calls[-1]
    assert (asked.path, asked.body) == (path, b"")
    assert {name: asked.headers[name] for name in headers} == headers
    if not headers:
        assert "authorization" not in asked.headers


# -- what goes wrong --------------------------------------------------------------------------------------------------


async def refused(upstream: Upstream, pools: Pools, entry: str = CUSTOM, **options: Any) -> str:
    with pytest.raises(GatewayError) as caught:
        await discovered(upstream, pools, entry, **options)
    error = caught.value
    assert error.code == "PROVIDER_DISCOVERY_ERROR"
    assert "up" in error.message
    for secret in (KEY, TOKEN, ENTRA_SECRET, PEM[40:80]):
        assert secret[:8] not in error.message
    return error.message


def echo(status: int) -> Any:
    """An upstream that repeats what it was told in confidence."""

    async def script(call: UpstreamCall) -> None:
        if "token" in call.path:
            await call.reply(200, {"access_token": TOKEN, "expires_in": 3600})
        else:
            await call.reply(status, {"error": {"message": f"no entry with {call.headers}", "type": "x"}})

    return script


@pytest.mark.parametrize("entry", [CUSTOM, VERTEX, f"type: azure, base_url: '@', {ENTRA}"])
@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 429, 500, 503])
async def test_an_error_is_told_with_its_status_and_without_secrets(
    upstream: Upstream, pools: Pools, status: int, entry: str
) -> None:
    upstream.answer(echo(status))
    message = await refused(upstream, pools, entry)
    assert f"answered {status}" in message
    assert "no entry with" in message
    assert "[redacted]" in message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"{}",
        b"3",
        b'"data"',
        b'{"data": 3}',
        b'{"data": [3]}',
        b'{"data": [{}]}',
        b'{"data": ["a"]}',
        b'{"models": []}',
        b'{"data": [{"id": 3}]}',
        b'{"data": [{"id": null}]}',
        b'{"data": [{"id": ["a"]}]}',
        b"[" * 100_000,
        b'{"data": [{"id": "\xff"}]}',
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_what_is_no_list_is_said_to_be_none(upstream: Upstream, pools: Pools, body: bytes) -> None:
    upstream.answer(lambda call: call.reply(200, body))
    assert "no list of models" in await refused(upstream, pools)


async def test_a_list_may_be_empty(upstream: Upstream, pools: Pools) -> None:
    upstream.answer(lambda call: call.reply(200, {"data": []}))
    assert await discovered(upstream, pools, CUSTOM) == {"provider": "up", "items": []}


async def test_an_endless_list_is_cut(upstream: Upstream, pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "MAX_LIST_BYTES", 100_000)

    async def script(call: UpstreamCall) -> None:
        await call.start_stream("application/json")
        while not call.hung_up:
            await call.chunk(b" " * 10_000)

    upstream.answer(script)
    assert "no list of models" in await refused(upstream, pools)


async def test_nobody_there(upstream: Upstream, pools: Pools) -> None:
    away = f"http://127.0.0.1:{free_port()}"
    assert "could not be asked" in await refused(upstream, pools, url=away)


@pytest.mark.parametrize("script", [UpstreamCall.cut, UpstreamCall.reset])
async def test_a_connection_that_breaks(upstream: Upstream, pools: Pools, script: Any) -> None:
    upstream.answer(script)
    assert "could not be asked" in await refused(upstream, pools)


async def test_an_answer_that_breaks_off(upstream: Upstream, pools: Pools) -> None:
    async def script(call: UpstreamCall) -> None:
        await call.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"data": []}')
        await asyncio.sleep(0.02)
        call.cut()

    upstream.answer(script)
    assert "could not be asked" in await refused(upstream, pools)


async def test_a_provider_that_says_nothing(upstream: Upstream, pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "DISCOVER_S", 0.1)
    upstream.answer(lambda call: call.until_hung_up(5))
    assert "gave no list within" in await refused(upstream, pools)


@pytest.mark.parametrize("entry", [VERTEX, f"type: azure, base_url: '@', {ENTRA}"])
async def test_no_token(upstream: Upstream, pools: Pools, entry: str) -> None:
    seen = len(upstream.calls)
    upstream.answer(lambda call: call.reply(401, {"error": call.body.decode()}))
    assert "could not be asked" in await refused(upstream, pools, entry)
    assert ["token" in call.path for call in upstream.calls[seen:]] == [True]


async def test_a_token_that_was_refused_is_not_used_again(upstream: Upstream, pools: Pools) -> None:
    entry = f"type: azure, base_url: '@', {ENTRA}"
    call = call_of(grid_of(upstream, entry), pools, provider_id="up")
    seen = len(upstream.calls)
    upstream.answer(echo(401))
    for _ in range(2):
        with pytest.raises(GatewayError):
            await providers.discover(call)
    assert ["token" in each.path for each in upstream.calls[seen:]] == [True, False, True, False]


async def test_who_is_unconfigured_or_inside_is_not_asked(pools: Pools) -> None:
    for name, words in (("missing", "NO_SUCH is not set"), ("demo", "answers to every model name")):
        with pytest.raises(GatewayError, match=words) as caught:
            await providers.discover(call_of(LISTED, pools, provider_id=name))
        assert caught.value.code == "PROVIDER_DISCOVERY_ERROR"


# -- who may ----------------------------------------------------------------------------------------------------------

OURS = [route for route in ROUTES if route.path.startswith(("/v1/providers", "/v1/backends"))]


@pytest.mark.parametrize("route", OURS, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("role", ROLES)
async def test_who_may_not_is_refused_and_who_may_learns_no_secret(route: Route, role: str) -> None:
    state = make_state(directory=make_directory([make_user(roles=(role,))]))
    state.log = cast(Any, SimpleNamespace(write=lambda fields: None))
    fields: dict[str, Any] = {
        "headers": {"authorization": f"Bearer {SECRET}"},
        "ctx": SimpleNamespace(),
        "args": {},
        "body": b"",
        "path": route.path,
        "method": route.method,
        "ip": "127.0.0.1",
        "stream": None,
        "transport": None,
    }
    known = {"provider_id": "demo", "backend_id": "demo:demo"}
    params = {name: value for name, value in known.items() if name in route.path}
    handle = plain(route, Appliance(Holder(Generation(LISTED)), state))
    response = await handle(cast(Request, SimpleNamespace(**fields)), **params)
    assert response
    assert (response.status == 403) == (route.permission not in ROLES[role])
    assert b"secret-of" not in (response.body or b"")


def test_these_urls_are_not_for_everybody() -> None:
    assert {route.path.split("/")[-1] for route in OURS} >= {"providers", "discover", "backends"}
    assert not {route.permission for route in OURS} & {"any", "public", "models:use", "models:list"}
    assert {route.permission for route in OURS if route.method != "GET"} == {"models:manage"}
