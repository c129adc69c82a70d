"""Reranking on both surfaces: what callers may write, and what they get."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.native_units import usage_object
from appliance.formats.rerank import Ranked, RerankReply, RerankRequest
from appliance.formats.rerank_client import decode_native, decode_openai, encode_native, encode_openai

HEAD = ReplyHead("rank_1", "front", 1700000000)
BARE = {"model": "m", "query": "q", "documents": ["a", {"text": "b"}]}
REPLY = RerankReply([Ranked(0, 0.25), Ranked(1, 0.75)])


def test_all_members() -> None:
    assert decode_openai(BARE) == RerankRequest("m", "q", ["a", "b"])
    body = BARE | {"top_n": 1, "return_documents": True, "max_tokens_per_doc": 512}
    expected = RerankRequest("m", "q", ["a", "b"], 1, True, 512)
    assert decode_openai(body) == expected
    expected.metadata = {"team": "x"}
    assert decode_native(body | {"metadata": {"team": "x"}}) == expected


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"model": None}, "model"),
        ({"query": ""}, "query"),
        ({"documents": None}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": ["a", 5]}, "documents.1"),
        ({"documents": [{"text": ""}]}, "documents.0.text"),
        ({"documents": [{"text": "a", "image": "b"}]}, "documents.0.image"),
        ({"top_n": 0}, "top_n"),
        ({"return_documents": 1}, "return_documents"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
    ],
)
def test_wrong_members_are_named(members: dict[str, Any], field: str) -> None:
    for decode in (decode_openai, decode_native):
        with pytest.raises(GatewayError) as caught:
            decode(BARE | members)
        assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", field)


def test_unknown_members_go_on_or_are_refused() -> None:
    assert decode_openai(BARE | {"rank_fields": ["x"]}).extra == {"rank_fields": ["x"]}
    with pytest.raises(GatewayError, match="rank_fields: is not a parameter"):
        decode_native(BARE | {"rank_fields": ["x"]})


def test_the_common_reply() -> None:
    request = RerankRequest("m", "q", ["a", "b"], return_documents=True)
    assert encode_openai(REPLY, HEAD, request, Usage(input_tokens=12, searches=1)) == {
        "id": "rank_1",
        "model": "front",
        "results": [
            {"index": 1, "relevance_score": 0.75, "document": {"text": "b"}},
            {"index": 0, "relevance_score": 0.25, "document": {"text": "a"}},
        ],
        "usage": {"prompt_tokens": 12, "total_tokens": 12},
        "meta": {"billed_units": {"search_units": 1}},
    }


def test_the_native_reply() -> None:
    usage = usage_object(Usage(input_tokens=12, searches=1), "0.002", False)
    request = RerankRequest("m", "q", ["a", "b"], top_n=1)
    assert encode_native(REPLY, HEAD, request, usage) == {
        "id": "rank_1",
        "model": "front",
        "results": [{"index": 1, "relevance_score": 0.75}],
        "usage": usage,
    }
