"""Rate limits of a call: whose they are, what they count, what the caller is told, and that nothing stays taken."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.formats.chat import Usage
from appliance.limits import Budget, Limits
from appliance.pipeline.admit import admit
from appliance.pipeline.rates import OPEN_CAP_TOKENS, rate_headers, refusal, take_rates
from appliance.pipeline.settle import settle
from appliance.state import State
from appliance.state.ledger import Amount, Ledger
from appliance.state.limiter import Limited, Limiter
from support.build import Clock, make_attempt, make_exchange, make_grid, make_state

SUBJECTS = ("partner:reseller", "tenant:acme", "group:acme:sales", "user:acme:alice", "key:apikey_1")
FOUR = ("key:apikey_1", "user:acme:alice", "tenant:acme", "partner:reseller")
HEADERS = ["X-Scaigrid-Ratelimit-Limit", "X-Scaigrid-Ratelimit-Remaining", "X-Scaigrid-Ratelimit-Reset"]
ESTIMATE = 40
KEYS = {
    "key": "key_rate_limits: {%s}",
    "user": "user_rate_limits: {%s}",
    "tenant": "rate_limits: {%s}",
}


def yaml(partner: str = "", tenant: str = "", user: str = "") -> str:
    return f"""
providers: {{one: {{type: custom, base_url: "http://one.test/v1"}}}}
models:
  m: {{price: free, route: [{{backend: "one:a"}}]}}
  small: {{price: free, max_output_tokens: 50, route: [{{backend: "one:a"}}]}}
partners:
  reseller:
    {partner}
    tenants:
      acme:
        {tenant}
        users: {{alice: {{{user}}}}}
