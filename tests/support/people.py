"""A small world for people at run time: partner `north`, its tenant `acme` with administrators; steps as functions."""

from __future__ import annotations

import itertools
from typing import Any

from support.appliance import Answer, Gateway
from support.tenancy import key_of

YAML = f"""
server:
  unauthenticated_rate_limits: {{requests_per_minute: unlimited}}
providers:
  demo: {{type: demo}}
models:
  open: {{price: free, route: [{{backend: "demo:x"}}]}}
  secret: {{price: free, route: [{{backend: "demo:x"}}]}}
  flowing: {{price: free, route: [{{backend: "demo:x,pace=20ms,tokens=100000"}}]}}
partners:
  north:
    tenants:
      acme:
        users:
          boss: {{roles: [partner_admin], api_keys: [{{key: "{key_of("acme", "boss")}"}}]}}
          ada: {{roles: [tenant_admin], api_keys: [{{key: "{key_of("acme", "ada")}"}}]}}
          uma: {{roles: [tenant_user], api_keys: [{{key: "{key_of("acme", "uma")}"}}]}}
  south:
    tenants:
      far:
        users:
          sue: {{roles: [partner_admin], api_keys: [{{key: "{key_of("far", "sue")}"}}]}}
"""
BOSS, ADA, UMA, SUE = key_of("acme", "boss"), key_of("acme", "ada"), key_of("acme", "uma"), key_of("far", "sue")

_numbers = itertools.count(1)


def new_name(start: str) -> str:
    return f"{start}{next(_numbers)}"


def data(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return answer.json()["data"]


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


def said(answer: Answer) -> str:
    return str(answer.json()["error"]["message"])


def put(gateway: Gateway, path: str, body: Any, key: str = "") -> Answer:
    return gateway.request("PUT", path, body, key=key)


def delete(gateway: Gateway, path: str, key: str = "") -> Answer:
    return gateway.request("DELETE", path, key=key)


def new_partner(gateway: Gateway, **members: Any) -> str:
    return str(data(gateway.post("/v1/partners", {"slug": new_name("partner")} | members))["id"])


def new_tenant(gateway: Gateway, partner_id: str = "north", **members: Any) -> str:
    body = {"slug": new_name("tenant"), "partner_id": partner_id} | members
    return str(data(gateway.post("/v1/tenants", body))["id"])


def new_user(gateway: Gateway, tenant_id: str = "acme", **members: Any) -> str:
    body = {"name": new_name("user"), "tenant_id": tenant_id} | members
    return str(data(gateway.post("/v1/users", body))["id"])


def new_role(gateway: Gateway, tenant_id: str = "acme", **members: Any) -> str:
    body = {"name": new_name("role"), "tenant_id": tenant_id} | members
    return str(data(gateway.post("/v1/iam/custom-roles", body))["id"])


def key_for(gateway: Gateway, user_id: str) -> str:
    return str(data(gateway.post("/v1/api-keys", {"name": "k", "assigned_user_id": user_id}))["key"])


def chat(model: str = "open", **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hi"}]} | members


def call(gateway: Gateway, secret: str, model: str = "open") -> int:
    return gateway.post("/v1/inference/chat", chat(model), key=secret).status


def ids(gateway: Gateway, path: str, key: str = "") -> set[str]:
    found: set[str] = set()
    cursor = ""
    while True:
        answer = gateway.get(f"{path}{'&' if '?' in path else '?'}limit=3&cursor={cursor}", key=key)
        found |= {item["id"] for item in data(answer)["items"]}
        cursor = answer.json()["pagination"]["next_cursor"]
        if cursor is None:
            return found
