"""What is booked at every inference URL: an answer once, a failure as nothing; one row each.

The settlement table of docs/accounting.md is played through for chats in test_settlement.py; here each of its outcomes
that a call without a stream can have is played at the other URLs.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support import faults
from support.appliance import Gateway, free_port, running
from support.faults import Play, answers
from support.inference_urls import CALLING, MODALITIES, NEW, models
from support.upstream import Upstream

PRICE = '{input: "1000", output: "2000", image: "1", audio_minute: "1", characters: "1000", search: "1"}'
FAILURES: dict[str, tuple[Play | None, str, int]] = {  # what happens: upstream, provider, the native status
    "no-connection": (None, "dead", 502),
    "500": (answers(500), "up", 502),
    "401": (answers(401), "up", 503),
    "429": (answers(429), "up", 429),
    "400": (answers(400), "up", 422),
    "garbage": (answers(200, b"It works!", Content_Type="text/html"), "up", 502),
    "empty": (answers(200, b""), "up", 502),
    "an-error-in-200": (answers(200, {"error": {"message": "no", "type": "server_error"}}), "up", 502),
    "reset": (faults.reset_before_headers, "up", 502),
    "cut": (faults.half_the_body_then_close, "up", 502),
    "silence": (faults.never_answer, "hasty", 504),
}
STATUS = {422: 400}
"""Native status → OpenAI's and Anthropic's, where they differ; Anthropic has a word of its own for a 503."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    named = "\n".join(models(PRICE, f"{name}:x", f"{name}-") for name in ("up", "dead", "hasty", "demo"))
    yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
  hasty: {{type: custom, base_url: "{upstream.url}/v1", timeouts: {{first_byte: 300ms}}}}
  dead: {{type: custom, base_url: "http://127.0.0.1:{free_port()}/v1"}}
  demo: {{type: demo}}
models:
{named}
partners:
  default:
    tenants:
      default: {{budgets: [{{name: all, period: total, cost_limit: "100000"}}]}}
"""
    with running(yaml_text, tmp_path_factory.mktemp("settlement-calls")) as gateway:
        yield gateway


def budget(gateway: Gateway) -> dict[str, Any]:
    (found,) = gateway.get("/v1/accounting/budgets").json()["data"]["items"]
    shown: dict[str, Any] = found
    return shown


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", CALLING)
def test_a_call_that_fails_before_its_answer_costs_nothing(
    gateway: Gateway, upstream: Upstream, name: str, failure: str
) -> None:
    play, provider, status = FAILURES[failure]
    if play:
        upstream.answer(play)
    url, request_id = CALLING[name], f"failed-{name}-{failure}"
    spent = budget(gateway)["used"]["cost"]
    answer = url.post(gateway, f"{provider}-{url.modality}", request_id=request_id)
    expected = status if url.surface == "native" else STATUS.get(status, status)
    assert answer.status == (529 if (url.surface, status) == ("anthropic", 503) else expected), answer.body
    assert set(answer.json()) >= {"error"}
    row = gateway.usage_of(request_id)
    assert (row["status"], row["cost"], row["total_tokens"]) == ("failed", "0", 0)
    assert (row["operation"], len(row["attempts"])) == (_operation(name), 1)
    assert budget(gateway)["used"]["cost"] == spent


def _operation(name: str) -> str:
    return "respond" if name == "oai-responses" else CALLING[name].operation


@pytest.mark.parametrize("name", CALLING)
def test_an_answer_is_booked_once_and_moves_the_budget_by_its_cost(gateway: Gateway, name: str) -> None:
    url, request_id = CALLING[name], f"good-{name}"
    before = budget(gateway)
    answer = url.post(gateway, f"demo-{url.modality}", request_id=request_id)
    assert answer.status == 200, answer.body
    assert answer.headers["X-Scaigrid-Backend"] == "demo:x"
    assert answer.headers["X-Scaigrid-Attempts"] == "1"
    row = gateway.usage_of(request_id)
    assert (row["status"], row["operation"], row["backend_id"]) == ("completed", _operation(name), "demo:x")
    assert Decimal(row["cost"]) > 0
    after = budget(gateway)
    assert Decimal(after["used"]["cost"]) - Decimal(before["used"]["cost"]) == Decimal(row["cost"])
    assert after["used"]["requests"] == before["used"]["requests"] + 1
    assert after["pending"] == {"cost": "0", "tokens": 0, "requests": 0}


def test_counting_tokens_is_not_booked(gateway: Gateway) -> None:
    before = budget(gateway)
    answer = NEW["anthropic-count"].post(gateway, "demo-chat", request_id="counted-tokens")
    assert answer.json()["input_tokens"] > 0
    assert gateway.usage(request_id="counted-tokens") == []
    assert budget(gateway) == before


def test_all_balances_are_those_of_the_rows(gateway: Gateway) -> None:
    """Runs last."""
    assert len(gateway.usage()) == len(CALLING) * (len(FAILURES) + 1)
    assert gateway.get("/v1/accounting/verify").json()["data"]["differences"] == []
    assert gateway.in_flight() == 0
    assert {row["model"].rpartition("-")[2] for row in gateway.usage()} == set(MODALITIES)
