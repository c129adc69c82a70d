"""Before a byte goes upstream: may this caller, is it a request, does the model exist and may the tenant use it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.pipeline.admit import MAX_METADATA_BYTES, admit
from appliance.pipeline.estimate import HIDDEN_BOUND_TOKENS, MEDIA_BOUND_TOKENS, tokens_of
from appliance.state import State
from support.build import chat_body, make_exchange, make_grid, make_principal, make_state

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


@BOTH
def test_the_bound_holds_for_whatever_the_body_may_become(surface: str) -> None:
    exchange = admitted(surface=surface)
    assert exchange.input_bound == len(exchange.body) + HIDDEN_BOUND_TOKENS
    part = {"type": "image_url", "image_url": {"url": "https://pictures.test/a.png"}}
    pictured = admitted(chat_body(messages=[{"role": "user", "content": [part]}]), surface)
    assert pictured.input_bound > MEDIA_BOUND_TOKENS


@BOTH
def test_the_model_s_window_bounds_the_input_and_the_estimate_stays_under_it(surface: str) -> None:
    small = admitted(chat_body("told"), surface)
    assert small.input_bound == 700
    large = admitted(chat_body("told", messages=[{"role": "user", "content": "x" * 9000}]), surface)
    assert (large.input_bound, large.input_estimate) == (700, 700)


@pytest.mark.parametrize(
    ("changes", "asked", "n"),
    [
        ({}, None, 1),
        ({"max_tokens": None, "n": None}, None, 1),
        ({"max_tokens": 7}, 7, 1),
        ({"max_completion_tokens": 9}, 9, 1),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 7, 1),
        ({"max_tokens": 9, "max_completion_tokens": 7, "n": 3}, 7, 3),
    ],
)
def test_the_cap_that_the_caller_wrote_and_how_many_answers_he_wants(
    changes: dict[str, Any], asked: int | None, n: int
) -> None:
    exchange = admitted(chat_body(**changes), "openai")
    assert (exchange.asked_cap, exchange.n) == (asked, n)


@pytest.mark.parametrize(("changes", "asked"), [({}, None), ({"max_tokens": 7}, 7), ({"max_completion_tokens": 9}, 9)])
def test_the_native_surface_reads_them_too(changes: dict[str, Any], asked: int | None) -> None:
    exchange = admitted(chat_body(n=2, **changes))
    assert (exchange.asked_cap, exchange.n) == (asked, 2)


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


# -- what the two surfaces read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "stream", "include_usage"),
    [
        ({}, False, False),
        ({"stream": None}, False, False),
        ({"stream": True}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": {}}, True, False),
        ({"stream": True, "stream_options": None}, True, False),
    ],
)
def test_openai_s_stream_shows_usage_to_those_who_ask(
    changes: dict[str, Any], stream: bool, include_usage: bool
) -> None:
    exchange = admitted(chat_body(**changes), "openai")
    assert (exchange.stream, exchange.include_usage) == (stream, include_usage)
    assert exchange.head
    assert exchange.head.include_usage == include_usage


@pytest.mark.parametrize("stream", [True, False])
def test_the_native_stream_always_shows_usage(stream: bool) -> None:
    exchange = admitted(chat_body(stream=stream))
    assert (exchange.stream, exchange.include_usage) == (stream, True)


def test_the_native_surface_names_all_members_it_does_not_know() -> None:
    error = refused(chat_body(temprature=1, foo=2))
    assert error.code == "VALIDATION_ERROR"
    assert [detail["field"] for detail in error.details or []] == ["temprature", "foo"]


def test_the_compat_surface_lets_unknown_members_through() -> None:
    assert bytes(admitted(chat_body(foo={"bar": 1}), "openai").members["foo"]) == b'{"bar": 1}'


@BOTH
def test_the_caller_s_own_notes_are_kept_for_the_usage_row(surface: str) -> None:
    assert admitted(chat_body(metadata={"ticket": "A-1"}), surface).metadata == {"ticket": "A-1"}


def test_native_notes_do_not_travel_upstream() -> None:
    request = admitted(chat_body(metadata={"ticket": "A-1"})).request
    assert request
    assert request.metadata is None


@BOTH
def test_notes_have_a_limit(surface: str) -> None:
    error = refused(chat_body(metadata={"x": "y" * MAX_METADATA_BYTES}), surface)
    assert (error.code, error.param) == ("VALIDATION_ERROR", "metadata")


@BOTH
def test_a_value_that_cannot_be_read_is_the_caller_s_fault_and_no_fault_of_ours(surface: str) -> None:
    body = chat_body(metadata={"x": "here"}).replace(b'"here"', b'"\\ud800"')
    assert json.loads(body)["metadata"]["x"] == "\ud800"
    assert refused(body, surface).code == "VALIDATION_ERROR"
