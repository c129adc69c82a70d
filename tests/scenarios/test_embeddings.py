"""Embeddings through the running gateway: forms, long lists in parts, failures, units, money."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
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
    until,
)
from support.modal_upstream import TOKENS_PER_TEXT, by_model, vector_of
from support.upstream import Call, Upstream
from support.wire import Wire, request_bytes

PATHS = {"native": "/v1/inference/embed", "compat": "/oai/v1/embeddings"}
GREEDY_TEXT = "x" * 936
"""Bound: 936 tokens and the frame of 64 are 1,000; at 2 USD per million that is 0.002."""
KIND = Kind(
    operation="embed",
    paths=PATHS,
    body={"input": ["a7", "b8"]},
    good="plain",
    greedy="greedy",
    crowd_limit="0.0205",
    wrong={
        "input": {"input": None},
        "input.1": {"input": ["a", 3]},
        "dimensions": {"dimensions": 0},
        "encoding_format": {"encoding_format": "int8"},
        "model": {"model": 7},
    },
)
MANY = 5000
YAML = """
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  mistral: {{type: mistral, base_url: "{url}/v1", api_key: ms-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
  bare: {{type: anthropic, base_url: "{url}", api_key: an-test-12345678}}
models:
  plain: &embedding
    modality: embedding
    price: {{input: "2"}}
    route: [{{backend: "up:plain"}}]
  greedy: {{<<: *embedding, route: [{{backend: "up:greedy"}}]}}
  many: {{<<: *embedding, route: [{{backend: "openai:many"}}]}}
  half: {{<<: *embedding, route: {{targets: [{{backend: "openai:half"}}], retries: 0}}}}
  half-then-good: {{<<: *embedding, route: [{{backend: "openai:half"}}, {{backend: "up:plain"}}]}}
  short: {{<<: *embedding, route: {{targets: [{{backend: "up:short"}}], retries: 0}}}}
  garbage: {{<<: *embedding, route: {{targets: [{{backend: "up:garbage"}}], retries: 0}}}}
  refused: {{<<: *embedding, route: [{{backend: "up:refused"}}, {{backend: "up:plain"}}]}}
  stuck: {{<<: *embedding, route: [{{backend: "openai:stuck"}}]}}
  untold: {{<<: *embedding, route: [{{backend: "up:untold"}}]}}
  mistral: {{<<: *embedding, route: [{{backend: "mistral:mi"}}]}}
  google: {{<<: *embedding, route: [{{backend: "google:goo"}}]}}
  fixed: {{<<: *embedding, default_params: {{dimensions: 4}}, route: [{{backend: "up:plain"}}]}}
  cannot: {{<<: *embedding, route: [{{backend: "bare:x"}}]}}
  chat: {{price: free, route: [{{backend: "up:plain"}}]}}
{people}
"""


def fails_in_one_part(call: Call) -> Any:
    if "t2100" in call.json["input"]:
        return modal_upstream.fails(call)
    return modal_upstream.embeds(call)


def one_too_few(call: Call) -> Any:
    body = modal_upstream.embeddings(call.json)
    return call.reply(200, body | {"data": body["data"][1:]})


PLAYS = {
    "plain": modal_upstream.embeds,
    "greedy": modal_upstream.embeds_all_it_may,
    "many": modal_upstream.embeds_out_of_order,
    "half": fails_in_one_part,
    "short": one_too_few,
    "garbage": modal_upstream.says_no_json,
    "refused": modal_upstream.refuses,
    "stuck": modal_upstream.never,
    "untold": modal_upstream.embeds_untold,
    "mi": modal_upstream.embeds,
    "goo": modal_upstream.embeds_as_google,
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.0001"}, crowd={"cost_limit": KIND.crowd_limit})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("embed")) as gateway:
        yield gateway


def vectors_of(answer: Answer, surface: str) -> list[Any]:
    assert answer.status == 200, answer.body
    data = answer.json()["data"]["data"] if surface == "native" else answer.json()["data"]
    assert [entry["index"] for entry in data] == list(range(len(data)))
    return [entry["embedding"] for entry in data]


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize(
    ("asked", "vectors"),
    [
        ("one text", [[8.0, 0.5]]),
        (["a1", "b2"], [[1.0, 0.5], [2.0, 0.5]]),
        ([1, 2, 3], [[6.0, 0.5]]),
        ([[1, 2], [5]], [[3.0, 0.5], [5.0, 0.5]]),
    ],
)
def test_every_form_of_input(gateway: Gateway, surface: str, asked: Any, vectors: list[list[float]]) -> None:
    answer = call(gateway, KIND, "plain", surface, input=asked)
    assert vectors_of(answer, surface) == vectors
    row = row_of(gateway, answer)
    tokens = TOKENS_PER_TEXT * len(vectors)
    assert (row["operation"], row["status"], row["estimated"]) == ("embed", "completed", False)
    assert (row["input_tokens"], row["output_tokens"], row["units"]) == (tokens, 0, {})
    assert row["cost"] == f"{tokens * 2 / 1e6:.6f}".rstrip("0")
    shown = answer.json()["data"]["usage"] if surface == "native" else answer.json()["usage"]
    assert shown["total_tokens"] == tokens
    assert answer.headers["X-Scaigrid-Backend"] == "up:plain"


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("model", ["plain", "many"])  # asks for numbers, and asks for base64
def test_base64_holds_the_same_numbers(gateway: Gateway, surface: str, model: str) -> None:
    answer = call(gateway, KIND, model, surface, input=["a1", "b22"], encoding_format="base64")
    packed = [base64.b64decode(text) for text in vectors_of(answer, surface)]
    assert [struct.unpack("<2f", data) for data in packed] == [(1.0, 0.5), (22.0, 0.5)]


@pytest.mark.parametrize(("model", "asked", "got"), [("plain", 5, 5), ("fixed", None, 4), ("fixed", 3, 3)])
def test_dimensions_are_the_callers_or_the_operators(gateway: Gateway, model: str, asked: int | None, got: int) -> None:
    answer = call(gateway, KIND, model, input="x1", dimensions=asked)
    assert len(vectors_of(answer, "native")[0]) == got


def test_mistral_has_its_own_name_for_dimensions_and_takes_no_tokens(gateway: Gateway, upstream: Upstream) -> None:
    answer = call(gateway, KIND, "mistral", "compat", input=["a1"], dimensions=3, user="u")
    assert answer.status == 200
    (sent,) = [each.json for each in upstream.calls if modal_upstream.model_of(each) == "mi"]
    assert sent == {"model": "mi", "input": ["a1"], "output_dimension": 3}
    refused = call(gateway, KIND, "mistral", "compat", input=[1, 2])
    assert (refused.status, error_of(refused)["param"]) == (400, "input")


@pytest.mark.parametrize("surface", PATHS)
def test_google_gets_its_own_form_a_hundred_at_a_time(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    before = len(upstream.calls)
    texts = [f"t{number}" for number in range(250)]
    answer = call(gateway, KIND, "google", surface, input=texts)
    assert vectors_of(answer, surface) == [vector_of(text) for text in texts]
    calls = upstream.calls[before:]
    assert sorted(len(each.json["requests"]) for each in calls) == [50, 100, 100]
    assert {each.path for each in calls} == {"/v1beta/models/goo:batchEmbedContents"}
    assert {each.headers["x-goog-api-key"] for each in calls} == {"gg-test-12345678"}
    assert row_of(gateway, answer)["estimated"] is True


# -- long lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
def test_five_thousand_inputs_are_split_and_rejoined_in_order(
    gateway: Gateway, upstream: Upstream, surface: str
) -> None:
    before = len(upstream.calls)
    answer = call(gateway, KIND, "many", surface, input=[f"t{number}" for number in range(MANY)])
    assert [vector[0] for vector in vectors_of(answer, surface)] == [float(number) for number in range(MANY)]
    assert sorted(len(each.json["input"]) for each in upstream.calls[before:]) == [904, 2048, 2048]
    row = row_of(gateway, answer)
    assert (row["input_tokens"], len(row["attempts"])) == (TOKENS_PER_TEXT * MANY, 1)
    assert row["cost"] == "0.03"


@pytest.mark.parametrize("surface", PATHS)
def test_one_failing_part_is_a_clean_error(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "half", surface, input=[f"t{number}" for number in range(MANY)])
    assert answer.status == 502
    assert "data" not in answer.json()
    row = row_of(gateway, answer)
    assert (row["status"], row["cost"], row["input_tokens"]) == ("failed", "0", 0)


@pytest.mark.parametrize("surface", PATHS)
def test_one_failing_part_fails_over_with_the_whole_list(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "half-then-good", surface, input=[f"t{number}" for number in range(MANY)])
    assert [vector[0] for vector in vectors_of(answer, surface)] == [float(number) for number in range(MANY)]
    row = row_of(gateway, answer)
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "completed"]
    assert (row["input_tokens"], row["cost"]) == (TOKENS_PER_TEXT * MANY, "0.03")


# -- what can go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["short", "garbage"])
def test_an_answer_that_is_none_is_an_error(gateway: Gateway, model: str) -> None:
    answer = call(gateway, KIND, model)
    assert (answer.status, error_of(answer)["code"]) == (502, "UPSTREAM_SHAPE_MISMATCH")
    assert row_of(gateway, answer)["cost"] == "0"


def test_the_callers_fault_is_told_and_no_other_target_is_asked(gateway: Gateway) -> None:
    answer = call(gateway, KIND, "refused", "compat")
    assert (answer.status, error_of(answer)["message"]) == (400, "input is too long")
    assert len(row_of(gateway, answer)["attempts"]) == 1


def test_untold_usage_is_estimated(gateway: Gateway) -> None:
    answer = call(gateway, KIND, "untold", input=["four" * 10, "five"])
    row = row_of(gateway, answer)
    assert (row["input_tokens"], row["estimated"]) == (11, True)
    assert answer.json()["data"]["usage"]["estimated"] is True


@pytest.mark.parametrize("surface", PATHS)
def test_a_target_that_cannot_embed_is_not_asked(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    before = len(upstream.calls)
    answer = call(gateway, KIND, "cannot", surface)
    assert 400 <= answer.status < 500
    assert "model" in named_in(error_of(answer))
    assert len(upstream.calls) == before


def test_a_caller_who_leaves_ends_all_parts(gateway: Gateway, upstream: Upstream) -> None:
    before = len(upstream.calls)
    body = {"model": "stuck", "input": [f"t{number}" for number in range(MANY)]}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(PATHS["native"], body, gateway.admin_key, {"X-Request-ID": "embed-hangup"}))
        until("all parts are asked for", lambda: len(upstream.calls) == before + 3)
        left_at = wire.hang_up()
    parts = upstream.calls[before:]
    until("the upstream sees the hang-up", lambda: all(each.hung_up for each in parts))
    assert max(each.hung_up_at for each in parts) - left_at < 1
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of("embed-hangup")
    assert (row["status"], row["estimated"], row["input_tokens"]) == ("cancelled", True, 9000)


# -- rules ------------------------------------------------------------------------------------------------------------


def test_rules_of_budgets(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)


def test_a_crowd_never_passes_its_budget(gateway: Gateway) -> None:
    greedy = Kind(**{**vars(KIND), "body": {"input": GREEDY_TEXT}})
    check_crowd(greedy, gateway)


def test_rules_of_requests(gateway: Gateway, upstream: Upstream) -> None:
    check_rate_limit(KIND, gateway, upstream)
    check_wrong_modality(KIND, gateway, upstream, "chat", "chat")
    check_wrong_fields(KIND, gateway, upstream)
