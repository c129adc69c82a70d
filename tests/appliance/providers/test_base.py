"""Whose fault an error answer is, how long it asks to wait, what an endpoint is made of; no text shows a secret."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import CODES
from appliance.exchange import Failure
from appliance.grid.compile import compile_grid
from appliance.providers import PROVIDERS
from appliance.providers.base import Endpoint, classify, retry_after
from appliance.providers.capabilities import lacks
from config.services import SERVICES, Service
from support.build import load_yaml

KEY = "sk-abcdefghijklmnopqrstuvwxyz"
HEADER_SECRET = "org-secret-0123456789"


def endpoint(extra: str = "") -> Endpoint:
    loaded = load_yaml(f"providers: {{up: {{type: custom, base_url: 'http://up.test/v1', api_key: {KEY}{extra}}}}}\n")
    return compile_grid(loaded, 1).endpoints["up"]


UP = endpoint(f", headers: {{X-Org: {HEADER_SECRET}}}")


def judged(status: int, error: Any = None, **headers: str) -> Failure:
    body = error if isinstance(error, bytes) else json.dumps({"error": error or {"message": "no"}}).encode()
    return classify(UP, status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


# -- classify ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "caller", "VALIDATION_ERROR"),
        (413, "caller", "VALIDATION_ERROR"),
        (422, "caller", "VALIDATION_ERROR"),
        (401, "operator", "BACKEND_ERROR"),
        (402, "operator", "BACKEND_ERROR"),
        (403, "operator", "BACKEND_ERROR"),
        (404, "operator", "BACKEND_ERROR"),
        (405, "operator", "BACKEND_ERROR"),
        (429, "rate_limited", "BACKEND_RATE_LIMITED"),
        (408, "timeout", "BACKEND_TIMEOUT"),
        (504, "timeout", "BACKEND_TIMEOUT"),
        (500, "server_error", "BACKEND_ERROR"),
        (502, "server_error", "BACKEND_ERROR"),
        (503, "server_error", "BACKEND_ERROR"),
        (529, "server_error", "BACKEND_ERROR"),
        (599, "server_error", "BACKEND_ERROR"),
        (301, "operator", "BACKEND_ERROR"),
        (201, "operator", "BACKEND_ERROR"),
    ],
)
def test_the_status_says_whose_fault_it_is(status: int, kind: str, code: str) -> None:
    failure = judged(status)
    assert (failure.kind, failure.code, failure.status) == (kind, code, status)
    assert "up" in failure.detail
    assert str(status) in failure.detail


def test_the_caller_learns_what_he_did_wrong() -> None:
    failure = judged(400, {"message": "temperature must be below 2", "param": "temperature", "code": "x"})
    assert (failure.message, failure.param) == ("temperature must be below 2", "temperature")


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
def test_the_caller_does_not_learn_what_is_between_operator_and_provider(status: int) -> None:
    failure = judged(status, {"message": "organization org-42 of Acme Inc., project p-7"})
    assert "org-42" not in failure.message
    assert "up" in failure.message
    assert "org-42" in failure.detail


@pytest.mark.parametrize(
    "error",
    [
        {"message": "x", "code": "insufficient_quota"},
        {"message": "x", "type": "insufficient_quota"},
        {"message": "You exceeded your current quota, please check your plan and billing details."},
    ],
)
def test_a_used_up_quota_is_no_passing_limit(error: dict[str, str]) -> None:
    failure = judged(429, error, retry_after="5")
    assert (failure.kind, failure.code) == ("quota", "BACKEND_RATE_LIMITED")


@pytest.mark.parametrize(
    "message",
    [
        "Rate limit reached for model `llama-3.3-70b` on tokens per minute (TPM): Limit 6000, Used 5900. Please try "
        "again in 1s. Need more tokens? Upgrade to Dev Tier today at https://console.groq.com/settings/billing",
        "Rate limit reached for gpt-4o. You can increase it at https://platform.openai.com/account/billing.",
    ],
)
def test_a_passing_limit_may_name_the_page_where_more_is_sold(message: str) -> None:
    failure = judged(429, {"message": message, "type": "tokens", "code": "rate_limit_exceeded"})
    assert (failure.kind, failure.code) == ("rate_limited", "BACKEND_RATE_LIMITED")


@pytest.mark.parametrize("error", [{"message": "Your credit balance is too low"}, {"code": "insufficient_quota"}])
def test_a_400_that_tells_of_money_is_not_the_caller_s(error: dict[str, str]) -> None:
    assert judged(400, {"message": "x"} | error).kind == "quota"


def test_the_wait_is_taken_from_the_header_then_from_the_body() -> None:
    error = {"message": "x", "retry_after": 7}
    assert judged(429, error, retry_after="3").retry_after == 3
    assert judged(429, error).retry_after == 7
    assert judged(429, error, retry_after="0").retry_after == 0
    assert judged(429).retry_after is None


@pytest.mark.parametrize("status", [500, 503, 529])
def test_a_server_may_ask_for_a_wait_too(status: int) -> None:
    assert judged(status, retry_after="12").retry_after == 12


@given(
    status=st.integers(300, 599).filter(lambda status: status != 200),
    body=st.one_of(
        st.binary(max_size=300), st.text(max_size=300).map(lambda text: json.dumps({"error": text}).encode())
    ),
    wait=st.text(max_size=20),
)
def test_any_error_answer_is_judged(status: int, body: bytes, wait: str) -> None:
    failure = classify(UP, status, {"retry-after": wait}, body)
    assert failure.code in CODES
    assert failure.status == status
    assert failure.message
    assert failure.retry_after is None or failure.retry_after >= 0


# -- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [KEY, HEADER_SECRET])
@pytest.mark.parametrize("status", [400, 401, 422, 429, 500])
def test_no_text_shows_a_secret_that_the_upstream_quotes(secret: str, status: int) -> None:
    failure = judged(status, {"message": f"Incorrect API key provided: {secret}. Find your key at …"})
    assert secret not in failure.message
    assert secret not in failure.detail
    assert "[redacted]" in failure.detail


@pytest.mark.parametrize("padding", range(270, 302, 4))
def test_not_even_a_part_of_one_where_a_long_text_is_cut(padding: int) -> None:
    failure = judged(400, {"message": "x" * padding + KEY + "y" * 50})
    assert KEY[:8] not in failure.message
    assert KEY[:8] not in failure.detail


def test_a_secret_that_begins_another_does_not_leave_the_rest_of_it() -> None:
    both = endpoint(f", headers: {{X-Org: {KEY}-and-a-longer-tail}}")
    assert both.scrub(f"{KEY}-and-a-longer-tail") == "[redacted]"


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        (
            "type: azure, base_url: 'https://a.test', entra: {tenant_id: t, client_id: c, client_secret: @}",
            "entra-s3cret",
        ),
        (
            "type: google, vertex: {project: p, location: global, service_account: '${env:ACCOUNT}'}",
            "-----BEGIN PRIVATE KEY-----\nMIIEvAabcdefghij\n-----END PRIVATE KEY-----\n",
        ),
    ],
)
def test_what_is_exchanged_for_a_token_is_a_secret_too(entry: str, secret: str) -> None:
    account = {"client_email": "a@b.test", "private_key": secret, "token_uri": "https://oauth2.test/token"}
    text = f"providers: {{up: {{{entry.replace('@', secret)}}}}}\n"
    made = compile_grid(load_yaml(text, {"ACCOUNT": json.dumps(account)}), 1).endpoints["up"]
    body = json.dumps({"error": {"message": f"we got {secret} from you"}}).encode()
    failure = made.provider.classify(made, 400, {}, body)
    assert secret[:20] not in failure.message + failure.detail
    assert "[redacted]" in failure.message
    assert secret not in repr(made)


@pytest.mark.parametrize("length", [7, 8])
def test_a_secret_too_short_to_be_told_from_a_word_is_left_alone(length: int) -> None:
    short = endpoint(f", headers: {{X-Org: {'abcdefghij'[:length]}}}")
    assert short.scrub("abcdefghij") == ("abcdefghij" if length == 7 else "[redacted]ij")


def test_an_endpoint_does_not_show_its_secrets() -> None:
    assert KEY not in repr(UP)
    assert HEADER_SECRET not in repr(UP)


# -- retry_after ------------------------------------------------------------------------------------------------------

NOW = 1_800_000_000.0


def http_date(offset_s: float) -> str:
    return format_datetime(datetime.fromtimestamp(NOW + offset_s, UTC), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-5"}, 0.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "nan", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "-inf"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Thu, 99 Foo 2026 00:00:00 GMT"}, None),
        ({"retry-after": http_date(30)}, 30.0),
        ({"retry-after": http_date(-30)}, 0.0),
        ({}, None),
    ],
)
def test_retry_after_in_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=40)))
def test_any_header_is_a_wait_or_none(headers: dict[str, str]) -> None:
    seconds = retry_after(headers, NOW)
    assert seconds is None or 0 <= seconds < float("inf")


def test_the_clock_of_classify_is_the_wall_s() -> None:
    soon = format_datetime(datetime.fromtimestamp(time.time() + 100, UTC), usegmt=True)
    wait = judged(429, retry_after=soon).retry_after
    assert wait is not None
    assert 90 < wait <= 100


# -- prepare ----------------------------------------------------------------------------------------------------------


def test_an_endpoint_has_what_a_call_needs() -> None:
    made = endpoint(
        ", headers: {X-Org: acme}, max_connections: 7, timeouts: {connect: 1s, first_byte: 2s, idle: 3s, total: 4s}"
    )
    assert (made.name, made.url("chat"), made.max_connections) == ("up", "http://up.test/v1/chat/completions", 7)
    assert (made.connect_s, made.first_byte_s, made.idle_s, made.total_s) == (1, 2, 3, 4)
    assert dict(made.headers) == {
        "Accept-Encoding": "identity",
        "User-Agent": "scaigrid",
        "Authorization": f"Bearer {KEY}",
        "X-Org": "acme",
    }
    assert made.unconfigured is None


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION", "user-agent"])
def test_the_operator_s_own_header_takes_the_place_of_ours(name: str) -> None:
    """Header names have no case: sending both would leave it to the upstream which one counts."""
    made = endpoint(f", headers: {{{name}: the-operators-own}}")
    same = [value for header, value in made.headers.items() if header.lower() == name.lower()]
    assert same == ["the-operators-own"]


def test_every_type_of_the_configuration_has_a_provider_and_the_other_way_round() -> None:
    assert {name: provider.type for name, provider in PROVIDERS.items()} == {name: name for name in PROVIDERS}
    assert set(PROVIDERS) == set(SERVICES)


DIALECTS = {"openai": "openai", "anthropic": "anthropic", "google": "google", "demo": "openai"}


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.type)
def test_configuration_and_provider_agree_about_each_service(service: Service) -> None:
    key = "" if service.dialect == "demo" else f", api_key: {KEY}"
    url = ", base_url: 'http://up.test/v1'" if service.needs_base_url else ""
    made = compile_grid(load_yaml(f"providers: {{up: {{type: {service.type}{key}{url}}}}}\n"), 1).endpoints["up"]
    assert made.provider is PROVIDERS[service.type]
    assert made.provider.in_process == (service.dialect == "demo")
    if service.api == "responses":
        assert made.dialect == "responses"
    else:
        # A row of compatible.py that needs rewriting bears its own name, so that nobody is passed through to it.
        assert made.dialect in (DIALECTS[service.dialect], service.type)
        assert made.format is made.provider.format
    if service.dialect != "demo":
        assert made.secrets == (KEY,)
        assert KEY in "".join(made.headers.values())
        assert made.url("chat", "m").startswith(service.base_url or "http://up.test/v1")
        assert made.url("models").startswith(service.base_url or "http://up.test/v1")


@pytest.mark.parametrize("service", SERVICES.values(), ids=lambda service: service.type)
def test_for_each_thing_that_a_service_can_do_there_is_a_url(service: Service) -> None:
    """A target that lacks a feature is never asked for it; to every other the call must find its way."""
    if service.dialect == "demo":
        return
    url = ", base_url: 'http://up.test/v1'" if service.needs_base_url else ""
    text = f"providers: {{up: {{type: {service.type}, api_key: {KEY}{url}}}}}\n"
    made = compile_grid(load_yaml(text), 1).endpoints["up"]
    lacking = lacks(service.type, "some-model")
    for feature, operations in NEEDED.items():
        if feature not in lacking:
            for operation in operations:
                assert made.url(operation, "some-model").startswith("http"), (operation, feature)


NEEDED = {
    "streaming": ("chat",),
    "embeddings": ("embed",),
    "images_out": ("image",),
    "transcription": ("transcribe", "translate"),
    "speech": ("speak",),
    "rerank": ("rerank",),
}


def test_models_of_openai_s_list_and_of_lists_without_a_frame() -> None:
    models = [{"id": "a", "owned_by": "me", "secret": 1, "context_length": None}, {"id": "b", "max_model_len": 4096}]
    told = [{"id": "a", "owned_by": "me"}, {"id": "b", "max_model_len": 4096}]
    assert UP.provider.models_of({"object": "list", "data": models}) == told
    assert UP.provider.models_of(models) == told
    assert UP.provider.models_of({"data": []}) == []


@pytest.mark.parametrize("body", [{}, None, 3, "x", [3], {"data": None}, {"data": [{}]}, {"data": ["a"]}])
def test_what_is_no_list_of_models(body: Any) -> None:
    with pytest.raises((KeyError, TypeError, AttributeError)):
        UP.provider.models_of(body)


async def test_only_in_process_providers_can_be_opened_in_the_process() -> None:
    with pytest.raises(AssertionError, match="over HTTP"):
        await UP.provider.open(UP, "chat", b"{}")
