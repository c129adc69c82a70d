"""The caller's request becomes one target's body: undecoded in the same dialect, by way of canonical in another."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.exchange import Attempt, Exchange
from appliance.grid.grid import Grid
from appliance.pipeline.admit import admit
from appliance.pipeline.translate import translate
from support.build import chat_body, make_exchange, make_grid, make_state

PROVIDERS = """
providers:
  open: {type: custom, base_url: "http://open.test/v1"}
  claude: {type: anthropic, api_key: secret-of-claude}
"""
SETTINGS = """
    system_prompt: Be brief.
    max_output_tokens: 1000
    default_params: {temperature: 0.5, max_tokens: 300, stop: [END], seed: 7, reasoning_effort: low}
"""
PLAIN_SETTINGS = SETTINGS.replace(", seed: 7, reasoning_effort: low", "")
"""What every dialect can carry."""


def grid_with(settings: str = "") -> Grid:
    return make_grid(
        f"""{PROVIDERS}
models:
  m:
    price: free
    route: [{{backend: "open:up-model"}}, {{backend: "claude:claude-x"}}]
{settings.rstrip()}
partners: {{reseller: {{tenants: {{acme: {{}}}}}}}}
"""
    )


def translated(surface: str, place: int = 0, settings: str = "", **changes: Any) -> tuple[Exchange, Attempt]:
    """The exchange, admitted, and its attempt on target `place` (0 speaks OpenAI's dialect, 1 Anthropic's)."""
    exchange = make_exchange(grid_with(settings), chat_body(**changes), surface=surface)
    admit(exchange, make_state())
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[place])
    translate(exchange, attempt)
    return exchange, attempt


def body_of(surface: str, place: int = 0, settings: str = "", **changes: Any) -> dict[str, Any]:
    _, attempt = translated(surface, place, settings, **changes)
    assert attempt.failure is None
    body: dict[str, Any] = json.loads(attempt.body)
    return body


@pytest.mark.parametrize(
    ("surface", "place", "through"), [("openai", 0, True), ("openai", 1, False), ("native", 0, False)]
)
def test_only_the_same_dialect_goes_through(surface: str, place: int, through: bool) -> None:
    _, attempt = translated(surface, place)
    assert attempt.passthrough is through
    assert attempt.body


def test_in_the_same_dialect_what_we_do_not_know_goes_through() -> None:
    unknown: dict[str, Any] = {"service_tier": "flex", "prediction": {"type": "content", "content": [1.10, None]}}
    messages = [{"role": "user", "content": [{"type": "hologram", "data": "x"}]}]
    assert body_of("openai", messages=messages, **unknown) == {"model": "up-model", "messages": messages, **unknown}


def test_the_upstream_s_name_of_the_model_is_sent() -> None:
    assert body_of("openai")["model"] == "up-model"
    assert body_of("native")["model"] == "up-model"
    assert body_of("native", 1)["model"] == "claude-x"


@pytest.mark.parametrize("surface", ["openai", "native"])
def test_streams_always_ask_for_usage(surface: str) -> None:
    body = body_of(surface, stream=True)
    assert body["stream"] is True
    assert body["stream_options"] == {"include_usage": True}


def test_other_stream_options_are_kept() -> None:
    options = {"include_usage": False, "include_obfuscation": False}
    body = body_of("openai", stream=True, stream_options=options)
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_the_caller_s_request_stays_as_it_was() -> None:
    exchange, _ = translated("openai", 0, SETTINGS, stream=True)
    before = {name: bytes(raw) for name, raw in exchange.members.items()}
    assert exchange.model
    for target in (*exchange.model.policy.targets, *exchange.model.policy.targets):
        translate(exchange, Attempt(1, target))
    assert {name: bytes(raw) for name, raw in exchange.members.items()} == before
    assert before["model"] == b'"m"'
    assert exchange.request
    assert (exchange.request.model, exchange.request.temperature, len(exchange.request.messages)) == ("m", None, 1)


@pytest.mark.parametrize("surface", ["openai", "native"])
@pytest.mark.parametrize("place", [0, 1])
def test_each_target_gets_the_same_body_however_often_it_is_asked(surface: str, place: int) -> None:
    exchange, attempt = translated(surface, place, PLAIN_SETTINGS)
    again = Attempt(2, attempt.target)
    assert translate(exchange, again)
    assert again.body == attempt.body


# -- what the operator sets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", ["openai", "native"])
def test_the_operator_s_defaults_hold_where_the_caller_says_nothing(surface: str) -> None:
    body = body_of(surface, 0, SETTINGS)
    assert (body["temperature"], body["max_tokens"], body["stop"], body["seed"], body["reasoning_effort"]) == (
        0.5,
        300,
        ["END"],
        7,
        "low",
    )


@pytest.mark.parametrize("surface", ["openai", "native"])
def test_what_the_caller_says_wins_over_the_defaults(surface: str) -> None:
    said = {"temperature": 0, "max_tokens": 20, "stop": ["x"], "seed": 0, "reasoning_effort": "high"}
    body = body_of(surface, 0, SETTINGS, **said)
    assert {name: body[name] for name in said} == said


@pytest.mark.parametrize("surface", ["openai", "native"])
def test_null_is_not_said(surface: str) -> None:
    assert body_of(surface, 0, SETTINGS, temperature=None, max_tokens=None)["temperature"] == 0.5


@pytest.mark.parametrize("surface", ["openai", "native"])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(("asked", "sent"), [(20, 20), (1000, 1000), (5000, 1000)])
def test_the_model_s_most_output_is_the_caller_s_most(surface: str, name: str, asked: int, sent: int) -> None:
    body = body_of(surface, 0, "    max_output_tokens: 1000\n", **{name: asked})
    assert [body[cap] for cap in ("max_tokens", "max_completion_tokens") if cap in body] == [sent]


def test_of_two_caps_neither_exceeds_the_model_s() -> None:
    body = body_of("openai", 0, "    max_output_tokens: 1000\n", max_tokens=5000, max_completion_tokens=70)
    assert (body["max_tokens"], body["max_completion_tokens"]) == (1000, 70)


@pytest.mark.parametrize("surface", ["openai", "native"])
def test_the_operator_s_system_prompt_comes_before_the_caller_s(surface: str) -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    body = body_of(surface, 0, SETTINGS, messages=messages)
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, *messages]


def test_anthropic_gets_both_system_prompts_in_order() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    body = body_of("openai", 1, PLAIN_SETTINGS, messages=messages)
    text = json.dumps(body["system"])
    assert text.index("Be brief.") < text.index("Be kind.")
    assert body["max_tokens"] == 300
    assert body["stop_sequences"] == ["END"]


def test_quotes_in_the_system_prompt_are_quoted() -> None:
    prompt = 'Say "yes"\\no.'
    body = body_of("openai", 0, f"    system_prompt: {json.dumps(prompt)}\n")
    assert body["messages"][0]["content"] == prompt


@pytest.mark.parametrize("surface", ["openai", "native"])
@pytest.mark.parametrize("default", ["seed: 7", "presence_penalty: 1", "frequency_penalty: 1"])
def test_a_default_that_a_target_cannot_carry_is_left_out_there(surface: str, default: str) -> None:
    """The caller never wrote it: telling him to remove it would be nonsense, and the target would never serve."""
    body = body_of(surface, 1, f"    default_params: {{{default}, max_tokens: 5}}\n")
    assert body["max_tokens"] == 5
    assert default.partition(":")[0] not in body


# -- what a budget sets -----------------------------------------------------------------------------------------------


def capped(surface: str, place: int, cap: int | None, settings: str = "", **changes: Any) -> dict[str, Any]:
    """The body for a call whose output a budget lowered to `cap`."""
    exchange, attempt = translated(surface, place, settings, **changes)
    exchange.output_cap = cap
    assert translate(exchange, attempt)
    body: dict[str, Any] = json.loads(attempt.body)
    return body


EVERY_WAY = pytest.mark.parametrize(("surface", "place"), [("openai", 0), ("openai", 1), ("native", 0), ("native", 1)])


@EVERY_WAY
@pytest.mark.parametrize("changes", [{}, {"max_tokens": 400}, {"max_completion_tokens": 400}])
@pytest.mark.parametrize("settings", ["", PLAIN_SETTINGS])
def test_a_budget_s_cap_reaches_every_dialect(surface: str, place: int, changes: dict[str, Any], settings: str) -> None:
    body = capped(surface, place, 77, settings, **changes)
    assert [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body] == [77]


@EVERY_WAY
def test_a_budget_s_cap_never_lifts_the_model_s_limit(surface: str, place: int) -> None:
    assert capped(surface, place, 5000, "    max_output_tokens: 1000\n")["max_tokens"] == 1000


@EVERY_WAY
def test_a_cap_of_one_call_is_not_left_in_the_caller_s_request(surface: str, place: int) -> None:
    exchange, attempt = translated(surface, place, max_tokens=400)
    exchange.output_cap = 77
    assert translate(exchange, attempt)
    exchange.output_cap = None
    assert translate(exchange, attempt)
    assert json.loads(attempt.body)["max_tokens"] == 400


# -- what a target cannot carry ---------------------------------------------------------------------------------------


def test_a_target_that_cannot_carry_the_request_is_skipped_with_the_reason() -> None:
    exchange, attempt = translated("openai", 1, n=3)
    assert attempt.failure
    assert (attempt.failure.kind, attempt.failure.code, attempt.failure.param) == ("caller", "VALIDATION_ERROR", "n")
    assert exchange.translation_error
    assert exchange.translation_error.param == "n"
    assert not attempt.dispatched
    assert attempt.body == b""


def test_what_only_the_translation_reads_is_still_the_caller_s_fault() -> None:
    _, attempt = translated("openai", 1, messages=[{"role": "user", "content": [{"type": "hologram"}]}])
    assert attempt.failure
    assert (attempt.failure.kind, attempt.failure.code) == ("caller", "VALIDATION_ERROR")
    assert attempt.failure.param
    assert attempt.failure.param.startswith("messages")
