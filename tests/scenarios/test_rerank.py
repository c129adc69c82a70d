"""Rankings through the running gateway: Cohere's form and the common one, searches and tokens, failures, money."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from support import modal_upstream
from support.appliance import Answer, Gateway, running
from support.modal_rules import (
    Kind,
    call,
    check_crowd,
    check_rate_limit,
    check_request_budget,
    check_small_budget,
    check_wrong_fields,
    check_wrong_modality,
    error_of,
    named_in,
    people,
    row_of,
)
from support.modal_upstream import by_model
from support.upstream import Call, Upstream

PATHS = {"native": "/v1/inference/rerank", "compat": "/oai/v1/rerank"}
DOCUMENTS = ["a cat", "a cat on a mat in the sun", "a dog on a mat"]
ORDER = [1, 2, 0]
KIND = Kind(
    operation="rerank",
    paths=PATHS,
    body={"query": "cats", "documents": DOCUMENTS},
    good="common",
    greedy="greedy",
    crowd_limit="0.011",
    wrong={
        "query": {"query": None},
        "documents": {"documents": []},
        "documents.1": {"documents": ["a", 7]},
        "top_n": {"top_n": 0},
    },
)
YAML = """
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  cohere: {{type: cohere, base_url: "{url}/compatibility/v1", api_key: co-test-12345678}}
models:
  common: &ranks
    modality: rerank
    price: {{input: "2"}}
    route: [{{backend: "up:ranks"}}]
  cohere: {{<<: *ranks, price: {{search: "0.002"}}, route: [{{backend: "cohere:ranks-cohere"}}]}}
  both: {{<<: *ranks, price: {{search: "0.002", input: "2"}}}}
  greedy: {{<<: *ranks, price: {{search: "0.001"}}, route: [{{backend: "up:ranks"}}]}}
  untold: {{<<: *ranks, route: [{{backend: "up:untold"}}]}}
  second: {{<<: *ranks, route: [{{backend: "up:fails"}}, {{backend: "cohere:fails"}}, {{backend: "up:ranks"}}]}}
  foreign: {{<<: *ranks, route: {{targets: [{{backend: "up:foreign"}}], retries: 0}}}}
  chat: {{price: free, route: [{{backend: "up:ranks"}}]}}
{people}
"""


def untold(call: Call) -> Any:
    scores = [{"index": place, "score": -place} for place in range(len(call.json["documents"]))]
    return call.reply(200, {"results": scores})


def foreign(call: Call) -> Any:
    return call.reply(200, {"results": [{"index": 99, "relevance_score": 1}] * 3})


PLAYS = {
    "ranks": modal_upstream.ranks,
    "ranks-cohere": modal_upstream.ranks_as_cohere,
    "untold": untold,
    "fails": modal_upstream.fails,
    "foreign": foreign,
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.0001"}, crowd={"cost_limit": KIND.crowd_limit})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("rerank")) as gateway:
        yield gateway


def data_of(answer: Answer, surface: str) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    data: dict[str, Any] = answer.json()["data"] if surface == "native" else answer.json()
    return data


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize(
    ("model", "units", "tokens", "cost"),
    [
        ("common", {"searches": 1}, 15, "0.00003"),
        ("cohere", {"searches": 1}, 0, "0.002"),
        ("both", {"searches": 1}, 15, "0.00203"),
    ],
)
def test_the_best_come_first(
    gateway: Gateway, surface: str, model: str, units: dict[str, int], tokens: int, cost: str
) -> None:
    answer = call(gateway, KIND, model, surface)
    data = data_of(answer, surface)
    assert [result["index"] for result in data["results"]] == ORDER
    assert data["results"][0] == {"index": 1, "relevance_score": 0.25}
    row = row_of(gateway, answer)
    assert (row["operation"], row["status"], row["estimated"]) == ("rerank", "completed", False)
    assert (row["units"], row["total_tokens"], row["cost"]) == (units, tokens, cost)
    if surface == "compat":
        assert data["meta"]["billed_units"] == {"search_units": 1}
        assert data["usage"]["total_tokens"] == tokens
    else:
        assert (data["usage"]["searches"], data["usage"]["cost"]) == (1, cost)


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("model", ["common", "cohere"])
def test_top_n_and_the_documents_themselves(gateway: Gateway, upstream: Upstream, surface: str, model: str) -> None:
    documents = [{"text": text} for text in DOCUMENTS]
    answer = call(gateway, KIND, model, surface, top_n=2, return_documents=True, documents=documents)
    shown = [(result["index"], result["document"]["text"]) for result in data_of(answer, surface)["results"]]
    assert shown == [(place, DOCUMENTS[place]) for place in ORDER[:2]]
    sent = upstream.calls[-1].json
    assert (sent["documents"], sent["top_n"], sent["query"]) == (DOCUMENTS, 2, "cats")


def test_cohere_is_asked_in_its_own_api(gateway: Gateway, upstream: Upstream) -> None:
    call(gateway, KIND, "cohere", max_tokens_per_doc=100)
    sent = upstream.calls[-1]
    assert sent.path == "/v2/rerank"
    assert sent.headers["authorization"] == "Bearer co-test-12345678"
    assert sent.json["max_tokens_per_doc"] == 100
    refused = call(gateway, KIND, "common", "compat", max_tokens_per_doc=100)
    assert (refused.status, error_of(refused)["param"]) == (400, "max_tokens_per_doc")


def test_untold_usage_is_estimated(gateway: Gateway) -> None:
    answer = call(gateway, KIND, "untold")
    assert [result["index"] for result in data_of(answer, "native")["results"]] == [0, 1, 2]
    row = row_of(gateway, answer)
    assert (row["estimated"], row["input_tokens"], row["units"]) == (True, 16, {"searches": 1})


@pytest.mark.parametrize("surface", PATHS)
def test_the_third_target_takes_over(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "second", surface)
    assert data_of(answer, surface)["results"][0]["index"] == 1
    row = row_of(gateway, answer)
    assert [attempt["backend"] for attempt in row["attempts"]] == ["up:fails", "cohere:fails", "up:ranks"]
    assert row["cost"] == "0.00003"


@pytest.mark.parametrize("surface", PATHS)
def test_a_ranking_of_other_documents_is_an_error(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "foreign", surface)
    assert answer.status == 502
    row = row_of(gateway, answer)
    assert (row["status"], row["cost"], row["error"]) == ("failed", "0", "UPSTREAM_SHAPE_MISMATCH")


def test_what_cannot_be_ranked_is_named(gateway: Gateway) -> None:
    answer = call(gateway, KIND, "common", documents=[{"text": "a", "image": "data:"}])
    assert 400 <= answer.status < 500
    assert "documents.0.image" in named_in(error_of(answer))


# -- rules ------------------------------------------------------------------------------------------------------------


def test_rules_of_budgets(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)


def test_a_crowd_never_passes_its_budget(gateway: Gateway) -> None:
    check_crowd(replace(KIND, body=KIND.body | {"documents": ["x" * 40] * 100}), gateway)


def test_rules_of_requests(gateway: Gateway, upstream: Upstream) -> None:
    check_rate_limit(KIND, gateway, upstream)
    check_wrong_modality(KIND, gateway, upstream, "chat", "chat")
    check_wrong_fields(KIND, gateway, upstream)
