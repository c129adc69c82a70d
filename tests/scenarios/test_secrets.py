"""Canary secrets in every place a secret may stand, every failure mode, and then: grep everything that was left behind.

The upstream is hostile: it repeats the credentials that it got in bodies, headers, streams and names of its own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, free_port, running
from support.calling import SURFACES
from support.faults import Play, begins
from support.upstream import DONE, Call, Upstream, chunk
from support.wire import Wire, request_bytes

PROVIDER_KEY = "canary-provider-key-5b1f7c2e9d"
HEADER_VALUE = "canary-header-value-8e2a4d6c1b"
YAML_KEY = "sgk_canary-yaml-key-6c4e8a2f1d9b7c5e"
WRONG_KEY = "sgk_canary-wrong-key-9a7c5e3b1d8f6a4c"
HALF = 12
"""A secret cut short is a secret still. Every canary is told from the others by its first 12 characters."""
SECRETS = {  # where it stands: the secret
    "provider api_key": PROVIDER_KEY,
    "provider header": HEADER_VALUE,
    "caller's key": YAML_KEY,
    "a wrong key": WRONG_KEY,
}


def heard(call: Call) -> str:
    """All that the upstream was told in confidence."""
    names = ("authorization", "x-api-key", "x-canary")
    return " ".join(f"{name}: {call.headers[name]}" for name in names if name in call.headers)


def error_with(status: int) -> Play:
    """An error that repeats the credentials, in words and in a header."""

    def play(call: Call) -> Any:
        said = f"you sent {heard(call)}"
        body = {"error": {"message": said, "type": said, "code": said, "param": said}}
        return call.reply(status, body, {"X-Echo": heard(call), "WWW-Authenticate": heard(call)})

    return play


def text_with(status: int) -> Play:
    return lambda call: call.reply(status, f"<h1>Oops</h1><p>{heard(call)}</p>".encode(), {"Content-Type": "text/html"})


def first_event(call: Call) -> Any:
    return call.stream([chunk(None, error={"message": heard(call), "type": heard(call)}), DONE])


def named_event(call: Call) -> Any:
    body = json.dumps({"type": "error", "error": {"type": heard(call), "message": heard(call)}})
    return call.stream([f"event: error\ndata: {body}\n\n".encode()])


def garbage_event(call: Call) -> Any:
    return call.stream([f"data: {heard(call)}\n\n".encode()])


async def later_event(call: Call) -> None:
    await call.chunk(chunk(None, error={"message": heard(call), "type": heard(call)}))
    await call.end_stream()


async def later_garbage(call: Call) -> None:
    await call.chunk(f"data: {heard(call)}\n\n".encode())
    await call.end_stream()


PADS = (10, 40, 140, 160, 250, 265)
"""Messages are cut to 80, 200 or 300 characters: these make the cut go through the secret's middle."""


def long_error(pad: int) -> Play:
    return lambda call: call.reply(429, {"error": {"message": "x" * pad + " " + heard(call)}})


def long_garbage(pad: int) -> Play:
    return lambda call: call.stream([b"data: " + b"x" * pad + f" {heard(call)}\n\n".encode()])


def long_event(pad: int) -> Play:
    async def play(call: Call) -> None:
        await call.chunk(chunk(None, error={"message": "x" * pad + " " + heard(call)}))
        await call.end_stream()

    return begins(play)


def long_nonsense(pad: int) -> Play:
    return lambda call: call.raw(b"x" * pad + f" {heard(call)}\r\n\r\n".encode())


