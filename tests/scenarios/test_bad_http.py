"""Bytes that are no good HTTP: smuggling shapes, half-sent heads, other protocols. Answered with a 4xx or closed.

What stands behind a broken request is never taken for a second one: the bait is a GET whose answer would show.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from support.appliance import Gateway, running
from support.refusals import still_well_after
from support.wire import Wire, request_bytes

GOOD = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
CHAT = "POST /v1/inference/chat HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {key}\r\n"
BAIT = "GET /v1/bait HTTP/1.1\r\nHost: gateway\r\nX-Request-ID: bait-bait-bait\r\n\r\n"
TAKEN = b"bait-bait-bait"
"""Every answer carries its request's id, so a bait that was answered shows."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = """
providers:
  demo: {type: demo}
models:
  demo: {price: free, route: [{backend: "demo:demo"}]}
"""
    with running(yaml_text, tmp_path_factory.mktemp("http")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def still_well(gateway: Gateway) -> Iterator[None]:
    with still_well_after(gateway):
        yield


def sent(gateway: Gateway, text: str, quiet_s: float = 2) -> bytes:
    """Everything that comes back until the gateway closes, or is quiet for so long."""
    data = text.replace("{key}", gateway.admin_key).encode("latin-1")
    with Wire(gateway.url) as wire:
        wire.try_to_send(data)
        wire.closed_within(quiet_s)
        return wire.received


def statuses(received: bytes) -> list[int]:
    """The status lines among the bytes."""
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


BODY = json.dumps(GOOD)
ONE_CHUNK = f"{len(BODY):x}\r\n{BODY}\r\n0\r\n\r\n"

SMUGGLING = {
    "te-and-cl": CHAT + f"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{BAIT}",
    "cl-and-te": CHAT + f"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{BAIT}",
    "two-different-cl": CHAT + f"Content-Length: 0\r\nContent-Length: {len(BAIT)}\r\n\r\n{BAIT}",
    "two-equal-cl": CHAT + f"Content-Length: 0\r\nContent-Length: 0\r\n\r\n{BAIT}",
    "cl-list": CHAT + f"Content-Length: 0, 0\r\n\r\n{BAIT}",
    "cl-plus": CHAT + f"Content-Length: +0\r\n\r\n{BAIT}",
    "cl-minus": CHAT + f"Content-Length: -1\r\n\r\n{BAIT}",
    "cl-hexadecimal": CHAT + f"Content-Length: 0x0\r\n\r\n{BAIT}",
    "cl-underscore": CHAT + f"Content-Length: 0_0\r\n\r\n{BAIT}",
    "cl-empty": CHAT + f"Content-Length: \r\n\r\n{BAIT}",
    "cl-blank-inside": CHAT + f"Content-Length: 0 0\r\n\r\n{BAIT}",
    "cl-huge": CHAT + f"Content-Length: 99999999999999999999999\r\n\r\n{BAIT}",
    "cl-space-before-colon": CHAT + f"Content-Length : {len(BAIT)}\r\n\r\n{BAIT}",
    "te-space-before-colon": CHAT + f"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{BAIT}",
    "te-unknown": CHAT + f"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{BAIT}",
    "te-identity": CHAT + f"Transfer-Encoding: identity\r\n\r\n{BAIT}",
    "te-twice": CHAT + f"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{BAIT}",
    "te-list": CHAT + f"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{BAIT}",
    "te-quoted": CHAT + f'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n{BAIT}',
    "te-folded": CHAT + f"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n{BAIT}",
    "te-tab-folded": CHAT + f"X-A: b\r\n\tTransfer-Encoding: chunked\r\n\r\n{BAIT}",
    "te-behind-lone-lf": CHAT + f"X-A: b\nTransfer-Encoding: chunked\r\n\r\n{BAIT}",
    "te-behind-lone-cr": CHAT + f"X-A: b\rTransfer-Encoding: chunked\r\n\r\n{BAIT}",
    "cl-behind-lone-lf": CHAT + f"X-A: b\nContent-Length: {len(BAIT)}\r\n\r\n{BAIT}",
    "te-vertical-tab": CHAT + f"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{BAIT}",
    "chunk-size-minus": CHAT + f"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{BAIT}",
    "chunk-size-plus": CHAT + f"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n{BAIT}",
    "chunk-size-0x": CHAT + f"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{BAIT}",
    "chunk-size-underscore": CHAT + f"Transfer-Encoding: chunked\r\n\r\n0_0\r\n\r\n{BAIT}",
    "chunk-size-no-number": CHAT + f"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n{BAIT}",
    "chunk-size-empty": CHAT + f"Transfer-Encoding: chunked\r\n\r\n\r\n\r\n{BAIT}",
    "chunk-size-huge": CHAT + "Transfer-Encoding: chunked\r\n\r\n" + "f" * 40 + f"\r\n\r\n{BAIT}",
    "chunk-longer-than-said": CHAT + f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}xx\r\n0\r\n\r\n{BAIT}",
    "chunk-ends-in-other-bytes": CHAT + f"Transfer-Encoding: chunked\r\n\r\n2\r\n{{}}XX0\r\n\r\n{BAIT}",
    "chunk-trailer": CHAT + f"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: {BAIT}",
    "nul-in-header-name": CHAT + f"X\x00A: b\r\nContent-Length: 0\r\n\r\n{BAIT}",
    "nul-in-header-value": CHAT + f"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n{BAIT}",
    "header-without-name": CHAT + f": b\r\nContent-Length: 0\r\n\r\n{BAIT}",
    "header-without-colon": CHAT + f"Gibberish\r\nContent-Length: 0\r\n\r\n{BAIT}",
    "header-name-with-blank": CHAT + f"X A: b\r\nContent-Length: 0\r\n\r\n{BAIT}",
}  # fmt: skip


@pytest.mark.parametrize("name", SMUGGLING)
def test_a_request_whose_end_is_in_doubt(gateway: Gateway, name: str) -> None:
    received = sent(gateway, SMUGGLING[name], quiet_s=0.6)
    assert TAKEN not in received, "what stood behind the broken request was taken for another one"
    found = statuses(received)
    assert len(found) <= 1
    assert all(400 <= status < 500 for status in found), received
    if found:
        assert b'"error":' in received


BROKEN = {
    "http-0.9": "GET /health\r\n\r\n",
    "http-1.2": "GET /health HTTP/1.2\r\nHost: x\r\n\r\n",
    "http-2.0": "GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
    "http-2-preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http-lower-case": "GET /health http/1.1\r\nHost: x\r\n\r\n",
    "no-version": "GET /health \r\n\r\n",
    "two-blanks": "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "blank-in-path": "GET /health x HTTP/1.1\r\nHost: x\r\n\r\n",
    "blank-first": " GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "nothing": "\r\n\r\n",
    "nul-in-path": "GET /hea\x00lth HTTP/1.1\r\nHost: x\r\n\r\n",
    "nul-in-method": "G\x00T /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "latin-1-in-path": "GET /v1/models/\xe9 HTTP/1.1\r\nHost: x\r\n\r\n",
    "lone-lf-inside": "GET /health HTTP/1.1\nHost: x\r\n\r\n",
    "lone-cr-inside": "GET /health HTTP/1.1\rHost: x\r\n\r\n",
    "authority-form": "CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n",
    "asterisk-form": "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    "no-slash": "GET health HTTP/1.1\r\nHost: x\r\n\r\n",
    "another-protocol": "EHLO mail.example\r\n\r\n",
    "unknown-expectation": CHAT + "Expect: miracles\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_request_is_refused_or_closed(gateway: Gateway, name: str) -> None:
    received = sent(gateway, BROKEN[name], quiet_s=0.6)
    found = statuses(received)
    assert all(400 <= status < 500 for status in found), received
    if found:
        body = json.loads(received.partition(b"\r\n\r\n")[2])
        assert body["error"]["message"]


def test_bare_line_feeds_never_make_a_request(gateway: Gateway) -> None:
    assert sent(gateway, "GET /health HTTP/1.1\nHost: x\n\n", quiet_s=0.3) == b""


def test_a_tls_hello_on_the_plain_port_is_not_answered_with_success(gateway: Gateway) -> None:
    hello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 500 + "\r\n\r\n"
    assert all(status >= 400 for status in statuses(sent(gateway, hello, quiet_s=0.3)))


SIDEWAYS = [
    "GET http://evil.example/v1/me HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET http://user:pass@gateway/v1/me HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET //v1/me HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /health/../v1/me HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /health/%2e%2e/v1/me HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/me;/health HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/me?/health HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/me#/health HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/%6de HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/me/ HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /V1/ME HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "GET /v1/me HTTP/1.1\r\nHost: gateway/health?\r\n\r\n",
    "GET /v1/me HTTP/1.1\r\nHost: gateway\r\nX-Forwarded-Host: localhost\r\nX-Original-URL: /health\r\n\r\n",
    "GET /v1/me HTTP/1.1\r\nHost: gateway\r\nX-Rewrite-URL: /health\r\nX-Forwarded-Path: /health\r\n\r\n",
    "GET /v1/me HTTP/1.1\r\nHost: gateway\r\nX-HTTP-Method-Override: GET\r\nForwarded: host=127.0.0.1\r\n\r\n",
]


@pytest.mark.parametrize("request_text", SIDEWAYS)
def test_no_spelling_of_host_or_path_gets_past_the_key(gateway: Gateway, request_text: str) -> None:
    received = sent(gateway, request_text, quiet_s=0.3)
    assert statuses(received), "an answer is due"
    assert all(status in (400, 401, 404, 405) for status in statuses(received)), received
    assert b"permissions" not in received


# -- good HTTP that is rare -------------------------------------------------------------------------------------------


def test_a_chunked_request_is_served(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        wire.send(
            CHAT.format(key=gateway.admin_key).encode() + b"Transfer-Encoding: chunked\r\n\r\n" + ONE_CHUNK.encode()
        )
        assert wire.answer()[0] == 200


def test_two_requests_sent_at_once_are_both_answered_in_order(gateway: Gateway) -> None:
    first = request_bytes("/v1/inference/chat", GOOD, gateway.admin_key, {"X-Request-ID": "first-of-two"})
    second = request_bytes("/v1/inference/chat", GOOD, gateway.admin_key, {"X-Request-ID": "second-of-two"})
    with Wire(gateway.url) as wire:
        wire.send(first + second)
        answers = [wire.answer(), wire.answer()]
    assert [json.loads(body)["meta"]["request_id"] for _, body in answers] == ["first-of-two", "second-of-two"]


def test_a_request_byte_by_byte_is_served(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        for byte in request_bytes("/v1/inference/chat", GOOD, gateway.admin_key):
            wire.send(bytes([byte]))
        assert wire.answer()[0] == 200


def test_a_refused_request_leaves_the_connection_usable(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        wire.send(request_bytes("/v1/inference/chat", b"{", gateway.admin_key))
        assert wire.answer()[0] == 422
        wire.send(request_bytes("/v1/inference/chat", GOOD, gateway.admin_key))
        assert wire.answer()[0] == 200


# -- half-sent requests -----------------------------------------------------------------------------------------------


def test_half_sent_heads_keep_nobody_else_waiting(gateway: Gateway) -> None:
    """200 connections that have sent half a head, and one honest client."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            wire = stack.enter_context(Wire(gateway.url))
            wire.send(b"POST /v1/inference/chat HTTP/1.1\r\nHost: gateway\r\nX-Slow:")
        begun = time.monotonic()
        assert gateway.post("/v1/inference/chat", GOOD).status == 200
        assert time.monotonic() - begun < 2


@pytest.mark.parametrize("path", ["/v1/inference/chat", "/oai/v1/chat/completions", "/v1/api-keys"])
@pytest.mark.parametrize("way", ["hang_up", "reset"])
def test_a_client_that_leaves_with_half_its_body_sent(gateway: Gateway, path: str, way: str) -> None:
    rows = len(gateway.usage())
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(path, GOOD, gateway.admin_key)[:-20])
        time.sleep(0.05)
        getattr(wire, way)()
    time.sleep(0.1)
    assert len(gateway.usage()) == rows, "a request that never came whole was booked"


@pytest.mark.parametrize("size", [1, 20, 60])
def test_a_client_that_leaves_with_half_its_head_sent(gateway: Gateway, size: int) -> None:
    with Wire(gateway.url) as wire:
        wire.send(request_bytes("/v1/inference/chat", GOOD, gateway.admin_key)[:size])
        time.sleep(0.02)
        wire.reset()
    time.sleep(0.05)


def test_a_client_that_only_knocks(gateway: Gateway) -> None:
    for _ in range(50):
        with Wire(gateway.url) as wire:
            wire.reset()
