"""An explanation against the real thing: the same order, limits and money; and nothing comes of asking."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from support.appliance import Answer, Gateway, running
from support.faults import answers, good
from support.tenancy import error_code, key_of
from support.upstream import Upstream

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def _user(tenant: str, name: str, *roles: str) -> str:
    return f'{name}: {{roles: [{", ".join(roles)}], api_keys: [{{name: k, key: "{key_of(tenant, name)}"}}]}}'


YAML = f"""
server: {{}}
providers:
  up: {{type: custom, base_url: "UPSTREAM/v1"}}
  nokey: {{type: openai, api_key: "${{env:NOT_SET_ANYWHERE}}"}}
routing_policies:
  priority:
    retries: 5
    circuit_breaker: off
    targets:
      - {{backend: "up:third", priority: 3}}
      - {{backend: "up:first", priority: 1}}
      - {{backend: "up:off", priority: 1, enabled: false}}
      - {{backend: "nokey:x", priority: 1}}
      - {{backend: "up:second", priority: 2}}
  cost:
    strategy: cost
    retries: 5
    circuit_breaker: off
    targets:
      - {{backend: "up:dear", cost: {{input: "9", output: "9"}}}}
      - {{backend: "up:cheap", cost: {{input: "1", output: "1"}}}}
      - {{backend: "up:middle", cost: {{input: "1", output: "5"}}}}
  sticky:
    strategy: weighted
    sticky: conversation
    retries: 5
    circuit_breaker: off
    targets: [{{backend: "up:a", weight: 2}}, {{backend: "up:b", weight: 3}}, {{backend: "up:c", weight: 4}}]
  by-user:
    strategy: weighted
    sticky: user
    retries: 5
    circuit_breaker: off
    targets: [{{backend: "up:a"}}, {{backend: "up:b"}}, {{backend: "up:c"}}]
  conditions:
    retries: 5
    circuit_breaker: off
    targets:
      - {{backend: "up:images", when: {{needs: [images]}}}}
      - {{backend: "up:long", when: {{input_tokens: {{min: 2000}}}}}}
      - {{backend: "up:secret", when: {{metadata: {{data: secret}}}}}}
      - {{backend: "up:admins", when: {{roles: [tenant_admin]}}}}
      - {{backend: "up:south", when: {{tenants: ["far*"]}}}}
      - {{backend: "up:blind", capabilities: {{images: false}}}}
      - {{backend: "up:rest"}}
  broken: {{retries: 0, circuit_breaker: {{failures: 2, window: 1m, cooldown: 1m}}, targets: [{{backend: "up:ill"}}]}}
models:
  priority: {{price: free, route: priority}}
  cost: {{price: free, route: cost}}
  sticky: {{price: free, route: sticky}}
  by-user: {{price: free, route: by-user}}
  conditions: {{price: free, route: conditions}}
  broken: {{price: free, route: broken}}
  paid: {{price: {{input: "1000", output: "1000"}}, max_output_tokens: 900, route: [{{backend: "up:good"}}]}}
  small: {{price: free, context_window: 1000, fallback: {{context_window: cost}}, route: [{{backend: "up:small"}}]}}
partners:
  north:
    rate_limits: {{requests_per_minute: 1000}}
    budgets: [{{period: total, cost_limit: "1000", name: all}}]
    tenants:
      acme:
        rate_limits: {{requests_per_minute: 500, tokens_per_minute: 1000000}}
        user_rate_limits: {{requests_per_minute: 400}}
        key_rate_limits: {{requests_per_minute: 300}}
        budgets: [{{period: monthly, cost_limit: "10"}}]
        users:
          {_user("acme", "alice", "tenant_user")}
          {_user("acme", "chief", "tenant_admin")}
          {_user("acme", "boss", "tenant_admin", "partner_admin")}
          {_user("acme", "poor", "tenant_user")}
      beta:
        users:
          {_user("beta", "chief", "tenant_admin")}
  south:
    tenants:
      far:
        users:
          {_user("far", "chief", "tenant_admin")}
