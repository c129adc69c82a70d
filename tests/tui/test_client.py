"""The HTTP client against the real appliance, and against servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from support.appliance import ROOT, Gateway, free_port
from support.cli import scaigrid
from support.upstream import Call, Upstream
from tui.client import Client, ClientError, segment
from tui.locate import Place

ASK = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}], "stream": True}
DEMO = """
providers: {demo: {type: demo}}
models: {alpha: {price: free, route: [{backend: "demo:demo"}]}}
"""


@pytest.fixture
def place(gateway: Gateway) -> Place:
    return Place(gateway.url, None, gateway.admin_key, "the test")


@pytest.fixture
def stranger() -> Iterator[Upstream]:
    """A server that is no appliance."""
    with Upstream() as upstream:
        yield upstream


def at(upstream: Upstream) -> Place:
    return Place(upstream.url, None, "sgk_x", "--key")


async def failure(place: Place, path: str = "/v1/me", **options: Any) -> str:
    async with Client(place, **options) as client:
        with pytest.raises(ClientError) as caught:
            await client.get(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def said(place: Place) -> list[dict[str, Any]]:
    async with Client(place) as client, client.stream("/v1/inference/chat", ASK) as stream:
        return [chunk async for chunk in stream]


async def broken_stream(place: Place) -> str:
    with pytest.raises(ClientError) as caught:
        await said(place)
    return str(caught.value)


async def test_get_gives_the_data_without_its_envelope(place: Place) -> None:
    async with Client(place) as client:
        assert (await client.get("/v1/me"))["id"] == "default:admin"


async def test_items_follow_the_cursor_to_the_end_or_to_the_limit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.client.PAGE_LIMIT", 2)
    async with Client(place) as client:
        slugs = [model["slug"] for model in await client.items("/v1/models")]
        assert slugs == ["alpha", "cut", "down", "slow", "team/steady", "think"]
        assert [model["slug"] for model in await client.items("/v1/models", limit=3)] == slugs[:3]
        assert await client.items("/v1/models", {"modality": "image"}) == []


async def test_a_stream_gives_chunks_then_usage(place: Place) -> None:
    chunks = await said(place)
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert text.startswith("Hello!")
    assert chunks[-1]["usage"]["output_tokens"] > 0


async def test_leaving_a_stream_hangs_up(place: Place) -> None:
    async with Client(place) as client:
        async with client.stream("/v1/inference/chat", ASK | {"model": "slow"}) as stream:
            async for _ in stream:
                break
        async with asyncio.timeout(5):
            rows: list[Any] = []
            while not rows:  # the hang-up travels on another connection than this question
                rows = await client.items("/v1/accounting/usage", {"model": "slow"})
    assert [row["status"] for row in rows] == ["cancelled"]


async def test_an_error_of_the_appliance_has_code_message_and_request_id(place: Place) -> None:
    async with Client(place) as client:
        with pytest.raises(ClientError) as caught:
            await client.get(f"/v1/models/{segment('no/such')}")
    error = caught.value
    assert (error.code, error.status) == ("MODEL_NOT_FOUND", 404)
    assert str(error) == f"MODEL_NOT_FOUND: the model 'no/such' does not exist (request {error.request_id})"
    assert error.request_id.startswith("req_")


async def test_a_401_tells_where_the_key_came_from(place: Place) -> None:
    line = await failure(Place(place.url, None, "sgk_wrong", "/somewhere/admin.key"))
    assert line.startswith("AUTH_TOKEN_INVALID: ")
    assert "the key came from /somewhere/admin.key" in line


async def test_nobody_listens() -> None:
    place = Place(f"http://127.0.0.1:{free_port()}", None, "sgk_x")
    assert await failure(place) == f"cannot reach {place}: connection refused; is `scaigrid serve` running?"


async def test_no_socket_there(tmp_path: Path) -> None:
    line = await failure(Place("http://localhost", tmp_path / "gone.sock", "sgk_x"))
    assert line == (f"cannot reach unix:{tmp_path}/gone.sock: no such file or directory; is `scaigrid serve` running?")


async def test_a_server_that_is_too_slow(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.until_hung_up())
    assert "no answer in time" in await failure(at(stranger), answer_timeout_s=0.2)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b"<html>hi</html>"), (404, b"not found"), (200, b"[]"), (200, b'{"status":"ok"}'), (500, b'{"error":"x"}')],
)
async def test_a_server_that_is_no_appliance(stranger: Upstream, status: int, body: bytes) -> None:
    stranger.answer(lambda call: call.reply(status, body))
    line = await failure(at(stranger))
    assert line == f"{stranger.url} answered {status} with something that is no answer of ScaiGrid; is the URL right?"


async def test_a_redirect_is_not_followed_with_the_key(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.reply(302, b"", {"Location": stranger.url + "/other"}))
    assert "answered 302" in await failure(at(stranger))
    assert [call.path for call in stranger.calls] == ["/v1/me"]


async def test_a_connection_that_is_cut(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.cut())
    assert (await failure(at(stranger))).startswith(f"the connection to {stranger.url} broke: ")


async def test_a_limit_says_when_to_try_again(stranger: Upstream) -> None:
    body = {"status": "error", "error": {"code": "RATE_LIMITED", "message": "slow\ndown"}}
    stranger.answer(lambda call: call.reply(429, body, {"Retry-After": "7", "X-Request-ID": "req_1"}))
    assert await failure(at(stranger)) == "RATE_LIMITED: slow down; try again in 7 s (request req_1)"


async def test_events_may_come_in_any_slices(stranger: Upstream) -> None:
    text = 'data: {"choices":[],\ndata: "n":"é"}\r\n\r\n: a comment\n\nevent: x\ndata: {"n":2}\n\ndata: [DONE]\n\n'
    stranger.answer(lambda call: call.stream([bytes([byte]) for byte in text.encode()]))
    assert [chunk["n"] for chunk in await said(at(stranger))] == ["é", 2]


async def test_a_large_event_comes_whole(stranger: Upstream) -> None:
    event = b"data: " + json.dumps({"n": "x" * 1_000_000}).encode() + b"\n\ndata: [DONE]\n\n"
    stranger.answer(lambda call: call.stream([event]))
    assert len((await said(at(stranger)))[0]["n"]) == 1_000_000


async def test_an_error_event_ends_the_stream(stranger: Upstream) -> None:
    event = b'event: error\ndata: {"code":"BACKEND_ERROR","message":"gone"}\n\ndata: [DONE]\n\n'
    stranger.answer(lambda call: call.stream([b'data: {"choices":[]}\n\n', event]))
    assert await broken_stream(at(stranger)) == "BACKEND_ERROR: gone"


async def test_a_stream_without_its_end_mark_is_an_error(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.stream([b'data: {"choices":[]}\n\n']))
    assert "ended in the middle of the answer" in await broken_stream(at(stranger))


async def test_a_stream_that_is_cut_is_an_error(stranger: Upstream) -> None:
    async def half(call: Call) -> None:
        await call.start_stream()
        await call.chunk(b'data: {"choices":[]}\n\n')
        call.cut()

    stranger.answer(half)
    assert "broke" in await broken_stream(at(stranger))


async def test_an_answer_that_is_no_stream_is_an_error(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.reply(200, {"status": "ok", "data": {}}))
    assert "application/json where a stream is due" in await broken_stream(at(stranger))


async def test_tls_to_a_server_without_it_is_explained(stranger: Upstream) -> None:
    stranger.answer(lambda call: call.cut())
    line = await failure(Place(f"https://127.0.0.1:{stranger.port}", None, "sgk_x"), answer_timeout_s=0.5)
    assert "TLS" in line


# -- sockets and certificates -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def appliance(folder: Path, server: str) -> Iterator[Gateway]:
    """An appliance that listens in another way than the fixture's. The command finds it by its configuration."""
    gateway = Gateway(folder, {})
    gateway.write(f"server:\n{server}{DEMO}")
    gateway.launch()
    try:
        end = time.monotonic() + 30
        while "serves at" not in gateway.output() and time.monotonic() < end:
            time.sleep(0.05)
        yield gateway
    finally:
        gateway.stop()


