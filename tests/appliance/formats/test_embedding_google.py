"""Gemini's batchEmbedContents: request out, the recorded reply in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.embedding import EmbeddingRequest
from appliance.formats.embedding_google import decode_reply, encode_request
from support.fixtures import needs_fixtures, recorded
from support.golden import check_golden


def test_a_full_request() -> None:
    request = EmbeddingRequest("front", ["a", "b"], 768, "base64", "search_query", "u")
    body = encode_request(request, "gemini-embedding-001")
    check_golden(Path("requests/embeddings/full.to.gemini.json"), body)


def test_a_bare_request() -> None:
    assert encode_request(EmbeddingRequest("front", ["a"]), "models/x") == {
        "requests": [{"model": "models/x", "content": {"parts": [{"text": "a"}]}}]
    }


def test_what_cannot_be_carried_is_refused_by_name() -> None:
    with pytest.raises(GatewayError, match=r"^input, truncate: cannot be carried to a Google target"):
        encode_request(EmbeddingRequest("m", [[1]], extra={"truncate": "END"}), "up")
    with pytest.raises(GatewayError) as caught:
        encode_request(EmbeddingRequest("m", ["a"], input_type="image"), "up")
    assert caught.value.param == "input_type"


@needs_fixtures
def test_the_recorded_reply_reads_as_its_golden_file() -> None:
    reply = decode_reply(recorded("embeddings/gemini-batch.response.json"))
    plain = [{"index": vector.index, "embedding": msgspec.json.decode(vector.embedding)} for vector in reply.vectors]
    check_golden(Path("replies/embeddings/gemini-batch.json"), {"vectors": plain, "usage": reply.usage})


def test_usage_where_it_is_told() -> None:
    body = b'{"embeddings": [{"values": [1]}], "usageMetadata": {"promptTokenCount": 4}}'
    assert decode_reply(body).usage == Usage(input_tokens=4)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"embeddings": []}',
        b'{"embeddings": [{}]}',
        b'{"embeddings": [{"values": []}]}',
        b'{"embeddings": [{"values": "AACAPw=="}]}',
        b'{"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}',
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