"""
ALICE, CHIEF, BOSS = (key_of("acme", name) for name in ("alice", "chief", "boss"))
EXPLAIN = "/v1/routing/explain"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        failing = answers(500)
        upstream.answer(lambda call: good(call) if call.model == "good" else failing(call))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML.replace("UPSTREAM", upstream.url), tmp_path_factory.mktemp("explain")) as gateway:
        yield gateway


def ask(gateway: Gateway, key: str = "", **query: Any) -> Answer:
    return gateway.get(f"{EXPLAIN}?{urlencode(query, doseq=True)}", key=key)


def explained(gateway: Gateway, key: str = "", **query: Any) -> dict[str, Any]:
    answer = ask(gateway, key, **{"user": "acme:alice"} | query)
    assert answer.status == 200, answer.body
    data: dict[str, Any] = answer.json()["data"]
    return data


def order(found: dict[str, Any]) -> list[str]:
    return [target["backend"] for target in found["targets"] if target["taken"]]


def asked_in_truth(gateway: Gateway, model: str, content: Any = "hi", key: str = ALICE, **members: Any) -> list[str]:
    """Every target fails, so that each that is taken is asked once before the first is asked again."""
    request_id = f"explain-{next(_numbers):06}"
    body = {"model": model, "messages": [{"role": "user", "content": content}]} | members
    gateway.post("/v1/inference/chat", body, key=key, headers={"X-Request-ID": request_id})
    backends = [attempt["backend"] for attempt in gateway.usage_of(request_id)["attempts"]]
    return list(dict.fromkeys(backends))


# -- the order is the real one ----------------------------------------------------------------------------------------


def test_by_priority(gateway: Gateway) -> None:
    told = explained(gateway, model="priority")
    assert order(told) == asked_in_truth(gateway, "priority") == ["up:first", "up:second", "up:third"]
    skipped = {target["backend"]: target["reason"] for target in told["targets"] if not target["taken"]}
    assert skipped["up:off"] == "switched off"
    assert skipped["nokey:x"].startswith("its provider is not configured: ")


def test_by_cost(gateway: Gateway) -> None:
    told = explained(gateway, model="cost")
    assert order(told) == asked_in_truth(gateway, "cost") == ["up:cheap", "up:middle", "up:dear"]
    assert [target["share"] for target in told["targets"]] == [1.0, 0.0, 0.0]


def test_sticky_conversations_go_where_it_says(gateway: Gateway) -> None:
    firsts = set()
    for number in range(8):
        named = {"conversation_id": f"talk-{number}"}
        told = explained(gateway, model="sticky", **{"metadata.conversation_id": named["conversation_id"]})
        assert order(told) == asked_in_truth(gateway, "sticky", metadata=named)
        firsts.add(order(told)[0])
    assert len(firsts) > 1, "or this test would say nothing"


def test_sticky_users_go_where_it_says(gateway: Gateway) -> None:
    for user in ("alice", "chief", "poor"):
        told = explained(gateway, model="by-user", user=f"acme:{user}")
        assert order(told) == asked_in_truth(gateway, "by-user", key=key_of("acme", user))


@pytest.mark.parametrize(
    ("question", "call", "first"),
    [
        ({}, {}, "up:blind"),
        ({"metadata.data": "secret"}, {"metadata": {"data": "secret"}}, "up:secret"),
        ({"input_tokens": 3000}, {"content": "word " * 2400}, "up:long"),
        ({"needs": "images"}, {"content": [IMAGE]}, "up:images"),
        ({"user": "acme:chief"}, {"key": CHIEF}, "up:admins"),
        ({"user": "far:chief"}, {"key": key_of("far", "chief")}, "up:admins"),
    ],
)
def test_conditions_and_needs(gateway: Gateway, question: dict[str, Any], call: dict[str, Any], first: str) -> None:
    told = explained(gateway, model="conditions", **question)
    assert order(told) == asked_in_truth(gateway, "conditions", **call)
    assert order(told)[0] == first
    assert len(told["targets"]) == 7, "those that are skipped are told too"


def test_an_input_that_is_too_long_goes_where_it_says(gateway: Gateway) -> None:
    told = explained(gateway, model="small", input_tokens=1100)
    assert told["passed_on_by"] == ["small"]
    assert order(told) == asked_in_truth(gateway, "small", "word " * 900)


def test_a_circuit_that_is_open_is_told(gateway: Gateway, upstream: Upstream) -> None:
    assert explained(gateway, model="broken")["targets"][0]["held_back"] is None
    for _ in range(2):
        asked_in_truth(gateway, "broken")
    target = explained(gateway, model="broken")["targets"][0]
    assert (target["circuit_breaker"], target["held_back"]["reason"]) == ("open", "open")
    assert 50 < target["held_back"]["wait_s"] <= 60
    before = len(upstream.calls)
    body = {"model": "broken", "messages": [{"role": "user", "content": "hi"}]}
    assert error_code(gateway.post("/v1/inference/chat", body, key=ALICE)) == "MODEL_UNAVAILABLE"
    assert len(upstream.calls) == before


# -- money and limits are the real ones -------------------------------------------------------------------------------


def test_an_answer_is_clamped_to_what_is_told(gateway: Gateway) -> None:
    made = {"scope": "user", "scope_id": "acme:poor", "period": "total", "cost_limit": "3"}
    assert gateway.post("/v1/accounting/budgets", made).status == 200
    body = {"model": "paid", "messages": [{"role": "user", "content": "x" * 300}]}
    size = len(json.dumps(body))
    assert size % 4 == 0, "or the tokens of the question are not those of the call"
    told = explained(gateway, model="paid", user="acme:poor", input_tokens=size // 4)
    answer = gateway.post("/v1/inference/chat", body, key=key_of("acme", "poor"))
    assert answer.headers["X-Scaigrid-Budget-Clamped"] == str(told["worst_case"]["clamped_to"])
    request_id = answer.headers["X-Request-ID"]
    assert gateway.usage_of(request_id)["reserved"] == told["worst_case"]["cost"]
    refused = explained(gateway, model="paid", user="acme:poor", max_tokens=900)["budgets"]
    assert (refused["fits"], refused["refused"]["code"]) == (False, "BUDGET_EXCEEDED")
    answer = gateway.post("/v1/inference/chat", body | {"max_tokens": 900}, key=key_of("acme", "poor"))
    assert error_code(answer) == "BUDGET_EXCEEDED"
    assert answer.json()["error"]["message"] == refused["refused"]["message"]


def test_the_limits_are_those_that_the_next_call_meets(gateway: Gateway) -> None:
    limits = {item["subject"]: item for item in explained(gateway, model="cost")["rate_limits"]["items"]}
    assert [subject.partition(":")[0] for subject in limits] == ["key", "user", "tenant", "partner"]
    key = next(limits[subject] for subject in limits if subject.startswith("key:"))["requests_per_minute"]
    body = {"model": "paid", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    answer = gateway.post("/v1/inference/chat", body, key=ALICE)
    assert answer.headers["X-Scaigrid-Ratelimit-Limit"] == str(key["limit"]) == "300"
    assert answer.headers["X-Scaigrid-Ratelimit-Remaining"] == str(key["remaining"] - 1)


# -- nothing comes of asking ------------------------------------------------------------------------------------------


def test_nobody_is_called_and_nothing_counts(gateway: Gateway, upstream: Upstream) -> None:
    calls, rows = len(upstream.calls), len(gateway.usage())
    budgets = gateway.get("/v1/accounting/budgets").json()["data"]["items"]
    models = ("priority", "cost", "sticky", "by-user", "conditions", "small", "paid")
    before = [explained(gateway, model=model)["rate_limits"] for model in models]
    for model in models:
        for stream in ("true", "false"):
            explained(gateway, model=model, stream=stream, input_tokens=5000, n=2)
    used = [explained(gateway, model=model)["rate_limits"] for model in models]
    assert [each["items"] for each in used] == [each["items"] for each in before] or _only_less(before, used)
    assert gateway.get("/v1/accounting/budgets").json()["data"]["items"] == budgets
    assert (len(upstream.calls), len(gateway.usage())) == (calls, rows)
    assert gateway.in_flight() == 0


def _only_less(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> bool:
    """Calls of earlier tests may leave the minute meanwhile; none is added."""
    for old, new in zip(before, after, strict=True):
        for was, is_now in zip(old["items"], new["items"], strict=True):
            if is_now["requests_per_minute"]["used"] > was["requests_per_minute"]["used"]:
                return False
    return True


# -- who may ask ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "acme:alice", "far:chief"])
@pytest.mark.parametrize("tenant", ["acme", "far", "nobody"])
def test_an_admin_of_another_tenant_is_refused(gateway: Gateway, tenant: str, user: str) -> None:
    query = {"model": "cost", "tenant": tenant} | ({"user": user} if user else {})
    answer = ask(gateway, key_of("beta", "chief"), **query)
    assert (answer.status, error_code(answer)) == (403, "AUTHZ_PERMISSION_DENIED")


def test_who_may_not_see_the_routing_may_not_ask(gateway: Gateway) -> None:
    answer = ask(gateway, ALICE, model="cost")
    assert (answer.status, error_code(answer)) == (403, "AUTHZ_PERMISSION_DENIED")
    assert "routing:view" in answer.json()["error"]["message"]


def test_an_admin_sees_his_own_tenant_and_not_what_its_partner_uses(gateway: Gateway) -> None:
    told = explained(gateway, CHIEF, model="paid")
    partner = next(item for item in told["budgets"]["items"] if item["subject"] == "partner:north")
    assert (partner["cost"], partner["fits"]) == (None, True)
    assert told["rate_limits"]["items"][-1]["requests_per_minute"]["used"] is None
    told = explained(gateway, BOSS, model="paid", user="beta:chief")
    assert told["call"]["tenant_id"] == "beta"
    assert told["budgets"]["items"][0]["cost"]["limit"] == "1000"
    answer = ask(gateway, BOSS, model="paid", tenant="far")
    assert (answer.status, error_code(answer)) == (404, "NOT_FOUND")
