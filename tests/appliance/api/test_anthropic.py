"""The list of models as Anthropic's tools read it: chat models that the caller's tenant may use, in their shape."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from anthropic.types import ModelInfo
from sanic import Request

from appliance.api import anthropic
from appliance.api.accept import Appliance, Call
from appliance.errors import GatewayError
from appliance.grid.grid import Grid
from appliance.grid.holder import Generation, Holder
from support.build import make_grid, make_principal, make_state

GRID = make_grid(
    """
providers: {p: {type: demo}}
models:
  claude/opus:
    display_name: Claude Opus
    context_window: 200000
    max_output_tokens: 32000
    price: free
    route: [{backend: "p:x"}]
  bare: {price: free, status: deprecated, route: [{backend: "p:x"}]}
  gone: {price: free, status: disabled, route: [{backend: "p:x"}]}
  other: {price: free, route: [{backend: "p:x"}]}
  pictures: {modality: image, price: {image: "0.04"}, route: [{backend: "p:x"}]}
  vectors: {modality: embedding, price: {input: "0.1"}, route: [{backend: "p:x"}]}
partners:
  reseller:
    tenants:
      acme: {models: ["claude/*", bare, gone, pictures, vectors]}
      empty: {models: [vectors]}
"""
)


def call_of(grid: Grid = GRID, tenant: str = "acme", **params: str) -> Call:
    request = SimpleNamespace(args={}, body=b"")
    call = Call(Appliance(Holder(Generation(grid)), make_state()), grid, cast(Request, request), "req_12345678")
    call.principal_or_none = make_principal(tenant=tenant)
    call.params = params
    return call


async def listed(tenant: str = "acme") -> dict[str, Any]:
    body: dict[str, Any] = json.loads((await anthropic.list_models(call_of(tenant=tenant))).body)
    return body


async def test_the_chat_models_that_the_tenant_may_use() -> None:
    body = await listed()
    assert [item["id"] for item in body["data"]] == ["bare", "claude/opus"]
    assert (body["first_id"], body["last_id"], body["has_more"]) == ("bare", "claude/opus", False)


async def test_no_model_at_all_is_an_empty_list() -> None:
    assert await listed("empty") == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    assert await listed("nobody") == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_each_is_what_anthropic_s_own_client_reads() -> None:
    bare, opus = (await listed())["data"]
    for item in (bare, opus):
        ModelInfo.model_validate(item)
    assert {name: opus[name] for name in ("type", "display_name", "max_input_tokens", "max_tokens", "lifecycle")} == {
        "type": "model",
        "display_name": "Claude Opus",
        "max_input_tokens": 200000,
        "max_tokens": 32000,
        "lifecycle": "active",
    }
    assert (bare["display_name"], bare["max_input_tokens"], bare["lifecycle"]) == ("bare", None, "deprecated")
    assert opus["created_at"].endswith("Z")


async def test_one_model_by_its_encoded_name() -> None:
    one = json.loads((await anthropic.get_model(call_of(slug="claude%2Fopus"))).body)
    assert one == (await listed())["data"][1]


@pytest.mark.parametrize("slug", ["other", "gone", "nobody", "", "x" * 5000])
async def test_a_model_that_the_tenant_may_not_use_does_not_exist(slug: str) -> None:
    with pytest.raises(GatewayError) as caught:
        await anthropic.get_model(call_of(slug=slug))
    assert caught.value.code == "MODEL_NOT_FOUND"
    assert len(caught.value.message) < 400