def write_certificate(folder: Path) -> None:
    """Self-signed, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "scaigrid test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, plain))


def test_an_appliance_behind_a_unix_socket_answers(tmp_path: Path) -> None:
    with appliance(tmp_path, "  listen: unix:./gw.sock\n"):
        by_file = scaigrid("chat", "-m", "hi", cwd=tmp_path)
        by_url = scaigrid("chat", "-m", "hi", "--url", f"unix:{tmp_path}/gw.sock", cwd=tmp_path)
    assert (by_file.returncode, by_file.stderr) == (0, "")
    assert by_file.stdout == by_url.stdout


async def test_a_self_signed_certificate_is_good_enough_on_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_certificate(tmp_path)
    port = free_port()
    server = f"  listen: 127.0.0.1:{port}\n  tls: {{certificate: cert.pem, key: key.pem}}\n"
    with appliance(tmp_path, server) as gateway:
        done = scaigrid("chat", "-m", "hi", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        monkeypatch.setattr("tui.locate._is_loopback", lambda host: False)
        line = await failure(Place(f"https://127.0.0.1:{port}", None, gateway.admin_key))
    assert line.startswith(f"cannot reach https://127.0.0.1:{port}: its certificate is not trusted: ")


# -- what is loaded ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tui", "tui.client", "tui.conversation", "tui.keys", "tui.usage", "tui.completion"])
def test_the_terminal_loads_neither_the_server_nor_its_framework(name: str) -> None:
    script = f"import sys, {name}; print(*{{module.partition('.')[0] for module in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "tui" in loaded
    assert not loaded & {"appliance", "sanic", "peewee"}
