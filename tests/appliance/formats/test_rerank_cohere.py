"""Cohere's v2/rerank: request out, reply in."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.rerank import Ranked, RerankRequest
from appliance.formats.rerank_cohere import decode_reply, encode_request

REQUEST = RerankRequest("m", "q", ["a", "b"], 1, True, 512)
RESULTS = b'"results": [{"index": 1, "relevance_score": 0.9}]'


def test_requests() -> None:
    bare = {"model": "up", "query": "q", "documents": ["a", "b"]}
    assert encode_request(REQUEST, "up") == bare | {"top_n": 1, "max_tokens_per_doc": 512}
    assert encode_request(RerankRequest("m", "q", ["a", "b"]), "up") == bare
    with pytest.raises(GatewayError, match=r"^truncation: cannot be carried to a Cohere target"):
        encode_request(RerankRequest("m", "q", ["a"], extra={"truncation": True}), "up")


@pytest.mark.parametrize(
    ("meta", "usage"),
    [
        (b'{"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}', Usage(searches=1)),
        (b'{"billed_units": {"search_units": 2.0}, "tokens": {"input_tokens": 9}}', Usage(9, searches=2)),
        (b'{"billed_units": {"search_units": 1, "input_tokens": 7}}', Usage(7, searches=1)),
        (b"{}", None),
        (b"null", None),
    ],
)
def test_replies(meta: bytes, usage: Usage | None) -> None:
    reply = decode_reply(b'{"id": "x", ' + RESULTS + b', "meta": ' + meta + b"}", REQUEST)
    assert reply.results == [Ranked(1, 0.9)]
    assert reply.usage == usage


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message": "invalid"}', b'{"results": []}'])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body, REQUEST)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
