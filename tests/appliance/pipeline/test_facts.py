"""What routing is told of a call and of backends, in the words of the strategies."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.exchange import Exchange
from appliance.formats.chat import Usage
from appliance.grid.conditions import EXPECTED_OUTPUT_TOKENS, Facts
from appliance.pipeline.admit import admit
from appliance.pipeline.facts import Measured, facts_of
from appliance.state.health import Health, Permit
from support.build import chat_body, grid_of_targets, make_exchange, make_grid, make_principal, make_state

POLICY = """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  m: {price: free, route: {sticky: %s, targets: [{backend: "one:a"}]}}
  v: {modality: image, price: {image: "1"}, route: [{backend: "one:a"}]}
partners: {reseller: {tenants: {acme: {groups: {lab: {}}, users: {alice: {roles: [tenant_user]}}}}}}
"""


def admitted(sticky: str = "none", **options: Any) -> Exchange:
    exchange = make_exchange(make_grid(POLICY % sticky), **options)
    admit(exchange, make_state())
    return exchange


# -- of a call --------------------------------------------------------------------------------------------------------


def test_who_calls_comes_from_the_key_and_never_from_the_request() -> None:
    principal = make_principal("tenant_admin", "tenant_user", groups=("lab",))
    body = chat_body(metadata={"tenant": "other", "roles": "super_admin"}, user="someone")
    facts = facts_of(admitted(principal=principal, body=body))
    assert (facts.partner, facts.tenant, facts.user) == ("reseller", "acme", "alice")
    assert (facts.roles, facts.groups) == (("tenant_admin", "tenant_user"), ("lab",))
    assert facts.metadata == {"tenant": "other", "roles": "super_admin"}


def test_a_call_without_metadata_has_none() -> None:
    assert facts_of(admitted()).metadata == {}


def test_the_size_of_a_call_is_the_fair_estimate_and_not_the_bound() -> None:
    exchange = admitted(body=chat_body(messages=[{"role": "user", "content": "x" * 40_000}]))
    facts = facts_of(exchange)
    assert facts.input_tokens == exchange.input_estimate
    assert 10_000 <= facts.input_tokens < 10_100
    assert facts.input_tokens < exchange.input_bound


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, EXPECTED_OUTPUT_TOKENS),
        ({"max_tokens": 20}, 20),
        ({"max_tokens": 20, "n": 3}, 60),
        ({"max_tokens": 9000, "n": 2}, 2 * EXPECTED_OUTPUT_TOKENS),
    ],
)
def test_an_answer_is_expected_to_be_as_long_as_usual_or_as_the_cap(asked: dict[str, Any], expected: int) -> None:
    assert facts_of(admitted(body=chat_body(**asked))).output_tokens == expected


def test_what_is_not_counted_in_tokens_is_expected_as_it_was_asked_for() -> None:
    exchange = admitted(body=b'{"model": "v", "prompt": "a cat", "n": 2}', operation="image")
    facts = facts_of(exchange)
    assert facts.usage is exchange.bound is not None
    assert facts.expected.images == 2
    chat = facts_of(admitted())
    assert chat.usage is None
    assert chat.expected == Usage(chat.input_tokens, chat.output_tokens)


def test_the_features_that_a_call_needs_are_told() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert "tools" not in facts_of(admitted()).needs
    assert "tools" in facts_of(admitted(body=chat_body(tools=tools))).needs


@pytest.mark.parametrize("surface", ["native", "openai", "anthropic"])
def test_what_stays_together_depends_on_the_policy(surface: str) -> None:
    body = chat_body(max_tokens=10)
    keys = {sticky: sticky_key(sticky, surface=surface, body=body) for sticky in ("none", "conversation", "user")}
    assert keys["none"] == ""
    assert len(set(keys.values())) == 3
    goes_on = [{"role": "assistant", "content": "Hi"}, {"role": "user", "content": "Why?"}]
    longer = chat_body(max_tokens=10, messages=[{"role": "user", "content": "Hello"}, *goes_on])
    assert sticky_key("conversation", surface=surface, body=longer) == keys["conversation"]
    other = make_principal(user="bob")
    assert sticky_key("conversation", surface=surface, body=body, principal=other) == keys["conversation"]
    assert sticky_key("user", surface=surface, body=body, principal=other) != keys["user"]


def sticky_key(sticky: str, **options: Any) -> str:
    return facts_of(admitted(sticky, **options)).sticky_key


def test_a_call_that_another_model_took_over_sticks_by_that_model_s_policy() -> None:
    exchange = admitted("none")
    exchange.model = grid_of_targets("one:a", policy="sticky: user").models["m"]
    assert facts_of(exchange).sticky_key


def test_nothing_of_the_caller_gets_lost() -> None:
    """A fact that is added to the record has to be filled in here."""
    facts = facts_of(admitted("user", principal=make_principal(groups=("lab",)), body=chat_body(metadata={"k": "v"})))
    unset = {name for name in Facts.__slots__ if getattr(facts, name) == getattr(Facts(), name)}
    assert unset <= {"usage", "output_tokens", "needs"}


# -- of backends ------------------------------------------------------------------------------------------------------


def test_streamed_calls_tell_the_time_to_the_first_token() -> None:
    health = Health()
    for seconds in (0.1, 0.2, 0.3, 0.4):
        answered(health, "one:a", seconds, total_s=9.0)
    measured = Measured(health)
    assert measured.ttft_s("one:a", 50, 100.0) == pytest.approx(0.2)
    assert measured.ttft_s("one:a", 95, 100.0) == pytest.approx(0.4)


def test_where_nothing_was_streamed_the_whole_time_counts() -> None:
    health = Health()
    answered(health, "one:a", None, total_s=2.0)
    assert Measured(health).ttft_s("one:a", 50, 100.0) == pytest.approx(2.0)


def test_a_backend_that_nobody_asked_is_not_measured_and_looking_makes_it_no_backend() -> None:
    health = Health()
    measured = Measured(health)
    assert measured.ttft_s("one:a", 50, 0.0) is None
    assert measured.in_flight("one:a") == 0
    assert health.diagnostics("one:a", 0.0)["calls_last_minute"] == 0


def test_calls_that_are_under_way_are_counted() -> None:
    health = Health()
    permits = [permit_of(health, "one:a", 0.0) for _ in range(2)]
    for permit in permits:
        health.started(permit, 0.0)
    assert Measured(health).in_flight("one:a") == 2
    health.finished(permits[0], "ok", 1.0)
    assert Measured(health).in_flight("one:a") == 1
    assert Measured(health).in_flight("one:b") == 0


def answered(health: Health, backend: str, first_token_s: float | None, total_s: float) -> None:
    permit = permit_of(health, backend, 0.0)
    health.started(permit, 0.0)
    if first_token_s is not None:
        health.answered(permit, first_token_s, first_token_s)
    health.finished(permit, "ok", total_s)


def permit_of(health: Health, backend: str, now: float) -> Permit:
    permit = health.permit(backend, None, now)
    assert isinstance(permit, Permit)
    return permit
