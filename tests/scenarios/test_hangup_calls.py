"""The client leaves, at every inference URL and with every provider's protocol behind it: the upstream sees it within a
second, one row is booked as cancelled, and nothing stays in flight."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Gateway, running
from support.faults import Play, begins
from support.inference_urls import CALLING, URLS, InferenceUrl, models
from support.upstream import Call, Upstream
from support.wire import Wire

SECOND = 1.0
"""How soon the upstream has to see it (contract section 3)."""
PRICE = '{input: "1000", output: "2000", image: "1", audio_minute: "1", characters: "1000", search: "1"}'


async def audio_begins(call: Call) -> None:
    await call.start_stream("audio/mpeg")
    for _ in range(3):
        await call.chunk(b"sound" * 1000)
        await asyncio.sleep(0.05)
    await call.until_hung_up()


async def anthropic_begins(call: Call) -> None:
    await call.start_stream()
    await call.chunk(
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant",'
        b'"model":"c","content":[],"stop_reason":null,"usage":{"input_tokens":7,"output_tokens":1}}}\n\n'
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
        b'"text":""}}\n\n'
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
        b'"text":"two"}}\n\n'
    )
    await call.until_hung_up()


async def google_begins(call: Call) -> None:
    await call.start_stream()
    await call.chunk(b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"two"}]},"index":0}]}\n\n')
    await call.until_hung_up()


async def responses_begins(call: Call) -> None:
    await call.start_stream()
    for kind, more in (
        ("response.created", '"response":{"id":"r","status":"in_progress","output":[]}'),
        ("response.output_item.added", '"output_index":0,"item":{"type":"message","id":"i","role":"assistant",'
         '"status":"in_progress","content":[]}'),
        ("response.content_part.added", '"output_index":0,"content_index":0,"item_id":"i","part":'
         '{"type":"output_text","text":"","annotations":[]}'),
        ("response.output_text.delta", '"output_index":0,"content_index":0,"item_id":"i","delta":"two"'),
    ):  # fmt: skip
        await call.chunk(f'event: {kind}\ndata: {{"type":"{kind}","sequence_number":0,{more}}}\n\n'.encode())
    await call.until_hung_up()


BEGINS: dict[str, Play] = {
    "openai": begins(faults.stalls),
    "azure": begins(faults.stalls),
    "responses": responses_begins,
    "anthropic": anthropic_begins,
    "google": google_begins,
}
"""Provider → the first words of its stream, and then silence."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    others = "\n".join(
        f'  {name}-{modality}: {{modality: {modality}, price: {PRICE}, route: [{{backend: "{name}:x"}}]}}'
        for name in BEGINS
        for modality in ("chat", "embedding", "image")
    )
    yaml_text = f"""
providers:
  openai: {{type: custom, base_url: "{upstream.url}/v1"}}
  responses: {{type: openai, api: responses, base_url: "{upstream.url}/v1", api_key: "${{env:K}}"}}
  azure: {{type: azure, base_url: "{upstream.url}", api_key: "${{env:K}}"}}
  anthropic: {{type: anthropic, base_url: "{upstream.url}", api_key: "${{env:K}}"}}
  google: {{type: google, base_url: "{upstream.url}", api_key: "${{env:K}}"}}
models:
{models(PRICE, "openai:x")}
{others}
"""
    with running(yaml_text, tmp_path_factory.mktemp("hangup-calls"), {"K": "some-key-of-the-tests"}) as gateway:
        yield gateway


