"""Canary credentials of azure, google and Vertex AI, at every inference URL they serve: grep all that is left behind.

The upstream is hostile, as in test_secrets.py, and so are the endpoints that give tokens: both repeat what they got.
The tokens that we get from them are secrets too.
"""

from __future__ import annotations

import base64
import json
import textwrap
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from support import faults
from support.appliance import Answer, Gateway, running
from support.faults import Play
from support.inference_urls import URLS, models
from support.upstream import Call, Upstream

AZURE_KEY = "azure-canary-key-3f9b7d5c1e8a"
GOOGLE_KEY = "google-canary-key-7d1c9e5b3a2f"
ENTRA_SECRET = "client-canary-secret-2b8d6f4a9c"
OPENAI_KEY = "openai-canary-key-5e7a9c1d3b"
TOKENS = {"entra": "entra-token-canary-4c6e8a1b3d5f", "vertex": "vertex-token-canary-9d7b5f3e1a2c"}
HALF = 12
"""A secret cut short is a secret still. Every canary is told from the others by its first 8 characters, so that what
scrubs one of them does not hide a leak of another."""


def _private_key() -> str:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


PRIVATE_KEY = _private_key()
KEY_LINES = PRIVATE_KEY.splitlines()[1:-1]
SECRETS = {
    "azure's key": AZURE_KEY,
    "google's key": GOOGLE_KEY,
    "the key of a Responses provider": OPENAI_KEY,
    "Entra's client secret": ENTRA_SECRET,
    **{f"the token from {name}": token for name, token in TOKENS.items()},
    # The first line of every RSA key begins with the same bytes.
    **{f"line {number} of the private key": line for number, line in enumerate(KEY_LINES) if number},
}
WELL_GUARDED = ("authorization", "api-key", "x-goog-api-key")


def heard(call: Call) -> str:
    """All that the upstream was told in confidence."""
    return " ".join(f"{name}: {call.headers[name]}" for name in WELL_GUARDED if name in call.headers)


def error_with(status: int) -> Play:
    def play(call: Call) -> Any:
        said = f"you sent {heard(call)}"
        body = {"error": {"message": said, "type": said, "code": said, "param": said, "status": said}}
        return call.reply(status, body, {"X-Echo": heard(call), "WWW-Authenticate": heard(call)})

    return play


def text_with(status: int) -> Play:
    return lambda call: call.reply(status, f"<h1>Oops</h1><p>{heard(call)}</p>".encode(), {"Content-Type": "text/html"})


def long_error(pad: int) -> Play:
    """Messages are cut at some length: the cut goes through the secret's middle."""
    return lambda call: call.reply(429, {"error": {"message": "x" * pad + " " + heard(call)}})


def event_with_error(call: Call) -> Any:
    body = json.dumps({"error": {"message": heard(call), "status": heard(call), "code": 500}})
    return call.stream([f"data: {body}\n\n".encode()])


PLAYS: dict[str, Play] = {
    **{f"error-{status}": error_with(status) for status in (400, 401, 403, 404, 422, 429, 500, 503)},
    **{f"text-{status}": text_with(status) for status in (200, 400, 401, 500)},
    **{f"long-{pad}": long_error(pad) for pad in (140, 160, 250, 265)},
    "json-of-another-shape": lambda call: call.reply(200, {"you sent": heard(call)}),
    "error-in-200": lambda call: call.reply(200, {"error": {"message": heard(call), "status": heard(call)}}),
    "event-with-error": event_with_error,
    "garbage-event": lambda call: call.stream([f"data: {heard(call)}\n\n".encode()]),
    "no-http": lambda call: call.raw(f"{heard(call)}\r\n\r\n".encode()),
    "bad-header": lambda call: call.raw(f"HTTP/1.1 200 OK\r\nBad Header {heard(call)}\r\n\r\n".encode()),
    "redirect": lambda call: call.reply(302, b"", {"Location": f"http://127.0.0.1:9/?{urllib.parse.quote(heard(call))}"}),
    "cut": faults.half_the_body_then_close,
}  # fmt: skip


class Hostile:
    """The upstream's script: `name` is the play for calls, `token` what the token endpoints do."""

    def __init__(self) -> None:
        self.name = ""
        self.token = "given"
        self.told: dict[str, str] = {}
        """What was sent to each token endpoint, to know that the secrets really came that far."""

    def __call__(self, call: Call) -> Any:
        if "/oauth2/" in call.path or call.path == "/token":
            return self._give_token(call, "entra" if "/oauth2/" in call.path else "vertex")
        if call.path.split("?")[0].endswith("/models"):
            return error_with(403)(call)
        return PLAYS[self.name](call)

    def _give_token(self, call: Call, name: str) -> Any:
        self.told[name] = call.body.decode()
        said = urllib.parse.unquote_plus(call.body.decode())
        if self.token == "refused":
            return call.reply(401, {"error": "invalid_client", "error_description": f"you sent {said}"})
        if self.token == "garbage":
            return call.reply(200, said.encode())
        return call.reply(200, {"access_token": TOKENS[name], "expires_in": 3600})


PROVIDERS = {
    "azure": '{type: azure, base_url: "UP", api_key: "${env:AZURE}"}',
    "azure-v1": '{type: azure, base_url: "UP/openai/v1", api_key: "${env:AZURE}"}',
    "entra": '{type: azure, base_url: "UP", entra: {tenant_id: t, client_id: c, authority: "UP", '
    'client_secret: "${env:ENTRA}"}}',
    "google": '{type: google, base_url: "UP", api_key: "${env:GOOGLE}"}',
    "vertex": '{type: google, base_url: "UP", vertex: {project: p, location: global, '
    'service_account: "${env:VERTEX}"}}',
    "responses": '{type: openai, api: responses, base_url: "UP/v1", api_key: "${env:OPENAI}"}',
}
KINDS = ["oai-chat", "oai-responses", "anthropic-messages", "anthropic-count", "embed", "oai-images", "synthesize",
         "oai-transcriptions"]  # fmt: skip
