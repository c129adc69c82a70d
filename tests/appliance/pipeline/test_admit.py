"""Before a byte goes upstream: may this caller, is it a request, does the model exist and may the tenant use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange, Upload
from appliance.pipeline.admit import admit
from appliance.pipeline.estimate import tokens_of
from appliance.pipeline.operations import OPERATIONS
from appliance.state import State
from support.build import Clock, chat_body, make_exchange, make_grid, make_principal, make_state

GRID = make_grid(
    """
providers: {p: {type: demo}}
models:
  m: {price: free, route: {targets: [{backend: "p:x"}], deadline: 90s}}
  old: {price: free, status: deprecated, route: [{backend: "p:x"}]}
  gone: {price: free, status: disabled, route: [{backend: "p:x"}]}
  secret: {price: free, route: [{backend: "p:x"}]}
  told: {price: free, context_window: 700, system_prompt: "Be brief.", route: [{backend: "p:x"}]}
partners: {reseller: {tenants: {acme: {models: [m, old, gone, told], key_rate_limits: {requests_per_minute: 3}}}}}
"""
)


def admitted(
    body: bytes | None = None, surface: str = "native", *roles: str, tenant: str = "acme", state: State | None = None
) -> Exchange:
    exchange = make_exchange(GRID, body, surface=surface, principal=make_principal(*roles, tenant=tenant))
    admit(exchange, state or make_state())
    return exchange


def refused(body: bytes | None = None, surface: str = "native", *roles: str, tenant: str = "acme") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        admitted(body, surface, *roles, tenant=tenant)
    return caught.value


BOTH = pytest.mark.parametrize("surface", ["native", "openai"])


@BOTH
def test_an_admitted_call_knows_its_model_estimate_deadline_and_head(surface: str) -> None:
    exchange = admitted(surface=surface)
    assert exchange.model is GRID.models["m"]
    assert exchange.model_name == "m"
    assert exchange.deadline_at == exchange.received_at + 90
    assert exchange.input_estimate == tokens_of(len(exchange.body)) > 0
    assert exchange.head
    prefix = {"native": "chat_", "openai": "chatcmpl-"}[surface]
    assert (exchange.head.id, exchange.head.model) == (prefix + "0123456789abcdef", "m")
    assert exchange.head.created == 1_700_000_000
    assert set(exchange.members) == {"model", "messages"}


# -- rate limits ------------------------------------------------------------------------------------------------------


def test_an_admitted_call_holds_its_slot_and_knows_its_limit() -> None:
    state = make_state()
    exchange = admitted(state=state)
    assert exchange.grant
    assert exchange.rate_limit[:2] == (3, 2)
    assert state.limiter.concurrent("key:apikey_1") == 1


@BOTH
def test_too_many_calls_are_refused_before_anything_is_sent(surface: str) -> None:
    state = make_state()
    for _ in range(3):
        admitted(surface=surface, state=state)
    with pytest.raises(GatewayError) as caught:
        admitted(surface=surface, state=state)
    assert (caught.value.code, caught.value.status) == ("RATE_LIMITED", 429)
    assert caught.value.retry_after
    assert "key" in caught.value.message


@pytest.mark.parametrize(
    ("body", "roles", "tenant"),
    [
        (chat_body(), ("tenant_viewer",), "acme"),
        (b"{", (), "acme"),
        (chat_body("unheard-of"), (), "acme"),
        (chat_body("secret"), (), "acme"),
        (chat_body(), (), "no-such-tenant"),
    ],
)
def test_a_call_that_is_refused_for_another_reason_takes_nothing(
    body: bytes, roles: tuple[str, ...], tenant: str
) -> None:
    state = make_state()
    for _ in range(10):
        with pytest.raises(GatewayError) as caught:
            admitted(body, "native", *roles, tenant=tenant, state=state)
        assert caught.value.code != "RATE_LIMITED"
    admitted(state=state)


@BOTH
@pytest.mark.parametrize("role", ["tenant_viewer", "partner_viewer", "partner_admin"])
def test_a_role_without_models_use_may_not_call(surface: str, role: str) -> None:
    error = refused(None, surface, role)
    assert (error.code, error.status) == ("AUTHZ_PERMISSION_DENIED", 403)
    assert "models:use" in error.message


@BOTH
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"messages":[]}', chat_body(model="")])
def test_what_is_no_request_is_refused(surface: str, body: bytes) -> None:
    assert refused(body, surface).code == "VALIDATION_ERROR"


@BOTH
def test_who_may_not_call_learns_nothing_about_his_request(surface: str) -> None:
    assert refused(b"not even JSON", surface, "tenant_viewer").code == "AUTHZ_PERMISSION_DENIED"


@BOTH
@pytest.mark.parametrize(("model", "word"), [("unheard-of", "does not exist"), ("gone", "disabled"), ("M", "exist")])
def test_a_model_that_is_not_there(surface: str, model: str, word: str) -> None:
    error = refused(chat_body(model), surface)
    assert (error.code, error.status, error.param) == ("MODEL_NOT_FOUND", 404, "model")
    assert word in error.message


@BOTH
def test_a_deprecated_model_still_serves(surface: str) -> None:
    assert admitted(chat_body("old"), surface).model is GRID.models["old"]


@BOTH
@pytest.mark.parametrize(("model", "tenant"), [("secret", "acme"), ("m", "no-such-tenant")])
def test_a_model_that_the_tenant_may_not_use(surface: str, model: str, tenant: str) -> None:
    error = refused(chat_body(model), surface, tenant=tenant)
    assert (error.code, error.status, error.param) == ("MODEL_ACCESS_DENIED", 403, "model")


def test_a_very_long_model_name_is_not_repeated_whole() -> None:
    assert len(refused(chat_body("x" * 100_000)).message) < 300


# -- the modality -----------------------------------------------------------------------------------------------------

MODELS = {
    "chat": "chatty",
    "embedding": "vectors",
    "image": "pictures",
    "audio": "voices",
    "rerank": "ranks",
}
EVERY_KIND = make_grid(
    "providers: {p: {type: demo}}\nmodels:\n"
    + "".join(
        f'  {name}: {{modality: {modality}, price: free, route: [{{backend: "p:x"}}]}}\n'
        for modality, name in MODELS.items()
    )
    + "partners: {reseller: {tenants: {acme: {}}}}\n"
)
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "x"}]},
    "count": {"messages": [{"role": "user", "content": "x"}]},
    "embed": {"input": "x"},
    "image": {"prompt": "x"},
    "speak": {"input": "x", "voice": "alloy"},
    "rerank": {"query": "x", "documents": ["y"]},
}


@pytest.mark.parametrize("modality", MODELS)
@pytest.mark.parametrize("operation", BODIES)
def test_each_kind_of_call_is_for_models_of_its_modality(operation: str, modality: str) -> None:
    body = json.dumps({"model": MODELS[modality]} | BODIES[operation]).encode()
    exchange, state = make_exchange(EVERY_KIND, body, surface="openai", operation=operation), make_state()
    if modality == OPERATIONS[operation].modality:
        admit(exchange, state)
        assert exchange.model is EVERY_KIND.models[MODELS[modality]]
        return
    with pytest.raises(GatewayError) as caught:
        admit(exchange, state)
    error = caught.value
    assert (error.code, error.param) == ("VALIDATION_ERROR", "model")
    assert f"is of modality {modality}" in error.message
    assert exchange.model is None
    assert state.limiter.concurrent("key:apikey_1") == 0


def test_who_may_not_use_a_model_does_not_learn_its_modality() -> None:
    body = json.dumps({"model": "secret"} | BODIES["embed"]).encode()
    with pytest.raises(GatewayError) as caught:
        admit(make_exchange(GRID, body, surface="openai", operation="embed"), make_state())
    assert caught.value.code == "MODEL_ACCESS_DENIED"


def test_the_time_that_a_form_took_to_arrive_is_not_taken_off_the_deadline() -> None:
    exchange = make_exchange(EVERY_KIND, b"", surface="openai", operation="transcribe")
    assert isinstance(exchange.clock, Clock)
    exchange.form = {"model": ["voices"]}
    exchange.upload = Upload(Path("/spool/a.mp3"), "a.mp3", "audio/mpeg", size=1000)
    exchange.clock.advance(500)
    admit(exchange, make_state())
    assert exchange.model
    assert exchange.deadline_at == exchange.clock() + exchange.model.policy.deadline_s