"""


def with_limits(scope: str, limits: str) -> str:
    """YAML with these limits on this level, none on the others that could refuse before it."""
    if scope == "partner":
        return yaml(partner=f"rate_limits: {{{limits}}}")
    return yaml(tenant=KEYS[scope] % limits)


def state_with(*budgets: Budget) -> State:
    ledger = Ledger()
    for budget in budgets:
        ledger.open(budget, 1_700_000_000_000)
    return cast(State, SimpleNamespace(ledger=ledger, limiter=Limiter()))


def exchange_of(text: str, clock: Clock, model: str = "m", cap: int | None = 10, n: int = 1) -> Exchange:
    exchange = make_exchange(make_grid(text), clock=clock)
    assert exchange.principal
    exchange.principal.subjects = SUBJECTS
    exchange.model = exchange.grid.models[model]
    exchange.input_estimate, exchange.asked_cap, exchange.n = ESTIMATE, cap, n
    return exchange


def taken(text: str, clock: Clock, state: State, **changes: Any) -> Exchange:
    exchange = exchange_of(text, clock, **changes)
    take_rates(exchange, state)
    return exchange


def refused(text: str, clock: Clock, state: State, **changes: Any) -> GatewayError:
    exchange = exchange_of(text, clock, **changes)
    with pytest.raises(GatewayError) as error:
        take_rates(exchange, state)
    assert error.value.code == "RATE_LIMITED"
    assert exchange.grant is None
    return error.value


def ended(exchange: Exchange, state: State, tokens: int) -> None:
    """The call was made and used so many tokens."""
    exchange.begun, exchange.status = True, "completed"
    assert exchange.model
    exchange.attempts = [make_attempt(exchange.model.policy.targets[0])]
    exchange.answered, exchange.usage = exchange.attempts[0], Usage(tokens, 0)
    settle(exchange, state)


@pytest.mark.parametrize("scope", ["key", "user", "tenant", "partner"])
def test_each_level_limits_requests_and_says_when_to_come_back(scope: str) -> None:
    text, clock, state = with_limits(scope, "requests_per_minute: 2"), Clock(), state_with()
    for _ in range(2):
        ended(taken(text, clock, state), state, 10)
        clock.advance(10)
    error = refused(text, clock, state)
    assert f"the limit of the {scope}, 2 requests a minute" in error.message
    assert error.retry_after is not None
    clock.advance(error.retry_after - 1.001)
    refused(text, clock, state)
    clock.advance(1.001)
    taken(text, clock, state)


@pytest.mark.parametrize("scope", ["key", "user", "tenant", "partner"])
def test_each_level_limits_calls_at_the_same_time(scope: str) -> None:
    text, clock, state = with_limits(scope, "concurrent_requests: 1"), Clock(), state_with()
    first = taken(text, clock, state)
    error = refused(text, clock, state)
    assert (error.retry_after, "1 requests at the same time" in error.message) == (1, True)
    ended(first, state, 10)
    taken(text, clock, state)


@pytest.mark.parametrize("scope", ["key", "user", "tenant", "partner"])
def test_each_level_limits_tokens_by_the_estimate_and_then_by_what_was_used(scope: str) -> None:
    text, clock, state = with_limits(scope, "tokens_per_minute: 100"), Clock(), state_with()
    first = taken(text, clock, state, cap=50)
    assert "100 tokens a minute" in refused(text, clock, state).message
    ended(first, state, 5)
    taken(text, clock, state, cap=50)


@pytest.mark.parametrize(
    ("model", "cap", "n", "tokens"),
    [
        ("m", 10, 1, ESTIMATE + 10),
        ("m", 10, 4, ESTIMATE + 40),
        ("m", None, 1, ESTIMATE + OPEN_CAP_TOKENS),
        ("small", None, 2, ESTIMATE + 100),
        ("small", 4000, 1, ESTIMATE + 50),
    ],
)
def test_what_a_call_counts_before_it_is_known(model: str, cap: int | None, n: int, tokens: int) -> None:
    exchange = taken(yaml(), Clock(), state_with(), model=model, cap=cap, n=n)
    assert exchange.grant
    assert exchange.grant.tokens == tokens


def test_an_open_cap_passes_a_limit_smaller_than_our_guess_of_it() -> None:
    taken(with_limits("user", "tokens_per_minute: 200"), Clock(), state_with(), cap=None)


def test_a_call_larger_than_the_whole_limit_is_told_no_time() -> None:
    error = refused(with_limits("user", "tokens_per_minute: 100"), Clock(), state_with(), cap=500)
    assert error.retry_after is None


def test_own_limits_of_a_user_go_before_those_of_the_tenant() -> None:
    text = yaml(tenant="user_rate_limits: {requests_per_minute: 1}", user="rate_limits: {requests_per_minute: 3}")
    clock, state = Clock(), state_with()
    for _ in range(3):
        taken(text, clock, state)
    refused(text, clock, state)


def test_a_call_that_was_refused_takes_nothing_on_any_level() -> None:
    text, clock, state = with_limits("key", "requests_per_minute: 1"), Clock(), state_with()
    ended(taken(text, clock, state), state, 10)
    before = [state.limiter.concurrent(subject) for subject in FOUR]
    for _ in range(2000):  # more than any other level would stand
        assert "limit of the key" in refused(text, clock, state).message
    assert [state.limiter.concurrent(subject) for subject in FOUR] == before == [0, 0, 0, 0]
    clock.advance(61)
    taken(text, clock, state)


def test_a_call_that_something_else_refused_counts_nothing() -> None:
    text, clock, state = with_limits("user", "requests_per_minute: 1, tokens_per_minute: 50"), Clock(), state_with()
    for _ in range(20):
        exchange = taken(text, clock, state)
        exchange.error = GatewayError("BUDGET_EXCEEDED", "no money")
        settle(exchange, state)
    assert [state.limiter.concurrent(subject) for subject in FOUR] == [0, 0, 0, 0]
    taken(text, clock, state)


# -- headers ----------------------------------------------------------------------------------------------------------


def test_an_answer_tells_the_tightest_limit() -> None:
    text, clock, state = with_limits("tenant", "requests_per_minute: 5"), Clock(), state_with()
    taken(text, clock, state)
    clock.advance(30.5)
    exchange = taken(text, clock, state)
    shown = rate_headers(exchange)
    assert list(shown) == HEADERS
    assert [shown[name] for name in HEADERS[:2]] == ["5", "3"]
    full_at = exchange.received_unix + 60
    assert full_at <= int(shown[HEADERS[2]]) <= math.ceil(full_at) + 2


def test_a_refusal_tells_them_too() -> None:
    text, clock, state = with_limits("user", "requests_per_minute: 1"), Clock(), state_with()
    taken(text, clock, state)
    exchange = exchange_of(text, clock)
    with pytest.raises(GatewayError):
        take_rates(exchange, state)
    shown = rate_headers(exchange)
    assert [shown[name] for name in HEADERS[:2]] == ["1", "0"]
    assert exchange.received_unix < int(shown[HEADERS[2]]) <= exchange.received_unix + 62


@pytest.mark.parametrize("limits", ["tokens_per_minute: 20", "concurrent_requests: 1"])
def test_a_refusal_for_tokens_or_slots_tells_the_request_limit_all_the_same(limits: str) -> None:
    text, clock, state = with_limits("user", limits), Clock(), state_with()
    if "concurrent" in limits:
        taken(text, clock, state)
    exchange = exchange_of(text, clock)
    with pytest.raises(GatewayError):
        take_rates(exchange, state)
    assert list(rate_headers(exchange)) == HEADERS


def test_there_is_nothing_to_tell_when_nothing_is_limited() -> None:
    off = "{requests_per_minute: unlimited}"
    text = yaml(
        partner=f"rate_limits: {off}",
        tenant="\n        ".join(f"{name}: {off}" for name in ("rate_limits", "user_rate_limits", "key_rate_limits")),
    )
    assert rate_headers(taken(text, Clock(), state_with())) == {}


@pytest.mark.parametrize(("wait", "told"), [(None, 1), (0.2, 1), (1.0, 1), (1.2, 2), (59.9, 60)])
def test_the_wait_is_told_in_whole_seconds_rounded_up(wait: float | None, told: int) -> None:
    assert refusal(Limited("key:1", "requests", 5, wait)).retry_after == told


# -- throttling budgets -----------------------------------------------------------------------------------------------


def throttling(subject: str) -> Budget:
    return Budget("b", "user", subject, "total", cost_limit=10, hard_action="throttle")


def use_up(state: State, subject: str) -> None:
    state.ledger.post(state.ledger.reserve((subject,), Amount(), 1_700_000_000_000), Amount(10))


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_used_up_throttling_budget_leaves_a_tenth_of_the_limits(subject: str) -> None:
    """A group has no limits of its own: there the user who calls is slowed down."""
    clock, state = Clock(), state_with(throttling(subject))
    text = yaml(
        partner="rate_limits: {requests_per_minute: 40}",
        tenant="\n        ".join(
            f"{name}: {{requests_per_minute: 40}}" for name in ("rate_limits", "user_rate_limits", "key_rate_limits")
        ),
    )
    for _ in range(10):
        taken(text, clock, state)
    clock.advance(61)
    use_up(state, subject)
    for _ in range(4):
        taken(text, clock, state)
    assert "4 requests a minute" in refused(text, clock, state).message


def test_a_throttling_budget_with_room_slows_nobody_down() -> None:
    clock, state = Clock(), state_with(throttling("user:acme:alice"))
    for _ in range(40):
        taken(yaml(), clock, state)


def test_the_defaults_are_the_documented_ones() -> None:
    tenant = make_grid(yaml()).tenants["acme"]
    each = (tenant.key_limits, tenant.user_limits, tenant.limits, tenant.partner_limits)
    assert each == (Limits(60), Limits(120), Limits(1000), Limits(5000))


# -- calls that are bounded from the start ----------------------------------------------------------------------------


def unit_call(operation: str, body: dict[str, Any], limits: str = "") -> Exchange:
    """Of models that take whatever comes: the line up to the limits."""
    text = f"""