PLAYS: dict[str, Play] = {
    **{f"error-{status}": error_with(status) for status in (400, 401, 403, 404, 408, 413, 422, 429, 500, 503)},
    **{f"text-{status}": text_with(status) for status in (400, 401, 500)},
    "garbage-200": text_with(200),
    "json-without-choices": lambda call: call.reply(200, {"you sent": heard(call)}),
    "error-in-200": lambda call: call.reply(200, {"error": {"message": heard(call)}}),
    "no-http": lambda call: call.raw(f"{heard(call)}\r\n\r\n".encode()),
    "bad-header": lambda call: call.raw(f"HTTP/1.1 200 OK\r\nBad Header {heard(call)}\r\n\r\n".encode()),
    "bad-length": lambda call: call.raw(f"HTTP/1.1 200 OK\r\nContent-Length: {heard(call)}\r\n\r\n".encode()),
    "redirect": lambda call: call.reply(
        302, b"", {"Location": f"http://127.0.0.1:9/?{urllib.parse.quote(heard(call))}"}
    ),
    "bad-chunking": lambda call: call.raw(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{heard(call)}\r\n".encode()
    ),
    "reset": faults.reset_before_headers,
    "cut": faults.half_the_body_then_close,
    "first-event": first_event,
    "named-event": named_event,
    "garbage-event": garbage_event,
    "later-event": begins(later_event),
    "later-garbage": begins(later_garbage),
    "good": lambda call: faults.good(call),
    **{f"long-error-{pad}": long_error(pad) for pad in PADS},
    **{f"long-garbage-{pad}": long_garbage(pad) for pad in PADS},
    **{f"long-event-{pad}": long_event(pad) for pad in PADS},
    **{f"long-nonsense-{pad}": long_nonsense(pad) for pad in PADS},
}
DIALECTS = ("openai", "anthropic")
MODELS = [f"{play}/{dialect}" for play in PLAYS for dialect in DIALECTS]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(faults.by_name(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The secrets come by way of the environment, so that no file of ours holds them from the start."""
    secret = (
        'timeouts: {first_byte: 3s, idle: 3s}, api_key: "${env:PROVIDER_KEY}", headers: {X-Canary: "${env:HEADER}"}'
    )
    key = '{name: canary, key: "${env:USER_KEY}"}'
    models = "\n".join(
        f'  {name}: {{price: free, route: {{retries: 0, targets: [{{backend: "{name.partition("/")[2]}:{name}"}}]}}}}'
        for name in MODELS
    )
    yaml_text = f"""
providers:
  openai: {{type: custom, base_url: "{upstream.url}/v1", {secret}}}
  anthropic: {{type: anthropic, base_url: "{upstream.url}", {secret}}}
  dead: {{type: custom, base_url: "http://127.0.0.1:{free_port()}/v1", {secret}}}
models:
  dead: {{price: free, route: {{retries: 0, targets: [{{backend: "dead:x"}}]}}}}
{models}
partners:
  p: {{tenants: {{t: {{users: {{u: {{roles: [tenant_admin], api_keys: [{key}]}}}}}}}}}}
"""
    env = {"PROVIDER_KEY": PROVIDER_KEY, "HEADER": HEADER_VALUE, "USER_KEY": YAML_KEY}
    with running(yaml_text, tmp_path_factory.mktemp("secrets"), env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def answers(gateway: Gateway) -> list[tuple[str, Answer]]:
    """Every failure mode, on both surfaces and both shapes, asked with the canary key."""
    found = []
    for model in [*MODELS, "dead", "does-not-exist"]:
        for surface, path in SURFACES.items():
            for stream in (False, True):
                body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
                name = f"{model} {surface} {'stream' if stream else 'whole'}"
                found.append((name, gateway.post(path, body, key=YAML_KEY)))
    return found


@pytest.fixture(scope="module")
def created(gateway: Gateway) -> str:
    """A key made at run time: its secret is shown once, at its creation."""
    answer = gateway.post("/v1/api-keys", {"name": "made"}, key=YAML_KEY)
    secret: str = answer.json()["data"]["key"]
    assert gateway.get("/v1/me", key=secret).status == 200
    gateway.request("DELETE", f"/v1/api-keys/{answer.json()['data']['id']}", key=YAML_KEY)
    assert gateway.get("/v1/me", key=secret).status == 401
    return secret


@pytest.fixture(scope="module")
def misused(gateway: Gateway) -> list[tuple[str, bytes]]:
    """Keys where they do not belong, and requests that go wrong with a key in them."""
    found: list[tuple[str, bytes]] = []
    for header in (f"Bearer {WRONG_KEY}", f"Basic {WRONG_KEY}", WRONG_KEY):
        found.append((header[:6], gateway.get("/v1/me", key=None, headers={"Authorization": header}).body))
    body = {"model": "good/openai", "messages": [{"role": "user", "content": "hi"}]}
    found += [
        ("bad body", gateway.post("/v1/inference/chat", b"{", key=YAML_KEY).body),
        ("unknown url", gateway.get("/v1/nothing", key=YAML_KEY).body),
        ("wrong method", gateway.get("/v1/inference/chat", key=YAML_KEY).body),
        ("too large", gateway.post("/v1/inference/chat", b" " * 21_000_000, key=YAML_KEY).body),
        ("not allowed", gateway.get("/v1/nothing", key=YAML_KEY).body),
    ]
    for place in (f"Bearer {YAML_KEY}\r\nBroken", f"Bearer {YAML_KEY}\r\nX-Bomb: {'x' * 50_000}"):
        with Wire(gateway.url) as wire:
            wire.try_to_send(request_bytes("/v1/inference/chat", body, "none", {"Authorization": place}))
            wire.closed_within(0.5)
            found.append(("broken head", wire.received))
    return found


def forms(secret: str) -> list[bytes]:
    """The secret as it may show: its beginning (so a cut one is found too), base64, and percent-encoded."""
    plain = secret.encode()
    encoded = [base64.b64encode(plain), base64.urlsafe_b64encode(plain), urllib.parse.quote(secret).encode()]
    return [plain[:HALF], *(form.rstrip(b"=") for form in encoded)]


def leaks(where: str, data: bytes, secrets: dict[str, str]) -> list[str]:
    """Each secret that stands in the data, with what stands around it."""
    found = []
    for name, secret in secrets.items():
        for form in forms(secret):
            if (place := data.find(form)) >= 0:
                found.append(f"{name} in {where}: {data[max(0, place - 80) : place + 40]!r}")
    return found


def test_no_answer_holds_a_secret(answers: list[tuple[str, Answer]]) -> None:
    found: list[str] = []
    for name, answer in answers:
        found += leaks(f"the body of {name}", answer.body, SECRETS)
        found += leaks(f"the headers of {name}", str(answer.headers).encode(), SECRETS)
    assert not found, "\n".join(found)


def test_no_answer_to_a_misused_key_holds_it(misused: list[tuple[str, bytes]]) -> None:
    assert [leak for name, data in misused for leak in leaks(f"the answer to {name}", data, SECRETS)] == []


def test_the_upstream_got_its_credentials_and_none_of_ours(answers: list[Any], upstream: Upstream) -> None:
    assert len(upstream.calls) >= len(MODELS) * 4 - 8, "the failure modes were really played"
    for call in upstream.calls:
        assert PROVIDER_KEY in call.headers.get("authorization", "") + call.headers.get("x-api-key", "")
        assert call.headers["x-canary"] == HEADER_VALUE
        told = json.dumps(dict(call.headers)).encode() + call.body
        assert leaks("what the upstream got", told, {"caller's key": YAML_KEY}) == []


PAGES = [
    *("/health/detailed", "/metrics", "/v1/config", "/v1/me", "/v1/users", "/v1/api-keys", "/v1/models"),
    *("/v1/accounting/usage?limit=1000", "/v1/accounting/usage/summary"),
]


@pytest.mark.usefixtures("answers", "misused")
@pytest.mark.parametrize("path", PAGES)
def test_no_page_shows_a_secret(gateway: Gateway, created: str, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status == 200
    assert leaks(path, answer.body, SECRETS | {"a created key": created, "the admin's key": gateway.admin_key}) == []


@pytest.mark.usefixtures("answers", "misused")
def test_nothing_written_to_disk_holds_a_secret(gateway: Gateway, created: str) -> None:
    """Runs last: stdout, stderr, database with its side files, journal; then all of it again after an orderly end."""
    secrets = SECRETS | {"a created key": created, "the admin's key": gateway.admin_key}
    gateway.usage()
    for moment in ("while running", "after the end"):
        looked_at, found = set(), []
        for path in sorted(gateway.folder.rglob("*")):
            if path.is_file() and path.name not in ("admin.key", "lock"):
                looked_at.add(path.name)
                # By line, so that each place shows and not only the first.
                for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
                    found += leaks(f"{path.name}:{number} {moment}", line, secrets)
        assert not found, "\n".join(found)
        assert {"stdout.log", "stderr.log", "scaigrid.db"} <= looked_at
        gateway.stop()
    digest = hashlib.sha256(created.encode()).hexdigest().encode()
    assert digest in (gateway.data_dir / "scaigrid.db").read_bytes(), "the digest is what is kept"
