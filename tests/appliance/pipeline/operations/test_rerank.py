"""Reranking: the common form and Cohere's own, charged by the search or by the token."""

from __future__ import annotations

import json

import pytest

from support.operations import answer, ran, ranking

CALL = {"model": "ranks", "query": "kites", "documents": ["red", "blue", "green"]}


async def test_the_common_form_goes_upstream_and_comes_back_best_first() -> None:
    done = await ran("rerank", CALL | {"top_n": 2}, ranking(2, 0, 1))
    assert done.bodies == [{"model": "r1", "query": "kites", "documents": ["red", "blue", "green"], "top_n": 2}]
    assert [result["index"] for result in done.client.json()["results"]] == [2, 0]


async def test_a_search_that_nobody_counted_is_one_and_marked() -> None:
    done = await ran("rerank", CALL, ranking(1, 0, 2))
    assert json.loads(done.row["units"]) == {"searches": 1}
    assert (done.row["cost_nano"], done.row["estimated"]) == (2_000_000, True)


async def test_tokens_that_are_reported_are_charged_exactly() -> None:
    done = await ran("rerank", CALL | {"model": "read"}, ranking(1, 0, 2, usage={"total_tokens": 77}))
    assert (done.row["input_tokens"], done.row["cost_nano"], done.row["estimated"]) == (77, 77_000, False)


async def test_a_call_whose_tokens_are_told_is_one_search() -> None:
    done = await ran("rerank", CALL, ranking(1, 0, 2, usage={"total_tokens": 77}))
    assert (done.row["input_tokens"], json.loads(done.row["units"])) == (77, {"searches": 1})
    assert (done.row["cost_nano"], done.row["estimated"]) == (2_000_000, False)


async def test_cohere_is_asked_in_its_own_words_and_counts_its_searches() -> None:
    reply = {"results": [{"index": 1, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 3}}}
    done = await ran("rerank", CALL | {"model": "cohere", "top_n": 1}, answer(reply))
    assert done.bodies == [{"model": "rerank-v3.5", "query": "kites", "documents": CALL["documents"], "top_n": 1}]
    assert json.loads(done.row["units"]) == {"searches": 3}
    assert (done.row["cost_nano"], done.row["estimated"]) == (6_000_000, False)


async def test_the_native_answer_has_an_envelope() -> None:
    said = {"metadata": {"a": 1}, "return_documents": True, "top_n": 1}
    done = await ran("rerank", CALL | said, ranking(1), surface="native")
    data = done.client.json()["data"]
    assert [result["index"] for result in data["results"]] == [1]
    assert "blue" in json.dumps(data["results"])
    assert data["usage"]["searches"] == 1
    assert json.loads(done.row["metadata"]) == {"a": 1}


@pytest.mark.parametrize("index", [3, -1, 1])
async def test_a_place_that_no_document_has_is_no_answer(index: int) -> None:
    done = await ran("rerank", CALL, ranking(0, 1, index), ranking(0, 1, 2))
    assert done.exchange.attempts[0].failure
    assert done.exchange.attempts[0].failure.code == "UPSTREAM_SHAPE_MISMATCH"
    assert done.client.status == 200


async def test_many_documents_are_bounded_as_many_searches() -> None:
    done = await ran("rerank", CALL | {"documents": ["x" * 300] * 150, "top_n": 1}, ranking(0))
    assert done.exchange.bound
    assert done.exchange.bound.searches > json.loads(done.row["units"])["searches"] == 2
