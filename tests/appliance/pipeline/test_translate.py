"""A target that cannot carry the request is passed over with the reason; a request stays as the caller wrote it."""

from __future__ import annotations

from typing import Any

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