def until(what: str, condition: Callable[[], Any], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def leave(
    gateway: Gateway,
    upstream: Upstream,
    url: InferenceUrl,
    model: str,
    request_id: str,
    play: Play,
    *,
    marker: bytes = b"",
    members: dict[str, Any] | None = None,
) -> None:
    """Call, wait for the upstream (and for the marker, if any), hang up, and see that it is over everywhere."""
    upstream.answer(play)
    calls = len(upstream.calls)
    with Wire(gateway.url) as wire:
        url.send(wire, gateway, model, request_id, members)
        until("the upstream is called", lambda: len(upstream.calls) > calls)
        if marker:
            wire.wait_for(marker)
        time.sleep(0.05)
        assert gateway.in_flight() == 1
        left_at = wire.hang_up()
    (call,) = upstream.calls[calls:]
    until("the upstream sees the hang-up", lambda: call.hung_up)
    assert call.hung_up_at - left_at < SECOND
    until("nothing is in flight", lambda: gateway.in_flight() == 0)


def booked_as_cancelled(gateway: Gateway, request_id: str) -> None:
    row = gateway.usage_of(request_id)
    assert row["status"] == "cancelled"
    assert row["estimated"] is True
    assert row["cost"] != "0", "the upstream worked, so it is owed"
    assert [attempt["status"] for attempt in row["attempts"]] == ["cancelled"]


@pytest.mark.parametrize("name", CALLING)
def test_while_nothing_has_come_yet(gateway: Gateway, upstream: Upstream, name: str) -> None:
    url = CALLING[name]
    leave(gateway, upstream, url, url.modality, f"hangup-silent-{name}", faults.never_answer)
    booked_as_cancelled(gateway, f"hangup-silent-{name}")


@pytest.mark.parametrize("name", CALLING)
def test_while_half_the_answer_has_come(gateway: Gateway, upstream: Upstream, name: str) -> None:
    url = CALLING[name]
    if url.operation == "speak":
        leave(gateway, upstream, url, "audio", f"hangup-half-{name}", audio_begins, marker=b"soundsound")
    else:
        leave(gateway, upstream, url, url.modality, f"hangup-half-{name}", faults.half_the_body_then_stall)
    booked_as_cancelled(gateway, f"hangup-half-{name}")


@pytest.mark.parametrize("provider", BEGINS)
@pytest.mark.parametrize("name", [name for name, url in URLS.items() if url.streams])
def test_in_the_middle_of_a_stream(gateway: Gateway, upstream: Upstream, name: str, provider: str) -> None:
    url, request_id = URLS[name], f"hangup-stream-{name}-{provider}"
    model, stream = f"{provider}-chat", {"stream": True}
    leave(gateway, upstream, url, model, request_id, BEGINS[provider], marker=b"two", members=stream)
    booked_as_cancelled(gateway, request_id)
    assert gateway.usage_of(request_id)["stream"] is True


@pytest.mark.parametrize("provider", BEGINS)
@pytest.mark.parametrize("name", ["oai-chat", "embed", "images"])
def test_while_another_dialects_upstream_is_silent(
    gateway: Gateway, upstream: Upstream, name: str, provider: str
) -> None:
    url, request_id = URLS[name], f"hangup-silent-{name}-{provider}"
    if provider == "anthropic" and name != "oai-chat":
        assert url.post(gateway, f"anthropic-{url.modality}").status == 422, "it has neither of them"
        return
    leave(gateway, upstream, url, f"{provider}-{url.modality}", request_id, faults.never_answer)
    booked_as_cancelled(gateway, request_id)


@pytest.mark.parametrize("provider", ["anthropic", "google"])
def test_while_tokens_are_counted(gateway: Gateway, upstream: Upstream, provider: str) -> None:
    request_id = f"hangup-count-{provider}"
    leave(gateway, upstream, URLS["anthropic-count"], f"{provider}-chat", request_id, faults.never_answer)
    assert gateway.usage(request_id=request_id) == [], "counting costs nothing"


@pytest.mark.parametrize("name", [name for name, url in URLS.items() if url.upload])
def test_while_the_file_is_still_on_its_way(gateway: Gateway, upstream: Upstream, name: str) -> None:
    """Nobody was called, nothing is owed, and the half of the file that came is gone."""
    calls, request_id = len(upstream.calls), f"hangup-upload-{name}"
    body, content_type = URLS[name].request("audio", {"file": b"x" * 400_000})
    head = f"POST {URLS[name].path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.admin_key}\r\n"
    head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\nX-Request-ID: {request_id}\r\n\r\n"
    with Wire(gateway.url) as wire:
        assert isinstance(body, bytes)
        wire.send(head.encode() + body[:300_000])
        until("it is in flight", lambda: gateway.in_flight() == 1)
        until("the file is being written", lambda: uploads(gateway))
        wire.hang_up()
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    until("the file is gone", lambda: not uploads(gateway))
    assert len(upstream.calls) == calls
    assert gateway.usage(request_id=request_id) == []


def uploads(gateway: Gateway) -> list[str]:
    return [path.name for path in gateway.data_dir.rglob("upload-*")]


def test_no_hang_up_leaves_a_traceback_or_a_file(gateway: Gateway) -> None:
    """Runs last."""
    assert "traceback" not in gateway.output().lower()
    assert [line for line in gateway.log_lines() if line.get("level") == "error"] == []
    assert uploads(gateway) == []
