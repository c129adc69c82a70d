"""Speech through the running gateway: it streams, a cut answer never looks whole, characters are charged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from support import modal_upstream
from support.appliance import Gateway, running
from support.modal_rules import (
    Kind,
    call,
    check_crowd,
    check_rate_limit,
    check_request_budget,
    check_small_budget,
    check_wrong_fields,
    check_wrong_modality,
    error_of,
    named_in,
    people,
    row_of,
    until,
)
from support.modal_upstream import AUDIO_PIECES, by_model
from support.upstream import Call, Upstream
from support.wire import Wire, request_bytes

PATHS = {"native": "/v1/inference/audio/synthesize", "compat": "/oai/v1/audio/speech"}
TEXT = "Hello there, how are you?"
AUDIO = b"".join(AUDIO_PIECES)
KIND = Kind(
    operation="speak",
    paths=PATHS,
    body={"input": TEXT, "voice": "alloy"},
    good="plain",
    greedy="plain",
    crowd_limit="0.0102",
    wrong={
        "input": {"input": None},
        "voice": {"voice": None},
        "response_format": {"response_format": "ogg"},
        "speed": {"speed": 9},
        "stream_format": {"stream_format": "sse"},
    },
)
YAML = """
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  quick: {{type: custom, base_url: "{url}/v1", timeouts: {{first_byte: 500ms, idle: 500ms}}}}
models:
  plain: &audio
    modality: audio
    price: {{characters: "15"}}
    route: [{{backend: "up:speaks"}}]
  slow: {{<<: *audio, route: [{{backend: "up:slow"}}]}}
  cut: {{<<: *audio, route: [{{backend: "up:cut"}}, {{backend: "up:speaks"}}]}}
  stalls: {{<<: *audio, route: [{{backend: "quick:stalls"}}]}}
  stalls-at-once: {{<<: *audio, route: [{{backend: "quick:stalls-at-once"}}]}}
  stuck: {{<<: *audio, route: [{{backend: "quick:stuck"}}, {{backend: "up:speaks"}}]}}
  second: {{<<: *audio, route: [{{backend: "up:fails"}}, {{backend: "up:speaks"}}]}}
  json: {{<<: *audio, route: [{{backend: "up:json"}}, {{backend: "up:speaks"}}]}}
  empty: {{<<: *audio, route: {{targets: [{{backend: "up:empty"}}], retries: 0}}}}
  tokens: {{<<: *audio, price: {{input: "1", output: "12"}}}}
  voiced: {{<<: *audio, default_params: {{voice: nova, response_format: wav}}}}
  minutes-only: {{<<: *audio, price: {{audio_minute: "1"}}}}
  chat: {{price: free, route: [{{backend: "up:speaks"}}]}}
{people}
"""


async def stalls(call: Call) -> None:
    await call.start_stream("audio/mpeg")
    for piece in AUDIO_PIECES[:2]:
        await call.chunk(piece)
        await asyncio.sleep(0.1)
    await call.until_hung_up()


async def stalls_at_once(call: Call) -> None:
    await call.start_stream("audio/mpeg")
    await call.chunk(AUDIO_PIECES[0])
    await call.until_hung_up()


PLAYS = {
    "speaks": modal_upstream.speaks,
    "slow": modal_upstream.speaks_slowly,
    "cut": modal_upstream.speaks_and_is_cut,
    "stalls": stalls,
    "stalls-at-once": stalls_at_once,
    "stuck": modal_upstream.never,
    "fails": modal_upstream.fails,
    "json": lambda call: call.reply(200, {"error": {"message": "no voice today"}}),
    "empty": lambda call: call.reply(200, b"", {"Content-Type": "audio/mpeg"}),
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.0003"}, crowd={"cost_limit": KIND.crowd_limit})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("speech")) as gateway:
        yield gateway


def begin(gateway: Gateway, wire: Wire, model: str, surface: str, request_id: str) -> None:
    body = KIND.body | {"model": model}
    wire.send(request_bytes(PATHS[surface], body, gateway.admin_key, {"X-Request-ID": request_id}))


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("model", ["plain", "slow", "second", "json", "stuck"])
def test_the_audio_comes_whole_and_its_characters_are_charged(gateway: Gateway, surface: str, model: str) -> None:
    answer = call(gateway, KIND, model, surface)
    assert (answer.status, answer.body) == (200, AUDIO)
    assert answer.headers["Content-Type"] == "audio/mpeg"
    row = row_of(gateway, answer)
    assert (row["operation"], row["status"], row["estimated"]) == ("speak", "completed", False)
    assert (row["units"], row["cost"], row["total_tokens"]) == ({"characters": len(TEXT)}, "0.000375", 0)
    assert (
        len(row["attempts"]) == int(answer.headers["X-Scaigrid-Attempts"]) == (1 if model in ("plain", "slow") else 2)
    )


@pytest.mark.parametrize("surface", PATHS)
def test_fields_go_upstream(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    answer = call(gateway, KIND, "plain", surface, response_format="opus", speed=1.5, instructions="softly")
    assert answer.status == 200
    sent = {"model": "speaks", "input": TEXT, "voice": "alloy", "response_format": "opus", "speed": 1.5}
    assert upstream.calls[-1].json == sent | {"instructions": "softly"}
    assert upstream.calls[-1].path == "/v1/audio/speech"
    call(gateway, KIND, "voiced", surface, voice=None)
    assert (upstream.calls[-1].json["voice"], upstream.calls[-1].json["response_format"]) == ("nova", "wav")


def test_characters_are_counted_not_bytes(gateway: Gateway) -> None:
    row = row_of(gateway, call(gateway, KIND, "plain", input="héé 你好 👋"))
    assert row["units"] == {"characters": 8}


def test_a_price_by_token_is_estimated(gateway: Gateway) -> None:
    row = row_of(gateway, call(gateway, KIND, "tokens"))
    assert row["estimated"] is True
    assert Decimal(0) < Decimal(row["cost"]) <= Decimal(row["reserved"])
    assert row["units"] == {"characters": len(TEXT)}


# -- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
def test_the_first_bytes_come_before_the_upstream_has_finished(gateway: Gateway, surface: str) -> None:
    with Wire(gateway.url) as wire:
        begun = time.monotonic()
        begin(gateway, wire, "slow", surface, f"speech-early-{surface}")
        wire.wait_for(AUDIO_PIECES[0])
        first = time.monotonic() - begun
        wire.wait_for(b"\r\n0\r\n\r\n")
        whole = time.monotonic() - begun
    assert first < 1.0 < 1.6 < whole
    assert AUDIO_PIECES[-1] in wire.received


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("model", ["cut", "stalls"])
def test_a_cut_answer_never_looks_whole(gateway: Gateway, model: str, surface: str) -> None:
    request_id = f"speech-{model}-{surface}"
    with Wire(gateway.url) as wire:
        begin(gateway, wire, model, surface, request_id)
        received = wire.rest()
    assert received.startswith(b"HTTP/1.1 200")
    assert AUDIO_PIECES[0] in received
    assert not received.endswith(b"\r\n0\r\n\r\n"), "a clean end would say that this is all"
    assert b"error" not in received.partition(b"\r\n\r\n")[2], "text is no audio"
    row = gateway.usage_of(request_id)
    assert row["status"] == "failed"
    assert row["units"] == {"characters": len(TEXT)}
    assert row["cost"] == "0.000375", "the upstream spoke, so it is owed"
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed"]


@pytest.mark.parametrize("surface", PATHS)
def test_what_breaks_before_a_byte_has_left_is_told(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "stalls-at-once", surface)
    assert answer.status == 504
    assert "stopped in the middle" in error_of(answer)["message"]
    assert row_of(gateway, answer)["status"] == "failed"


@pytest.mark.parametrize("surface", PATHS)
def test_an_empty_answer_is_an_error(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "empty", surface)
    assert answer.status == 502
    assert error_of(answer)["message"]
    assert row_of(gateway, answer)["cost"] == "0"


@pytest.mark.parametrize("model", ["stuck", "slow"])
def test_a_caller_who_leaves_ends_the_upstream(gateway: Gateway, upstream: Upstream, model: str) -> None:
    before = len(upstream.calls)
    with Wire(gateway.url) as wire:
        begin(gateway, wire, model, "compat", f"speech-hangup-{model}")
        until("the upstream is called", lambda: len(upstream.calls) > before)
        if model == "slow":
            wire.wait_for(AUDIO_PIECES[0])
        left_at = wire.hang_up()
    seen = upstream.calls[before]
    until("the upstream sees the hang-up", lambda: seen.hung_up)
    assert seen.hung_up_at - left_at < 1
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of(f"speech-hangup-{model}")
    assert (row["status"], row["cost"]) == ("cancelled", "0.000375")


@pytest.mark.parametrize("surface", PATHS)
def test_a_model_priced_by_minutes_only_does_not_speak(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    before = len(upstream.calls)
    answer = call(gateway, KIND, "minutes-only", surface)
    assert 400 <= answer.status < 500
    assert "model" in named_in(error_of(answer))
    assert len(upstream.calls) == before


# -- rules ------------------------------------------------------------------------------------------------------------


def test_rules_of_budgets(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)


def test_a_crowd_never_passes_its_budget(gateway: Gateway) -> None:
    check_crowd(replace(KIND, body=KIND.body | {"input": "x" * 100}), gateway)


def test_rules_of_requests(gateway: Gateway, upstream: Upstream) -> None:
    check_rate_limit(KIND, gateway, upstream)
    check_wrong_modality(KIND, gateway, upstream, "chat", "chat")
    check_wrong_fields(KIND, gateway, upstream)