providers: {{one: {{type: custom, base_url: "http://one.test/v1"}}}}
models:
  vectors: {{modality: embedding, price: free, route: [{{backend: "one:e"}}]}}
  pictures: {{modality: image, price: free, route: [{{backend: "one:p"}}]}}
  voices: {{modality: audio, price: free, route: [{{backend: "one:s"}}]}}
  m: {{price: free, route: [{{backend: "one:a"}}]}}
partners: {{reseller: {{tenants: {{acme: {{user_rate_limits: {{{limits}}}, users: {{alice: {{}}}}}}}}}}}}
"""
    exchange = make_exchange(
        make_grid(text), json.dumps(body).encode(), surface="openai", operation=operation, clock=Clock()
    )
    admit(exchange, make_state())
    return exchange


UNIT_CALLS: dict[str, dict[str, Any]] = {
    "embed": {"model": "vectors", "input": ["hello"] * 9},
    "image": {"model": "pictures", "prompt": "a kite", "n": 4, "quality": "high"},
    "speak": {"model": "voices", "input": "Hello there " * 50, "voice": "alloy"},
}


@pytest.mark.parametrize("operation", UNIT_CALLS)
def test_they_count_what_they_likely_use_and_not_what_is_held_for_them(operation: str) -> None:
    """The bound is what no call can pass: counted against a limit it would refuse calls that fit many times."""
    exchange = unit_call(operation, UNIT_CALLS[operation])
    assert exchange.grant
    assert exchange.bound
    assert 0 < exchange.grant.tokens == exchange.operation.estimate(exchange, None).total_tokens
    assert exchange.grant.tokens < exchange.bound.total_tokens
    unit_call(operation, UNIT_CALLS[operation], f"tokens_per_minute: {exchange.grant.tokens}")
    with pytest.raises(GatewayError) as caught:
        unit_call(operation, UNIT_CALLS[operation], f"tokens_per_minute: {exchange.grant.tokens - 1}")
    assert caught.value.code == "RATE_LIMITED"


def test_a_count_takes_a_request_and_no_tokens() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    exchange = unit_call("count", body, "tokens_per_minute: 1, requests_per_minute: 9")
    assert exchange.grant
    assert exchange.grant.tokens == 0
    assert exchange.rate_limit[:2] == (9, 8)
