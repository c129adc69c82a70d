"""OpenAI-protocol image generation: requests out, replies of token-priced and of picture-priced models in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types import ImagesResponse

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.image import Image, ImageRequest
from appliance.formats.image_client import encode_openai
from appliance.formats.image_openai import decode_reply, encode_request

USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40, "cached_tokens": 8},
    "output_tokens": 272,
    "output_tokens_details": {"image_tokens": 272, "text_tokens": 0},
    "total_tokens": 322,
}


def read(**members: Any) -> Any:
    return decode_reply(json.dumps({"created": 1, "data": [{"b64_json": "aGk="}], **members}).encode())


def test_a_full_request() -> None:
    request = ImageRequest("m", "a cat", 2, "1024x1024", "hd", "vivid", "url", "auto", "webp", 50, "low", "u")
    request.extra = {"steps": 4}
    assert encode_request(request, "dall-e-3") == {
        "steps": 4,
        "model": "dall-e-3",
        "prompt": "a cat",
        "n": 2,
        "size": "1024x1024",
        "quality": "hd",
        "style": "vivid",
        "response_format": "url",
        "background": "auto",
        "output_format": "webp",
        "output_compression": 50,
        "moderation": "low",
        "user": "u",
    }


@pytest.mark.parametrize("model", ["gpt-image-1", "openai/gpt-image-2", "chatgpt-image-latest"])
def test_models_that_answer_in_base64_are_not_asked_for_it(model: str) -> None:
    request = ImageRequest("m", "a cat", response_format="b64_json")
    assert encode_request(request, model) == {"model": model, "prompt": "a cat"}
    with pytest.raises(GatewayError) as caught:
        encode_request(ImageRequest("m", "a cat", response_format="url"), model)
    assert caught.value.param == "response_format"


def test_a_token_priced_reply() -> None:
    reply = read(usage=USAGE, size="1024x1024", quality="low", background="opaque", output_format="png")
    assert reply.usage == Usage(50, 272, cached_input_tokens=8, images=1)
    assert reply.usage_told == USAGE
    assert reply.words == {"size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png"}
    ImagesResponse.model_validate(encode_openai(reply, ReplyHead("i", "m", 1)))


def test_a_picture_priced_reply() -> None:
    reply = read(data=[{"url": "https://x/1", "revised_prompt": "a red cat"}, {"url": "https://x/2", "b64_json": ""}])
    assert reply.images == [Image(url="https://x/1", revised_prompt="a red cat"), Image(url="https://x/2")]
    assert (reply.usage, reply.usage_told, reply.created) == (Usage(images=2), None, 1)


@pytest.mark.parametrize("usage", [None, {}, "none", {"input_tokens": "x"}, {"total_tokens": 0}])
def test_usage_that_tells_nothing_counts_the_pictures(usage: Any) -> None:
    reply = read(usage=usage)
    assert (reply.usage, reply.usage_told) == (Usage(images=1), None)


def test_usage_without_details_is_made_whole_for_strict_clients() -> None:
    reply = read(usage={"input_tokens": 5, "output_tokens": 7, "total_tokens": None, "input_tokens_details": None})
    assert reply.usage_told == {
        "input_tokens": 5,
        "output_tokens": 7,
        "total_tokens": 12,
        "input_tokens_details": {"text_tokens": 5, "image_tokens": 0},
    }
    ImagesResponse.model_validate(encode_openai(reply, ReplyHead("i", "m", 1)))


def test_another_servers_own_words_stay_out() -> None:
    assert read(quality="ultra", background="blue", output_format="image/png", size=5).words == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"data": []}',
        b'{"data": [{}]}',
        b'{"data": [{"b64_json": "aGk="}, {"url": ""}]}',
        b'{"data": ["x"]}',
        b'{"error": {"message": "no"}, "data": [{"url": "x"}]}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
