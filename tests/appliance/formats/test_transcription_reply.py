"""Transcriptions pass as they are written; their usage is read wherever they tell it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from openai.types.audio import Transcription, TranscriptionDiarized, TranscriptionVerbose

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.transcription_reply import content_type, decode_reply, native_data

SRT = b"1\n00:00:00,000 --> 00:00:02,500\nHello at 11:59:59,999\n\n2\n00:00:02,500 --> 01:00:04,250\nBye\n"
VTT = b"WEBVTT\n\n00:00.000 --> 00:02.500\nHello\n\n00:02.500 --> 00:04.250 align:start\nBye\n"


def read(response_format: str = "json", **members: Any) -> Any:
    return decode_reply(json.dumps({"text": "Hello", **members}).encode(), response_format)


@pytest.mark.parametrize(
    ("members", "usage"),
    [
        ({"usage": {"type": "duration", "seconds": 9}}, Usage(audio_ms=9000)),
        (
            {
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
                    "output_tokens": 45,
                    "total_tokens": 59,
                }
            },
            Usage(14, 45),
        ),
        (
            {"usage": {"prompt_audio_seconds": 7, "prompt_tokens": 4, "completion_tokens": 9}},
            Usage(4, 9, audio_ms=7000),
        ),
        ({"duration": 8.4701}, Usage(audio_ms=8471)),
        ({"duration": "8.470000095367432"}, Usage(audio_ms=8471)),
    ],
)
def test_usage_that_is_told(members: dict[str, Any], usage: Usage) -> None:
    reply = read("verbose_json", **members)
    assert (reply.usage, reply.estimated) == (usage, False)


def test_usage_from_the_last_timestamp_is_an_estimate() -> None:
    reply = read("diarized_json", segments=[{"start": 0, "end": 1.5}, {"end": 4.25}, {}], words=[{"end": 4.1}])
    assert (reply.usage, reply.estimated) == (Usage(audio_ms=4250), True)


@pytest.mark.parametrize("duration", [None, True, 0, -1, "long", "nan", 1e12, [], {}])
def test_odd_durations_tell_nothing(duration: Any) -> None:
    reply = read(duration=duration, segments="none", usage=[])
    assert (reply.usage, reply.estimated) == (None, False)


def test_json_passes_byte_for_byte_on_both_surfaces() -> None:
    body = b'{ "text":"H\\u00e9",  "duration": 1.50 }'
    reply = decode_reply(body, "verbose_json")
    assert reply.body == body
    assert msgspec.json.encode({"data": native_data(reply)}) == b'{"data":' + body + b"}"


@pytest.mark.parametrize(("response_format", "body"), [("srt", SRT), ("vtt", VTT), ("vtt", b"\xef\xbb\xbf" + VTT)])
def test_subtitles_pass_and_end_with_their_last_timestamp(response_format: str, body: bytes) -> None:
    reply = decode_reply(body, response_format)
    assert (reply.body, native_data(reply)) == (body, None)
    assert reply.estimated
    assert reply.usage == Usage(audio_ms=3_604_250 if response_format == "srt" else 4250)


@pytest.mark.parametrize(
    ("response_format", "body"),
    [("text", b"Hello\n"), ("text", b""), ("srt", b"\n"), ("vtt", b"WEBVTT\n\n"), ("text", b'{"errors": "are nice"}')],
)
def test_text_that_tells_no_time(response_format: str, body: bytes) -> None:
    reply = decode_reply(body, response_format)
    assert (reply.body, reply.usage, reply.estimated) == (body, None, False)


@pytest.mark.parametrize(
    ("response_format", "body"),
    [
        ("json", b""),
        ("json", b"Hello"),
        ("json", b'"Hello"'),
        ("json", b"{}"),
        ("json", b'{"text": null}'),
        ("verbose_json", b'{"error": {"message": "bad file"}}'),
        ("text", b'{"error": {"message": "bad file"}}'),
        ("srt", b"<html>"),
        ("vtt", b"Hello"),
    ],
)
def test_what_is_no_answer(response_format: str, body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body, response_format)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


def test_content_types() -> None:
    assert content_type("diarized_json") == "application/json"
    assert content_type("vtt") == "text/plain; charset=utf-8"


def test_openais_types_read_what_passed() -> None:
    usage = {"type": "duration", "seconds": 2}
    Transcription.model_validate_json(read("json", usage=usage).body)
    TranscriptionVerbose.model_validate_json(read("verbose_json", duration=2, language="en", usage=usage).body)
    segment = {"id": "s", "type": "transcript.text.segment", "start": 0, "end": 1, "text": "Hi", "speaker": "A"}
    body = read("diarized_json", duration=2, task="transcribe", segments=[segment], usage=usage).body
    TranscriptionDiarized.model_validate_json(body)
