"""Embeddings on both surfaces: what callers may write, and what they get."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw
from openai.types import CreateEmbeddingResponse

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, Vector
from appliance.formats.embedding_client import decode_native, decode_openai, encode_native, encode_openai
from appliance.formats.native_units import usage_object

HEAD = ReplyHead("emb_1", "front", 1700000000)
REPLY = EmbeddingReply([Vector(0, Raw(b"[0.10,-1e-05]")), Vector(1, Raw(b'"AACAPwAAAMA="'))], Usage(input_tokens=9))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a", ["a"]),
        ("", [""]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_inputs(written: Any, read: Any) -> None:
    assert decode_openai({"model": "m", "input": written}) == EmbeddingRequest("m", read)
    assert decode_native({"model": "m", "input": written}) == EmbeddingRequest("m", read)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        (None, "input"),
        (5, "input"),
        ({}, "input"),
        ([], "input"),
        (["a", 1], "input.1"),
        ([1, "a"], "input.1"),
        ([1, True], "input.1"),
        ([True], "input.0"),
        ([[1], "a"], "input.1"),
        ([None], "input.0"),
        ([[]], "input.0"),
        ([[1], [1.5]], "input.1"),
        ([[True]], "input.0"),
        ([-1], "input"),
        ([[2**31]], "input.0"),
    ],
)
def test_wrong_inputs_are_named(written: Any, field: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_openai({"model": "m", "input": written})
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", field)


@pytest.mark.parametrize(
    ("member", "value"),
    [("model", ""), ("model", None), ("dimensions", 0), ("dimensions", "3"), ("encoding_format", "int8"), ("user", 5)],
)
def test_wrong_members_are_named(member: str, value: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_native({"model": "m", "input": "a", member: value})
    assert caught.value.param == member


def test_all_members() -> None:
    body = {
        "model": "m",
        "input": "a",
        "dimensions": 8,
        "encoding_format": "base64",
        "user": "u",
        "input_type": "query",
    }
    expected = EmbeddingRequest("m", ["a"], 8, "base64", "query", "u")
    assert decode_openai(body) == expected
    expected.metadata = {"team": "x"}
    assert decode_native(body | {"metadata": {"team": "x"}}) == expected


def test_unknown_members_go_on_or_are_refused() -> None:
    body = {"model": "m", "input": "a", "truncate": "END"}
    assert decode_openai(body).extra == {"truncate": "END"}
    with pytest.raises(GatewayError, match="truncate: is not a parameter of this endpoint"):
        decode_native(body)


def test_the_openai_reply_is_openais() -> None:
    written = msgspec.json.encode(encode_openai(REPLY, HEAD, "float", Usage(input_tokens=9)))
    assert written == (
        b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.10,-1e-05]},'
        b'{"object":"embedding","index":1,"embedding":[1.0,-2.0]}],"model":"front",'
        b'"usage":{"prompt_tokens":9,"total_tokens":9}}'
    )
    reply = CreateEmbeddingResponse.model_validate_json(written)
    assert reply.data[1].embedding == [1.0, -2.0]


def test_the_openai_reply_in_base64() -> None:
    body = msgspec.json.decode(msgspec.json.encode(encode_openai(REPLY, HEAD, "base64", Usage(input_tokens=9))))
    assert [item["embedding"] for item in body["data"]] == ["zczMPazFJ7c=", "AACAPwAAAMA="]


def test_the_native_reply() -> None:
    usage = usage_object(Usage(input_tokens=9), "0.1", False)
    body = msgspec.json.decode(msgspec.json.encode(encode_native(REPLY, HEAD, "float", usage)))
    assert body == {
        "id": "emb_1",
        "model": "front",
        "data": [{"index": 0, "embedding": [0.1, -1e-05]}, {"index": 1, "embedding": [1.0, -2.0]}],
        "usage": usage,
    }
