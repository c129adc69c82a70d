"""Image generation on both surfaces: what callers may write, and what they get."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types import ImagesResponse

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.image import Image, ImageReply, ImageRequest
from appliance.formats.image_client import NOT_OFFERED, decode_native, decode_openai, encode_native, encode_openai
from appliance.formats.native_units import usage_object

HEAD = ReplyHead("img_1", "front", 1700000000)
BARE = {"model": "m", "prompt": "a cat"}
FULL = BARE | {
    "n": 2,
    "size": "1024x1024",
    "quality": "hd",
    "style": "vivid",
    "response_format": "b64_json",
    "background": "auto",
    "output_format": "webp",
    "output_compression": 50,
    "moderation": "low",
    "user": "u",
}
TOLD = {
    "input_tokens": 10,
    "output_tokens": 272,
    "total_tokens": 282,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 0},
}


def test_all_members() -> None:
    expected = ImageRequest("m", "a cat", 2, "1024x1024", "hd", "vivid", "b64_json", "auto", "webp", 50, "low", "u")
    assert decode_openai(FULL) == expected
    expected.metadata = {"team": "x"}
    assert decode_native(FULL | {"metadata": {"team": "x"}}) == expected
    assert decode_openai(BARE) == ImageRequest("m", "a cat")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("model", None),
        ("prompt", ""),
        ("prompt", ["a"]),
        ("n", 0),
        ("n", 11),
        ("n", 1.5),
        ("size", 1024),
        ("response_format", "png"),
        ("output_format", "svg"),
        ("output_format", "gif"),
        ("output_compression", 101),
    ],
)
def test_wrong_members_are_named(member: str, value: Any) -> None:
    for decode in (decode_openai, decode_native):
        with pytest.raises(GatewayError) as caught:
            decode(BARE | {member: value})
        assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", member)


@pytest.mark.parametrize("member", list(NOT_OFFERED))
def test_what_would_change_the_price_is_refused_by_name(member: str) -> None:
    for decode in (decode_openai, decode_native):
        with pytest.raises(GatewayError) as caught:
            decode(BARE | {member: 3})
        assert caught.value.param == member


def test_saying_that_it_is_not_wanted_is_fine() -> None:
    assert decode_openai(BARE | {"stream": False, "partial_images": 0}) == ImageRequest("m", "a cat")


def test_unknown_members_go_on_or_are_refused() -> None:
    assert decode_openai(BARE | {"steps": 4}).extra == {"steps": 4}
    with pytest.raises(GatewayError, match="steps: is not a parameter"):
        decode_native(BARE | {"steps": 4})


def test_the_openai_reply_of_a_token_priced_model() -> None:
    words = {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    reply = ImageReply([Image(b64_json="aGk=")], Usage(10, 272, images=1), 1600000000, TOLD, words)
    body = encode_openai(reply, HEAD)
    assert body == {"created": 1600000000, "data": [{"b64_json": "aGk="}], **words, "usage": TOLD}
    ImagesResponse.model_validate(body)


def test_the_openai_reply_of_pictures_with_urls() -> None:
    reply = ImageReply([Image(url="https://x/1.png", revised_prompt="a red cat")], Usage(images=1))
    body = encode_openai(reply, HEAD)
    assert body == {"created": 1700000000, "data": [{"url": "https://x/1.png", "revised_prompt": "a red cat"}]}
    ImagesResponse.model_validate(body)


def test_the_native_reply() -> None:
    reply = ImageReply([Image(url="https://x/1.png")], Usage(images=1), words={"size": "1024x1024"})
    usage = usage_object(reply.usage, "0.04", False)
    assert encode_native(reply, HEAD, usage) == {
        "id": "img_1",
        "model": "front",
        "created": 1700000000,
        "data": [{"url": "https://x/1.png"}],
        "size": "1024x1024",
        "usage": usage,
    }
    assert usage["images"] == 1
