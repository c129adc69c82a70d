"""Cohere's v2/embed: request out, reply in."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingRequest
from appliance.formats.embedding_cohere import decode_reply, encode_request
from support.golden import check_golden


def test_a_full_request() -> None:
    request = EmbeddingRequest("front", ["a", "b"], 512, "base64", "query", "u")
    check_golden(Path("requests/embeddings/full.to.cohere-v2.json"), encode_request(request, "embed-v4.0"))


def test_documents_are_embedded_unless_told_otherwise() -> None:
    assert encode_request(EmbeddingRequest("front", ["a"]), "up") == {
        "model": "up",
        "texts": ["a"],
        "input_type": "search_document",
        "embedding_types": ["float"],
    }


def test_what_cannot_be_carried_is_refused_by_name() -> None:
    with pytest.raises(GatewayError, match=r"^input: cannot be carried to a Cohere target"):
        encode_request(EmbeddingRequest("m", [[1]]), "up")
    with pytest.raises(GatewayError, match=r"^priority: cannot be carried"):
        encode_request(EmbeddingRequest("m", ["a"], extra={"priority": 1}), "up")
    with pytest.raises(GatewayError) as caught:
        encode_request(EmbeddingRequest("m", ["a"], input_type="image"), "up")
    assert caught.value.param == "input_type"


def test_a_reply() -> None:
    reply = decode_reply(
        b'{"id": "x", "texts": ["a", "b"], "embeddings": {"float": [[0.50, 1], [2, 3]]}, "response_type": "by_type",'
        b' "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 2}}}'
    )
    assert [(vector.index, bytes(vector.embedding)) for vector in reply.vectors] == [(0, b"[0.50, 1]"), (1, b"[2, 3]")]
    assert reply.usage == Usage(input_tokens=2)


def test_usage_may_be_missing() -> None:
    assert decode_reply(b'{"embeddings": {"float": [[1]]}}').usage is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"embeddings": [[1]]}',
        b'{"embeddings": {"float": []}}',
        b'{"embeddings": {"float": ["AACAPw=="]}}',
        b'{"embeddings": {"int8": [[1]]}}',
        b'{"embeddings": {"float": [[1], null]}}',
        b'{"message": "invalid request"}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
