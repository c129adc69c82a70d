"""OpenAI and every server that speaks its protocol: URLs, the key, and what is needed to be configured."""

from __future__ import annotations

import pytest

from appliance.formats import openai, responses
from appliance.formats.openai_passthrough import PASSTHROUGH
from appliance.grid.compile import compile_grid
from appliance.providers import PROVIDERS
from appliance.providers.base import Endpoint
from support.build import load_yaml

KEY = "sk-abcdefghijklmnop"


def endpoint(entry: str, **environ: str) -> Endpoint:
    return compile_grid(load_yaml(f"providers: {{up: {{{entry}}}}}\n", environ), 1).endpoints["up"]


@pytest.mark.parametrize(
    ("entry", "url"),
    [
        (f"type: openai, api_key: {KEY}", "https://api.openai.com/v1/chat/completions"),
        (f"type: openai, api_key: {KEY}, base_url: 'https://eu.test/v1'", "https://eu.test/v1/chat/completions"),
        ("type: custom, base_url: 'http://127.0.0.1:8080/v1'", "http://127.0.0.1:8080/v1/chat/completions"),
        ("type: custom, base_url: 'http://host.test/deep/path/v1/'", "http://host.test/deep/path/v1/chat/completions"),
    ],
)
def test_base_url_holds_everything_before_the_dialect_s_own_path(entry: str, url: str) -> None:
    assert endpoint(entry).url("chat") == url


@pytest.mark.parametrize("type_", ["openai", "custom"])
def test_the_key_is_a_bearer_token(type_: str) -> None:
    made = endpoint(f"type: {type_}, api_key: {KEY}, base_url: 'http://up.test/v1'")
    assert made.headers["Authorization"] == f"Bearer {KEY}"
    assert made.secrets == (KEY,)


def test_a_custom_server_may_need_no_key() -> None:
    made = endpoint("type: custom, base_url: 'http://up.test/v1'")
    assert "Authorization" not in made.headers
    assert made.unconfigured is None


def test_without_its_key_openai_is_unconfigured() -> None:
    made = endpoint("type: openai, api_key: '${env:OPENAI_API_KEY}'")
    assert made.unconfigured == "environment variable OPENAI_API_KEY is not set"
    assert "Authorization" not in made.headers
    assert endpoint("type: openai, api_key: '${env:OPENAI_API_KEY}'", OPENAI_API_KEY=KEY).unconfigured is None


@pytest.mark.parametrize("type_", ["openai", "custom"])
def test_both_speak_openai_s_dialect_and_let_its_callers_through(type_: str) -> None:
    made = endpoint(f"type: {type_}, api_key: {KEY}, base_url: 'http://up.test/v1'")
    assert (made.dialect, made.passthrough) == ("openai", PASSTHROUGH)
    assert not made.provider.in_process
    assert PROVIDERS["openai"].format is openai
    assert isinstance(PROVIDERS["custom"].format, openai.Upstream)


@pytest.mark.parametrize("type_", ["openai", "custom"])
def test_with_api_responses_chats_are_of_the_responses_dialect(type_: str) -> None:
    made = endpoint(f"type: {type_}, api_key: {KEY}, base_url: 'http://up.test/v1', api: responses")
    assert (made.dialect, made.format, made.passthrough) == ("responses", responses, responses.PASSTHROUGH)
    assert made.url("chat") == "http://up.test/v1/responses"


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        ("embed", "/embeddings"),
        ("image", "/images/generations"),
        ("transcribe", "/audio/transcriptions"),
        ("translate", "/audio/translations"),
        ("speak", "/audio/speech"),
        ("rerank", "/rerank"),
        ("models", "/models"),
        ("chat", "/chat/completions"),
    ],
)
def test_each_operation_has_its_url(operation: str, path: str) -> None:
    made = endpoint("type: custom, base_url: 'http://up.test/v1/'")
    assert made.url(operation, "any/model", stream=True) == f"http://up.test/v1{path}"
