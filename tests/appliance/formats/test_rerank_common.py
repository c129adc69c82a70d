"""The /rerank form of many servers: other names, other places of the results, one meaning."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.rerank import Ranked, RerankRequest
from appliance.formats.rerank_common import NAMES, decode_reply, encode_request

REQUEST = RerankRequest("m", "q", ["a", "b"], top_n=1, return_documents=True, extra={"truncation": True})
BOTH = RerankRequest("m", "q", ["a", "b"])


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("jina", {"truncation": True, "query": "q", "documents": ["a", "b"], "model": "up", "top_n": 1}),
        ("voyage", {"truncation": True, "query": "q", "documents": ["a", "b"], "model": "up", "top_k": 1}),
        ("tei", {"truncation": True, "query": "q", "texts": ["a", "b"]}),
    ],
)
def test_requests(server: str, expected: dict[str, Any]) -> None:
    assert encode_request(REQUEST, "up", NAMES[server]) == expected


def test_what_cannot_be_carried_is_refused_by_name() -> None:
    with pytest.raises(GatewayError, match=r"^max_tokens_per_doc: cannot be carried"):
        encode_request(RerankRequest("m", "q", ["a"], max_tokens_per_doc=5), "up", NAMES["jina"])


JINA = b"""{"model": "x", "usage": {"total_tokens": 15, "prompt_tokens": 15}, "results":
    [{"index": 1, "document": {"text": "b"}, "relevance_score": 0.9}, {"index": 0, "relevance_score": 1}]}"""
VOYAGE = b"""{"object": "list", "model": "x", "usage": {"total_tokens": 15}, "data":
    [{"relevance_score": 0.9, "index": 1}, {"relevance_score": 1, "index": 0}]}"""
TEI = b'[{"index": 1, "score": 0.9}, {"index": 0, "score": 1.0, "text": "a"}]'


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (JINA, Usage(input_tokens=15, searches=1)),
        (VOYAGE, Usage(input_tokens=15, searches=1)),
        (TEI, None),
        (b'{"results": ' + TEI + b', "usage": {"total_tokens": 0}}', None),
    ],
)
def test_replies(body: bytes, usage: Usage | None) -> None:
    reply = decode_reply(body, BOTH)
    assert reply.results == [Ranked(1, 0.9), Ranked(0, 1.0)]
    assert reply.usage == usage


def test_fewer_results_are_fine_when_they_were_asked_for() -> None:
    assert decode_reply(b'[{"index": 1, "score": -3.5}]', REQUEST).results == [Ranked(1, -3.5)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is no JSON"),
        (b'"x"', "is no JSON object"),
        (b"{}", "has no ranking"),
        (b"[]", "has no ranking"),
        (b'{"results": null, "data": [{"index": 0, "score": 1}]}', "has no ranking"),
        (b'{"results": {"index": 0}}', "has no ranking"),
        (b'[{"index": 0, "score": 1}]', "ranks 1 of 2 documents"),
        (b'[{"index": 0, "score": 1}, {"index": 0, "score": 1}]', "ranks a document twice"),
        (b'[{"index": 0, "score": 1}, {"index": 2, "score": 1}]', "ranks a document that was not sent"),
        (b'[{"index": -1, "score": 1}, {"index": 1, "score": 1}]', "ranks a document that was not sent"),
        (b'[{"index": 0, "score": null}]', "without index and score"),
        (b'[{"index": true, "score": 1}]', "without index and score"),
        (b'[{"index": 0, "score": true}]', "without index and score"),
        (b"[5]", "without index and score"),
        (b'{"error": "overloaded"}', "overloaded"),
    ],
)
def test_what_is_no_answer(body: bytes, message: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body, BOTH)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
    assert message in caught.value.message
