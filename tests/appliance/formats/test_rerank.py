"""Rankings are ordered and cut, and the bound covers what Cohere could bill."""

from __future__ import annotations

from appliance.formats.chat import Usage
from appliance.formats.rerank import FRAME_TOKENS, Ranked, RerankRequest, bound, estimate, ranked


def test_best_first_and_no_more_than_asked_for() -> None:
    results = [Ranked(0, 0.1), Ranked(1, 0.9), Ranked(2, 0.5), Ranked(3, 0.9)]
    request = RerankRequest("m", "q", ["a", "b", "c", "d"])
    assert [result.index for result in ranked(results, request)] == [1, 3, 2, 0]
    request.top_n = 2
    assert [result.index for result in ranked(results, request)] == [1, 3]


def test_the_bound_of_small_documents() -> None:
    request = RerankRequest("m", "query", ["abc"] * 100)
    assert bound(request) == Usage(input_tokens=100 * (3 + 5 + FRAME_TOKENS), searches=1)
    request.documents.append("abc")
    assert bound(request).searches == 2


def test_a_long_document_counts_as_several() -> None:
    request = RerankRequest("m", "q", ["x" * 25_000] * 2)
    assert bound(request) == Usage(input_tokens=2 * (25_000 + 100 * (1 + FRAME_TOKENS)), searches=2)
    request.max_tokens_per_doc = 250
    assert bound(request) == Usage(input_tokens=2 * (250 + 1 + FRAME_TOKENS), searches=1)


def test_a_wide_context_window_reads_a_long_document_at_once() -> None:
    request = RerankRequest("m", "q", ["x" * 16_000, "y"])
    assert bound(request, 32_000) == Usage(input_tokens=16_001 + 2 * (1 + FRAME_TOKENS), searches=1)
    assert bound(request, 16_000).input_tokens == 16_001 + 3 * (1 + FRAME_TOKENS)


def test_the_estimate() -> None:
    assert estimate(RerankRequest("m", "query", ["abcd"] * 3)) == Usage(input_tokens=9, searches=1)
    assert estimate(RerankRequest("m", "q", ["abcd"] * 101)).searches == 2
