"""Vertex AI's predict: request out, reply in."""

from __future__ import annotations

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingRequest
from appliance.formats.embedding_vertex import decode_reply, encode_request


def test_a_full_request() -> None:
    request = EmbeddingRequest("front", ["a", "b"], 768, "base64", "search_query", "u")
    assert encode_request(request, "text-embedding-005") == {
        "instances": [
            {"content": "a", "task_type": "RETRIEVAL_QUERY"},
            {"content": "b", "task_type": "RETRIEVAL_QUERY"},
        ],
        "parameters": {"outputDimensionality": 768},
    }


def test_a_bare_request() -> None:
    assert encode_request(EmbeddingRequest("front", ["a"]), "x") == {"instances": [{"content": "a"}]}


def test_what_cannot_be_carried_is_refused_by_name() -> None:
    with pytest.raises(GatewayError, match=r"^input, truncate: cannot be carried to a Google target"):
        encode_request(EmbeddingRequest("m", [[1]], extra={"truncate": "END"}), "up")


def test_vectors_and_tokens_are_read() -> None:
    body = (
        b'{"predictions": [{"embeddings": {"values": [0.5, 1], "statistics": {"token_count": 4, "truncated": false}}},'
        b' {"embeddings": {"values": [2], "statistics": {"token_count": 3}}}]}'
    )
    reply = decode_reply(body)
    assert [msgspec.json.decode(vector.embedding) for vector in reply.vectors] == [[0.5, 1], [2]]
    assert [vector.index for vector in reply.vectors] == [0, 1]
    assert reply.usage == Usage(input_tokens=7)


def test_tokens_that_one_prediction_does_not_tell_are_unknown() -> None:
    body = (
        b'{"predictions": [{"embeddings": {"values": [1], "statistics": {"token_count": 4}}},'
        b' {"embeddings": {"values": [2]}}]}'
    )
    assert decode_reply(body).usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"predictions": []}',
        b'{"predictions": [{}]}',
        b'{"predictions": [{"embeddings": {"values": []}}]}',
        b'{"predictions": [{"embeddings": {"values": "AACAPw=="}}]}',
        b'{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