CASES = [(provider, kind, play) for provider in PROVIDERS for kind in KINDS for play in PLAYS]


@pytest.fixture(scope="module")
def hostile() -> Hostile:
    return Hostile()


@pytest.fixture(scope="module")
def upstream(hostile: Hostile) -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(hostile)
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The secrets come by way of the environment, so that no file of ours holds them from the start."""
    account = {"client_email": "a@b.example", "private_key": PRIVATE_KEY, "token_uri": f"{upstream.url}/token"}
    providers = "\n".join(f"  {name}: {entry.replace('UP', upstream.url)}" for name, entry in PROVIDERS.items())
    named = "\n".join(models("free", f"{name}:x", f"{name}-") for name in PROVIDERS)
    env = {
        "AZURE": AZURE_KEY,
        "GOOGLE": GOOGLE_KEY,
        "ENTRA": ENTRA_SECRET,
        "OPENAI": OPENAI_KEY,
        "VERTEX": json.dumps(account),
    }
    yaml_text = f"providers:\n{providers}\nmodels:\n{named}\n"
    with running(yaml_text, tmp_path_factory.mktemp("secrets-providers"), env) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def answers(gateway: Gateway, hostile: Hostile) -> list[tuple[str, Answer]]:
    """The token endpoints' failures first, then every play at every provider and URL."""
    found = []
    for token in ("refused", "garbage"):
        hostile.token = token
        for provider in ("entra", "vertex"):
            found.append((f"{provider} with its token {token}", URLS["oai-chat"].post(gateway, f"{provider}-chat")))
            discovered = gateway.post(f"/v1/providers/{provider}/discover", {})
            found.append((f"discovery at {provider} with its token {token}", discovered))
    hostile.token = "given"
    for provider, kind, play in CASES:
        hostile.name = play
        url = URLS[kind]
        for members in [{}, {"stream": True}] if url.streams else [{}]:
            found.append(
                (f"{provider} {kind} {play} {members}", url.post(gateway, f"{provider}-{url.modality}", members))
            )
    found += [(f"discovery at {name}", gateway.post(f"/v1/providers/{name}/discover", {})) for name in PROVIDERS]
    return found


def forms(secret: str) -> list[bytes]:
    """The secret as it may show: its beginning (so a cut one is found too), base64, and percent-encoded."""
    plain = secret.encode()
    encoded = [base64.b64encode(plain), base64.urlsafe_b64encode(plain), urllib.parse.quote(secret).encode()]
    return [plain[:HALF], *(form.rstrip(b"=") for form in encoded)]


def leaks(where: str, data: bytes) -> list[str]:
    found = []
    for name, secret in SECRETS.items():
        for form in forms(secret):
            if (place := data.find(form)) >= 0:
                found.append(f"{name} in {where}: {data[max(0, place - 80) : place + 40]!r}")
    return found


def test_no_answer_holds_a_secret(answers: list[tuple[str, Answer]]) -> None:
    found: list[str] = []
    for name, answer in answers:
        found += leaks(f"the body of {name}", answer.body)
        found += leaks(f"the headers of {name}", str(answer.headers).encode())
    assert not found, f"{len(found)} leaks:\n" + "\n".join(found[:30])


@pytest.mark.usefixtures("answers")
def test_the_secrets_really_came_as_far_as_they_have_to(upstream: Upstream, hostile: Hostile) -> None:
    """Else the other tests would say nothing."""
    got = " ".join(heard(call) for call in upstream.calls)
    for secret in (AZURE_KEY, GOOGLE_KEY, OPENAI_KEY, *TOKENS.values()):
        assert got.count(secret) > 50, secret
    assert ENTRA_SECRET in hostile.told["entra"]
    assert "assertion=" in hostile.told["vertex"]


@pytest.mark.usefixtures("answers")
def test_no_credential_stands_in_a_url(upstream: Upstream) -> None:
    """URLs are written into logs, of proxies too."""
    found = {leak for call in upstream.calls for leak in leaks("the URL", call.path.encode())}
    assert not found


PAGES = [
    *("/health/detailed", "/metrics", "/v1/config", "/v1/models", "/v1/providers", "/v1/backends"),
    *("/v1/accounting/usage?limit=1000", "/v1/accounting/usage/summary", "/v1/accounting/export?format=ndjson"),
    *(f"/v1/providers/{name}" for name in PROVIDERS),
]


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("path", PAGES)
def test_no_page_shows_a_secret(gateway: Gateway, path: str) -> None:
    answer = gateway.get(path)
    assert answer.status == 200
    assert leaks(path, answer.body) == []


@pytest.mark.usefixtures("answers")
def test_nothing_written_to_disk_holds_a_secret(gateway: Gateway) -> None:
    """Runs last: stdout, stderr, database with its side files, journal; then all of it again after an orderly end."""
    gateway.usage()
    for moment in ("while running", "after the end"):
        looked_at, found = set(), []
        for path in sorted(gateway.folder.rglob("*")):
            if path.is_file() and path.name not in ("admin.key", "lock"):
                looked_at.add(path.name)
                for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
                    found += leaks(f"{path.name}:{number} {moment}", line)
        assert not found, textwrap.shorten("\n".join(found), 8000)
        assert {"stdout.log", "stderr.log", "scaigrid.db"} <= looked_at
        gateway.stop()
