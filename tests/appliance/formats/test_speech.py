"""Speech: what callers may write, what goes upstream, and what is no audio."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.speech import (
    FRAME_TOKENS,
    SpeechRequest,
    bound,
    check_reply,
    decode_native,
    decode_openai,
    encode_request,
    estimate,
    usage,
)

BARE = {"model": "m", "input": "Hi", "voice": "alloy"}
FULL = BARE | {"voice": {"id": "voice_1"}, "response_format": "opus", "speed": 2, "instructions": "Whisper."}


def test_all_members_both_ways() -> None:
    request = SpeechRequest("m", "Hi", {"id": "voice_1"}, "opus", 2.0, "Whisper.")
    assert decode_openai(FULL) == decode_native(FULL) == request
    assert encode_request(request, "up") == FULL | {"model": "up"}
    assert decode_openai(BARE | {"stream_format": "audio"}) == SpeechRequest("m", "Hi", "alloy")
    assert encode_request(decode_openai(BARE), "up") == BARE | {"model": "up", "response_format": "mp3"}


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("model", ""),
        ("input", ""),
        ("input", None),
        ("voice", None),
        ("voice", ""),
        ("voice", 5),
        ("response_format", "ogg"),
        ("speed", 0.2),
        ("speed", 4.1),
        ("stream_format", "sse"),
    ],
)
def test_wrong_members_are_named(member: str, value: Any) -> None:
    for decode in (decode_openai, decode_native):
        with pytest.raises(GatewayError) as caught:
            decode(BARE | {member: value})
        assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", member)


def test_a_voice_object_needs_an_id() -> None:
    with pytest.raises(GatewayError) as caught:
        decode_openai(BARE | {"voice": {"name": "x"}})
    assert caught.value.param == "voice.id"


def test_unknown_members_go_on_or_are_refused() -> None:
    request = decode_openai(BARE | {"lang_code": "a"})
    assert encode_request(request, "up")["lang_code"] == "a"
    with pytest.raises(GatewayError, match="lang_code: is not a parameter"):
        decode_native(BARE | {"lang_code": "a"})


@pytest.mark.parametrize("content_type", ["audio/mpeg", "application/octet-stream", "", "AUDIO/WAV; rate=24000"])
def test_audio_passes(content_type: str) -> None:
    check_reply(content_type, b"ID3")


@pytest.mark.parametrize(
    ("content_type", "first", "message"),
    [
        ("audio/mpeg", b"", "is empty"),
        ("application/json", b'{"error": {"message": "no voice"}}', "is an error with status 200: no voice"),
        ("application/json; charset=utf-8", b"{}", "is JSON, no audio"),
        ("application/problem+json", b"{}", "is JSON, no audio"),
        ("text/html", b"<html>", "is text, no audio"),
    ],
)
def test_what_is_no_audio(content_type: str, first: bytes, message: str) -> None:
    with pytest.raises(GatewayError) as caught:
        check_reply(content_type, first)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
    assert message in caught.value.message


def test_characters_are_code_points() -> None:
    assert usage(SpeechRequest("m", "né👋", "alloy")) == Usage(characters=3)


def test_the_estimate_is_near_speech_and_below_the_bound() -> None:
    request = SpeechRequest("m", "x" * 900, "alloy", instructions="Slowly.")
    likely, most = estimate(request), bound(request)
    assert 800 < likely.output_tokens < 2000  # a minute is about 1250 tokens
    assert likely.input_tokens < most.input_tokens
    assert likely.output_tokens < most.output_tokens
    assert likely.characters == most.characters == 900


def test_the_bound() -> None:
    request = SpeechRequest("m", "abcd", "alloy", speed=0.25, instructions="é")
    assert bound(request) == Usage(4 + 2 + FRAME_TOKENS, 16 * 25 + 1 + FRAME_TOKENS, characters=4)
