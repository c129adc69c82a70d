"""The caller's request becomes one target's body: undecoded in the same dialect, by way of canonical in another."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.exchange import Attempt, Exchange
from appliance.grid.grid import Grid
from appliance.pipeline.admit import admit
from appliance.pipeline.run import run
from appliance.pipeline.translate import translate
from support.build import FakePools, FakeUpstream, chat_body, client_of, make_exchange, make_grid, make_state
from support.upstream import completion

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
    assert (attempt.passthrough is not None) is through
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


# -- what a target lacks ----------------------------------------------------------------------------------------------

FEATURES = ["temperature", "top_p", "top_k", "penalties", "seed", "stop", "n", "logprobs", "reasoning"]
FEATURES += ["parallel_tool_calls"]
NO_FEATURES = f"capabilities: {{{', '.join(f'{name}: false' for name in FEATURES)}}}"
NARROW = make_grid(
    f"""
providers:
  open: {{type: custom, base_url: "http://open.test/v1"}}
  two: {{type: custom, base_url: "http://two.test/v1"}}
  claude: {{type: anthropic, api_key: secret-of-claude}}
  answers: {{type: custom, api: responses, base_url: "http://answers.test/v1"}}
models:
  m: {{price: free, route: [{{backend: "open:narrow", {NO_FEATURES}}}, {{backend: "two:wide"}}]}}
  alone: {{price: free, route: [{{backend: "open:narrow", {NO_FEATURES}}}]}}
  claude: {{price: free, route: [{{backend: "claude:claude-x", {NO_FEATURES}}}]}}
  answers: {{price: free, route: [{{backend: "answers:x", {NO_FEATURES}}}]}}
  preset:
    price: free
    default_params: {{temperature: 0.5, seed: 7, stop: [END], reasoning_effort: low, top_p: 0.9, max_tokens: 5}}
    route: [{{backend: "open:narrow", {NO_FEATURES}}}, {{backend: "two:wide"}}]
partners: {{reseller: {{tenants: {{acme: {{}}}}}}}}
"""
)


def on_narrow(surface: str, body: bytes, place: int = 0) -> tuple[Exchange, Attempt]:
    exchange = make_exchange(NARROW, body, surface=surface)
    admit(exchange, make_state())
    assert exchange.model
    attempt = Attempt(1, exchange.model.policy.targets[place])
    translate(exchange, attempt)
    return exchange, attempt


NEUTRAL: dict[str, Any] = {
    "temperature": 1,
    "top_p": 1.0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "stop": [],
    "n": 1,
    "logprobs": False,
    "reasoning_effort": "none",
    "parallel_tool_calls": True,
}
EARNEST: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.5,
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "stop": ["x"],
    "n": 2,
    "logprobs": True,
    "seed": 0,
    "reasoning_effort": "low",
    "parallel_tool_calls": False,
}
BOTH = pytest.mark.parametrize("surface", ["openai", "native"])


def asking(model: str, name: str) -> bytes:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    return chat_body(model, tools=tools, **{name: EARNEST[name]})


@BOTH
@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_value_that_a_target_lacks_is_dropped_there(surface: str, name: str) -> None:
    """Many programs send temperature 1 to every model; those that do not take the member would refuse the call."""
    exchange, attempt = on_narrow(surface, chat_body("alone", **{name: NEUTRAL[name]}))
    assert attempt.failure is None
    assert name not in json.loads(attempt.body)
    assert name in exchange.members, "the next target gets the request as the caller wrote it"


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_target_that_has_the_feature_gets_the_neutral_value_too(name: str) -> None:
    _, attempt = on_narrow("openai", chat_body("m", **{name: NEUTRAL[name]}), place=1)
    assert json.loads(attempt.body)[name] == NEUTRAL[name]


@BOTH
@pytest.mark.parametrize("name", EARNEST)
def test_what_is_asked_in_earnest_passes_the_target_over(surface: str, name: str) -> None:
    exchange, attempt = on_narrow(surface, asking("m", name))
    assert attempt.failure
    assert (attempt.failure.code, attempt.failure.param, attempt.dispatched) == ("VALIDATION_ERROR", name, False)
    assert exchange.translation_error
    again = Attempt(2, exchange.model.policy.targets[1])  # type: ignore[union-attr]
    assert translate(exchange, again)
    assert json.loads(again.body)[name] == EARNEST[name]


@BOTH
@pytest.mark.parametrize("name", EARNEST)
async def test_it_is_refused_by_name_only_when_no_target_can(surface: str, name: str) -> None:
    for model, status in (("m", 200), ("alone", 400 if surface == "openai" else 422)):
        pools = FakePools(FakeUpstream(json.dumps(completion()).encode()))
        clock = asyncio.get_running_loop().time
        exchange = make_exchange(NARROW, asking(model, name), surface=surface, clock=clock)
        await run(exchange, make_state(pools=pools))
        assert client_of(exchange).status == status
        assert [opened[0] for opened in pools.opened] == (["two"] if model == "m" else [])
        if status == 200:
            assert client_of(exchange).headers["X-Scaigrid-Attempts"] == "1", "passing over is no attempt"
        else:
            assert exchange.error
            assert exchange.error.param == name


@BOTH
def test_the_operator_s_defaults_that_a_target_lacks_are_dropped_there_only(surface: str) -> None:
    exchange, attempt = on_narrow(surface, chat_body("preset"))
    assert json.loads(attempt.body).keys() == {"model", "messages", "max_tokens"}
    again = Attempt(2, exchange.model.policy.targets[1])  # type: ignore[union-attr]
    assert translate(exchange, again)
    sent = json.loads(again.body)
    assert (sent["temperature"], sent["seed"], sent["stop"], sent["reasoning_effort"]) == (0.5, 7, ["END"], "low")


@pytest.mark.parametrize("thinking", [{"type": "disabled"}, {"type": "adaptive"}])
@pytest.mark.parametrize("model", ["claude", "alone"])
def test_thinking_that_nobody_insists_on_is_dropped_where_there_is_none(model: str, thinking: dict[str, Any]) -> None:
    """Agents send it to every model."""
    _, attempt = on_narrow("anthropic", chat_body(model, max_tokens=50, thinking=thinking))
    assert attempt.failure is None
    assert b"thinking" not in attempt.body
    assert b"reasoning" not in attempt.body


@pytest.mark.parametrize("model", ["answers", "alone"])
def test_a_wish_about_the_summary_of_reasoning_is_dropped_where_there_is_none(model: str) -> None:
    body = json.dumps({"model": model, "input": "Hello", "reasoning": {"summary": "auto"}}).encode()
    _, attempt = on_narrow("responses", body)
    assert attempt.failure is None
    assert "reasoning" not in json.loads(attempt.body)


@pytest.mark.parametrize(
    ("surface", "model", "through"),
    [("anthropic", "claude", True), ("responses", "answers", True), ("openai", "claude", False)],
)
def test_each_dialect_goes_through_to_its_own(surface: str, model: str, through: bool) -> None:
    changes: dict[str, Any] = {"input": "Hello"} if surface == "responses" else {}
    body = json.loads(chat_body(model, max_tokens=50, **changes))
    if surface == "responses":
        del body["messages"], body["max_tokens"]
    _, attempt = on_narrow(surface, json.dumps(body).encode())
    assert (attempt.passthrough is not None) is through
