"""OpenAI-protocol embeddings: every vendor's request, and replies as they were recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai.types import CreateEmbeddingResponse

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingReply, EmbeddingRequest, joined, split
from appliance.formats.embedding_client import decode_openai, encode_openai
from appliance.formats.embedding_openai import TRAITS, decode_reply, encode_request
from appliance.formats.embedding_vector import as_base64, as_floats, is_base64
from support.fixtures import needs_fixtures, recorded, recorded_json
from support.golden import check_golden

FULL = {
    "model": "front",
    "input": ["a", "b"],
    "dimensions": 8,
    "encoding_format": "base64",
    "user": "u",
    "input_type": "query",
    "truncate": "END",
}


def summary(reply: EmbeddingReply) -> dict[str, Any]:
    """The reply without thousands of numbers."""
    vectors = []
    for vector in reply.vectors:
        numbers = json.loads(bytes(as_floats(vector.embedding)))
        form = "base64" if is_base64(vector.embedding) else "float"
        vectors.append({"index": vector.index, "form": form, "numbers": len(numbers), "first": numbers[:3]})
    return {"vectors": vectors, "usage": msgspec.to_builtins(reply.usage)}


@pytest.mark.parametrize("vendor", list(TRAITS))
def test_a_full_request_for_each_vendor(vendor: str) -> None:
    body = encode_request(decode_openai(FULL), "upstream", TRAITS[vendor])
    check_golden(Path(f"requests/embeddings/full.to.{vendor}.json"), body)


def test_numbers_are_asked_for_by_saying_nothing() -> None:
    body = encode_request(EmbeddingRequest("m", ["a"]), "up", TRAITS["openai"])
    assert body == {"model": "up", "input": ["a"]}


def test_tokens_go_only_where_they_are_understood() -> None:
    request = EmbeddingRequest("m", [[1, 2]])
    assert encode_request(request, "up", TRAITS["custom"])["input"] == [[1, 2]]
    with pytest.raises(GatewayError, match="input: cannot be carried to this target"):
        encode_request(request, "up", TRAITS["qwen"])


def test_the_vendors_most_items_split_the_batch() -> None:
    request = EmbeddingRequest("m", ["a"] * 25)
    traits = TRAITS["qwen"]
    assert [len(part.input) for part in split(request, traits.most_items, traits.most_tokens)] == [10, 10, 5]


@needs_fixtures
@pytest.mark.parametrize("name", ["openai-base64", "openai-dimensions", "mistral"])
def test_a_recorded_reply_reads_as_its_golden_file(name: str) -> None:
    reply = decode_reply(recorded(f"embeddings/{name}.response.json"))
    check_golden(Path(f"replies/embeddings/{name}.json"), summary(reply))


@needs_fixtures
@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize("name", ["openai-base64", "openai-dimensions", "mistral"])
def test_a_recorded_reply_reaches_openais_client(name: str, encoding: Any) -> None:
    source = recorded_json(f"embeddings/{name}.response.json")
    reply = decode_reply(recorded(f"embeddings/{name}.response.json"))
    request = EmbeddingRequest("front", ["x"] * len(source["data"]))
    whole = joined([request], [reply])
    assert whole.usage is not None
    body = msgspec.json.encode(encode_openai(whole, ReplyHead("e", "front", 1), encoding, whole.usage))
    parsed = CreateEmbeddingResponse.model_validate(
        {**json.loads(body), "data": [{**item, "embedding": []} for item in json.loads(body)["data"]]}
    )
    assert parsed.usage.prompt_tokens == source["usage"]["prompt_tokens"]
    for got, sent in zip(json.loads(body)["data"], sorted(source["data"], key=lambda item: item["index"]), strict=True):
        if isinstance(sent["embedding"], str) == (encoding == "base64"):
            assert got["embedding"] == sent["embedding"]
        else:
            convert = as_base64 if encoding == "base64" else as_floats
            assert got["embedding"] == json.loads(bytes(convert(msgspec.Raw(json.dumps(sent["embedding"]).encode()))))


@needs_fixtures
def test_the_recorded_error_is_no_answer() -> None:
    with pytest.raises(GatewayError, match="does not exist or you do not have access"):
        decode_reply(recorded("embeddings/openai-error-404.response.json"))


def test_items_without_an_index_stand_in_their_order() -> None:
    reply = decode_reply(b'{"data": [{"embedding": [1]}, {"embedding": [2], "index": null}]}')
    assert [vector.index for vector in reply.vectors] == [0, 1]


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'{"prompt_tokens": 5, "total_tokens": 5}', Usage(input_tokens=5)),
        (b'{"total_tokens": 5}', Usage(input_tokens=5)),
        (b'{"prompt_tokens": 0, "total_tokens": 0}', None),
        (b"null", None),
        (b'"none"', None),
    ],
)
def test_usage(usage: bytes, expected: Usage | None) -> None:
    assert decode_reply(b'{"data": [{"embedding": [1], "index": 0}], "usage": ' + usage + b"}").usage == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": []}',
        b'{"data": null}',
        b'{"data": [null]}',
        b'{"data": [{"index": 0}]}',
        b'{"data": [{"embedding": null, "index": 0}]}',
        b'{"data": [{"embedding": [], "index": 0}]}',
        b'{"data": [{"embedding": [1], "index": "0"}]}',
        b'{"data": [{"embedding": [1], "index": 0}]',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
