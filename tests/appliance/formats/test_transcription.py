"""Form fields of a transcription: checked by name, and written for the upstream."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.transcription import (
    FRAME_TOKENS,
    TranscriptionRequest,
    bound,
    decode_native,
    decode_openai,
    encode_request,
    estimate,
)

FULL = {
    "model": ["m"],
    "language": ["nl"],
    "prompt": ["Names: Ida."],
    "temperature": ["0.2"],
    "response_format": ["verbose_json"],
    "timestamp_granularities[]": ["word", "segment"],
}
READ = TranscriptionRequest("m", False, "nl", "Names: Ida.", 0.2, "verbose_json", ["word", "segment"])


def test_all_fields() -> None:
    assert decode_native(FULL) == READ
    more = FULL | {"include[]": ["logprobs"], "chunking_strategy": ["auto"], "stream": ["false"]}
    request = decode_openai(more | {"known_speaker_names[]": ["a", "b"]})
    assert (request.include, request.chunking_strategy) == (["logprobs"], "auto")
    assert request.extra == {"known_speaker_names[]": ["a", "b"]}
    assert decode_openai({"model": ["m"]}) == TranscriptionRequest("m")


def test_lists_may_be_spelled_without_brackets() -> None:
    fields = {name.removesuffix("[]"): values for name, values in FULL.items()}
    assert decode_native(fields) == READ


def test_what_goes_upstream() -> None:
    request = decode_openai(FULL | {"include[]": ["logprobs"], "chunking_strategy": ["auto"], "keywords[]": ["Ida"]})
    assert encode_request(request, "whisper-1") == [
        ("model", "whisper-1"),
        ("language", "nl"),
        ("prompt", "Names: Ida."),
        ("temperature", "0.2"),
        ("response_format", "verbose_json"),
        ("chunking_strategy", "auto"),
        ("timestamp_granularities[]", "word"),
        ("timestamp_granularities[]", "segment"),
        ("include[]", "logprobs"),
        ("keywords[]", "Ida"),
    ]
    assert encode_request(TranscriptionRequest("m"), "up") == [("model", "up"), ("response_format", "json")]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": []}, "model"),
        ({"model": [""]}, "model"),
        ({"model": ["a", "b"]}, "model"),
        ({"temperature": ["hot"]}, "temperature"),
        ({"temperature": ["1.1"]}, "temperature"),
        ({"temperature": ["nan"]}, "temperature"),
        ({"response_format": ["xml"]}, "response_format"),
        ({"timestamp_granularities[]": ["letter"]}, "timestamp_granularities"),
        ({"response_format": ["json"]}, "timestamp_granularities"),
        ({"stream": ["true"]}, "stream"),
    ],
)
def test_wrong_fields_are_named(fields: dict[str, list[str]], param: str) -> None:
    for decode in (decode_openai, decode_native):
        with pytest.raises(GatewayError) as caught:
            decode(FULL | fields)
        assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)


def test_unknown_fields_are_refused_natively() -> None:
    with pytest.raises(GatewayError) as caught:
        decode_native(FULL | {"include[]": ["logprobs"], "hotwords": ["x"]})
    assert caught.value.message == "include[], hotwords: is not a field of this endpoint"
    assert [detail["field"] for detail in caught.value.details or []] == ["include[]", "hotwords"]


def test_translation_has_no_language() -> None:
    fields = {"model": ["m"], "prompt": ["p"]}
    assert decode_openai(fields, "translate") == TranscriptionRequest("m", translate=True, prompt="p")
    with pytest.raises(GatewayError) as caught:
        decode_openai(fields | {"language": ["nl"]}, "translate")
    assert caught.value.param == "language"


def test_bound_and_estimate() -> None:
    request = TranscriptionRequest("m", prompt="é" * 4)
    most, likely = bound(request, 60.2), estimate(request, 60.2)
    assert most == Usage(61 * 50 + 8 + FRAME_TOKENS, 61 * 50 + FRAME_TOKENS, audio_ms=61_000)
    assert likely == Usage(602 + 2, 241, audio_ms=60_200)
