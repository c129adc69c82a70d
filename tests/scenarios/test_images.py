"""Pictures through the running gateway: number, form, units, prices by picture and by token, failures, money."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
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
    people,
    row_of,
    until,
)
from support.modal_upstream import PICTURE, by_model
from support.upstream import Call, Upstream
from support.wire import Wire, request_bytes

PATHS = {"native": "/v1/inference/images/generate", "compat": "/oai/v1/images/generations"}
KIND = Kind(
    operation="image",
    paths=PATHS,
    body={"prompt": "a cat on a mat"},
    good="plain",
    greedy="plain",
    crowd_limit="0.45",
    wrong={
        "prompt": {"prompt": None},
        "n": {"n": 11},
        "response_format": {"response_format": "png"},
        "output_format": {"output_format": "gif"},
        "stream": {"stream": True},
        "size": {"size": 7},
    },
)
YAML = """
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-test-12345678}}
  google: {{type: google, base_url: "{url}", api_key: gg-test-12345678}}
models:
  plain: &picture
    modality: image
    price: {{image: "0.04"}}
    route: [{{backend: "up:plain"}}]
  sized: {{<<: *picture, default_params: {{size: 512x512, quality: low}}}}
  tokens: &tokens
    <<: *picture
    price: {{input: "5", output: "40", cached_input: "1"}}
    route: [{{backend: "openai:gpt-image-1"}}]
  tokens-untold: {{<<: *tokens, route: [{{backend: "up:plain"}}]}}
  tokens-stuck: {{<<: *tokens, route: [{{backend: "up:stuck"}}]}}
  imagen: {{<<: *picture, route: [{{backend: "google:imagen-4"}}]}}
  second: {{<<: *picture, route: [{{backend: "up:fails"}}, {{backend: "up:plain"}}]}}
  both-fail: {{<<: *picture, route: {{targets: [{{backend: "up:fails"}}, {{backend: "up:empty"}}], retries: 1}}}}
  fewer: {{<<: *picture, route: [{{backend: "up:fewer"}}]}}
  chat: {{price: free, route: [{{backend: "up:plain"}}]}}
{people}
"""


def one_only(call: Call) -> Any:
    return call.reply(200, {"created": 1, "data": [{"b64_json": PICTURE}]})


PLAYS = {
    "plain": modal_upstream.paints,
    "gpt-image-1": modal_upstream.paints_as_gpt_image,
    "imagen-4": modal_upstream.paints_as_imagen,
    "fails": modal_upstream.fails,
    "stuck": modal_upstream.never,
    "empty": lambda call: call.reply(200, {"created": 1, "data": []}),
    "fewer": one_only,
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.03"}, crowd={"cost_limit": KIND.crowd_limit})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("images")) as gateway:
        yield gateway


def data_of(answer: Answer, surface: str) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    data: dict[str, Any] = answer.json()["data"] if surface == "native" else answer.json()
    return data


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("n", [None, 1, 3])
def test_n_pictures_cost_n_times_as_much(gateway: Gateway, surface: str, n: int | None) -> None:
    answer = call(gateway, KIND, "plain", surface, n=n)
    data = data_of(answer, surface)
    assert data["data"] == [{"b64_json": PICTURE, "revised_prompt": "a better cat"}] * (n or 1)
    assert data["created"] == 1_700_000_000
    row = row_of(gateway, answer)
    assert (row["operation"], row["status"], row["estimated"]) == ("image", "completed", False)
    assert (row["units"], row["total_tokens"]) == ({"images": n or 1}, 0)
    assert Decimal(row["cost"]) == Decimal("0.04") * (n or 1)
    if surface == "native":
        assert (data["usage"]["images"], data["usage"]["cost"]) == (n or 1, row["cost"])
    else:
        assert "usage" not in data


@pytest.mark.parametrize("surface", PATHS)
def test_pictures_by_address(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    answer = call(gateway, KIND, "plain", surface, response_format="url", size="1024x1024", quality="hd", style="vivid")
    assert data_of(answer, surface)["data"] == [{"url": "https://pictures.test/1.png"}]
    asked = {"response_format": "url", "size": "1024x1024", "quality": "hd", "style": "vivid"}
    assert upstream.calls[-1].json == {"model": "plain", "prompt": KIND.body["prompt"]} | asked


@pytest.mark.parametrize("surface", PATHS)
def test_the_operators_size_holds_when_the_caller_says_none(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    call(gateway, KIND, "sized", surface)
    assert (upstream.calls[-1].json["size"], upstream.calls[-1].json["quality"]) == ("512x512", "low")
    call(gateway, KIND, "sized", surface, size="256x256")
    assert upstream.calls[-1].json["size"] == "256x256"


@pytest.mark.parametrize("surface", PATHS)
def test_gpt_image_is_charged_by_its_tokens(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    answer = call(gateway, KIND, "tokens", surface, n=2, response_format="b64_json", quality="medium")
    data = data_of(answer, surface)
    assert [entry["b64_json"] for entry in data["data"]] == [PICTURE] * 2
    assert "response_format" not in upstream.calls[-1].json, "gpt-image refuses to be asked for what it does anyway"
    row = row_of(gateway, answer)
    assert (row["input_tokens"], row["output_tokens"], row["units"]) == (50, 2112, {"images": 2})
    assert row["cost"] == "0.08473"  # (50 × 5 + 2112 × 40) / 1e6
    if surface == "compat":
        details = {"text_tokens": 40, "image_tokens": 10}
        assert data["usage"] == {
            "input_tokens": 50,
            "output_tokens": 2112,
            "total_tokens": 2162,
            "input_tokens_details": details,
        }


def test_gpt_image_cannot_be_asked_for_an_address(gateway: Gateway, upstream: Upstream) -> None:
    before = len(upstream.calls)
    answer = call(gateway, KIND, "tokens", "compat", response_format="url")
    assert (answer.status, error_of(answer)["param"]) == (400, "response_format")
    assert len(upstream.calls) == before


@pytest.mark.parametrize("surface", PATHS)
def test_untold_tokens_are_estimated_and_never_free(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "tokens-untold", surface, n=2, size="1024x1024", quality="medium")
    assert answer.status == 200
    row = row_of(gateway, answer)
    assert (row["estimated"], row["units"]) == (True, {"images": 2})
    assert Decimal("0.08") < Decimal(row["cost"]) < Decimal("0.1")
    assert Decimal(row["cost"]) <= Decimal(row["reserved"])


@pytest.mark.parametrize("surface", PATHS)
def test_imagen_gets_its_own_form(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    answer = call(gateway, KIND, "imagen", surface, n=2, size="1792x1024")
    assert [entry["b64_json"] for entry in data_of(answer, surface)["data"]] == [PICTURE] * 2
    sent = upstream.calls[-1]
    assert sent.path == "/v1beta/models/imagen-4:predict"
    assert sent.json["instances"] == [{"prompt": KIND.body["prompt"]}]
    assert (sent.json["parameters"]["sampleCount"], sent.json["parameters"]["aspectRatio"]) == (2, "16:9")
    assert row_of(gateway, answer)["cost"] == "0.08"
    too_many = call(gateway, KIND, "imagen", surface, n=5)
    assert 400 <= too_many.status < 500
    assert "n: must be at most 4" in error_of(too_many)["message"]


@pytest.mark.parametrize("surface", PATHS)
def test_a_second_target_takes_over(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "second", surface)
    assert data_of(answer, surface)["data"][0]["b64_json"] == PICTURE
    row = row_of(gateway, answer)
    assert [attempt["status"] for attempt in row["attempts"]] == ["failed", "completed"]
    assert (row["cost"], row["units"]) == ("0.04", {"images": 1})
    assert answer.headers["X-Scaigrid-Attempts"] == "2"


@pytest.mark.parametrize("surface", PATHS)
def test_when_the_second_target_fails_too_nothing_is_charged(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "both-fail", surface)
    assert answer.status == 502
    row = row_of(gateway, answer)
    assert [attempt["error"]["code"] for attempt in row["attempts"]] == ["BACKEND_ERROR", "UPSTREAM_SHAPE_MISMATCH"]
    assert (row["status"], row["cost"], row["units"]) == ("failed", "0", {})


def test_fewer_pictures_than_asked_are_charged_as_they_came(gateway: Gateway) -> None:
    row = row_of(gateway, call(gateway, KIND, "fewer", n=3))
    assert (row["units"], row["cost"], row["reserved"]) == ({"images": 1}, "0.04", "0.12")


def test_a_caller_who_leaves_is_charged_an_estimate(gateway: Gateway, upstream: Upstream) -> None:
    before = len(upstream.calls)
    body = KIND.body | {"model": "tokens-stuck", "quality": "medium", "size": "1024x1024"}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(PATHS["compat"], body, gateway.admin_key, {"X-Request-ID": "image-hangup"}))
        until("the upstream is called", lambda: len(upstream.calls) > before)
        left_at = wire.hang_up()
    until("the upstream sees the hang-up", lambda: upstream.calls[-1].hung_up)
    assert upstream.calls[-1].hung_up_at - left_at < 1
    until("nothing is in flight", lambda: gateway.in_flight() == 0)
    row = gateway.usage_of("image-hangup")
    assert (row["status"], row["estimated"], row["units"]) == ("cancelled", True, {"images": 1})
    assert Decimal("0.04") < Decimal(row["cost"]) < Decimal("0.05")


def test_rules_of_budgets(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)


def test_a_crowd_never_passes_its_budget(gateway: Gateway) -> None:
    check_crowd(replace(KIND, body=KIND.body | {"n": 2}), gateway)


def test_rules_of_requests(gateway: Gateway, upstream: Upstream) -> None:
    check_rate_limit(KIND, gateway, upstream)
    check_wrong_modality(KIND, gateway, upstream, "chat", "chat")
    check_wrong_fields(KIND, gateway, upstream)
