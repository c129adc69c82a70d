"""Imagen's predict: sizes as shapes, refusals by name, and pictures that a filter held back."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.image import Image, ImageRequest
from appliance.formats.image_google import SIZES, decode_reply, encode_request


def test_a_bare_request() -> None:
    assert encode_request(ImageRequest("m", "a cat"), "imagen-4.0-generate-001") == {
        "instances": [{"prompt": "a cat"}],
        "parameters": {"sampleCount": 1, "includeRaiReason": True},
    }


def test_a_full_request() -> None:
    request = ImageRequest(
        "m",
        "a cat",
        n=4,
        size="1792x1024",
        quality="standard",
        response_format="b64_json",
        background="opaque",
        output_format="jpeg",
        output_compression=80,
        moderation="auto",
        user="u",
    )
    assert encode_request(request, "imagen")["parameters"] == {
        "sampleCount": 4,
        "includeRaiReason": True,
        "aspectRatio": "16:9",
        "imageSize": "1K",
        "outputOptions": {"mimeType": "image/jpeg", "compressionQuality": 80},
    }


@pytest.mark.parametrize("size", list(SIZES))
def test_each_size_has_the_nearest_shape(size: str) -> None:
    width, height = (int(side) for side in size.split("x"))
    across, up = (int(side) for side in SIZES[size][0].split(":"))
    assert width / height == pytest.approx(across / up, rel=0.08)
    assert (max(width, height) > 1800) == (SIZES[size][1] == "2K")


def test_auto_is_left_to_the_model() -> None:
    assert "aspectRatio" not in encode_request(ImageRequest("m", "a cat", size="auto"), "imagen")["parameters"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("n", 5),
        ("size", "256x256"),
        ("size", "1536x1024"),
        ("quality", "hd"),
        ("style", "vivid"),
        ("response_format", "url"),
        ("background", "transparent"),
        ("output_format", "webp"),
        ("output_compression", 50),
        ("moderation", "low"),
    ],
)
def test_what_cannot_be_said_is_refused_by_name(member: str, value: Any) -> None:
    request = ImageRequest("m", "a cat")
    setattr(request, member, value)
    with pytest.raises(GatewayError) as caught:
        encode_request(request, "imagen")
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", member)


def test_all_that_cannot_be_said_is_named_at_once() -> None:
    with pytest.raises(GatewayError, match=r"^quality, style, steps: cannot be carried to an Imagen target"):
        encode_request(ImageRequest("m", "a cat", quality="hd", style="vivid", extra={"steps": 4}), "imagen")


def test_a_reply() -> None:
    reply = decode_reply(
        b'{"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "aGk=", "prompt": "a red cat"},'
        b' {"raiFilteredReason": "too wild"}, {"bytesBase64Encoded": "eW8="}]}'
    )
    assert reply.images == [Image(b64_json="aGk=", revised_prompt="a red cat"), Image(b64_json="eW8=")]
    assert reply.usage == Usage(images=2)


def test_when_every_picture_was_held_back_the_prompt_is_at_fault() -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(b'{"predictions": [{"raiFilteredReason": "too wild"}]}')
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "prompt")
    assert "too wild" in caught.value.message


@pytest.mark.parametrize("body", [b"", b"{}", b'{"predictions": []}', b'{"predictions": [{}, 5]}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
