"""What would hold a call back: the words and numbers of the real reservation and the real limits, and none taken."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.exchange import Exchange, Principal
from appliance.formats.chat import Usage
from appliance.grid.prices import usd
from appliance.limits import Limits
from appliance.pipeline.explain_limits import budgets_shown, plan, rates_shown, worst_case_shown
from appliance.pipeline.rates import take_rates
from appliance.pipeline.reserve import reserve
from appliance.state import State
from appliance.state.ledger import Amount
from support.build import RECEIVED_UNIX, make_budget, make_exchange, make_grid, make_principal, make_state

NOW_MS = int(RECEIVED_UNIX * 1000)
SUBJECTS = ("partner:reseller", "tenant:acme", "user:acme:alice", "key:apikey_1")
GRID = make_grid(
    """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  limited: {price: {input: "1", output: "2"}, max_output_tokens: 500, route: [{backend: "one:a"}]}
  wide: {price: {input: "1", output: "2"}, context_window: 8000, route: [{backend: "one:a"}]}
  fee: {price: {input: "0", output: "0", request: "1"}, route: [{backend: "one:a"}]}
partners:
  reseller:
    rate_limits: {requests_per_minute: 900}
    tenants:
      acme:
        rate_limits: {requests_per_minute: 5, tokens_per_minute: 9000, concurrent_requests: 2}
        user_rate_limits: {requests_per_minute: unlimited}
        users: {alice: {}}
"""
)


def measured(model: str = "limited", asked_cap: int | None = None, n: int = 1, **changes: Any) -> Exchange:
    """As admission leaves it, a thousand tokens long at most."""
    exchange = make_exchange(GRID, **changes)
    exchange.model, exchange.model_name = GRID.models[model], model
    exchange.input_bound, exchange.input_estimate = 1000, 250
    exchange.asked_cap, exchange.n = asked_cap, n
    exchange.deadline_at = exchange.received_at  # nobody waits for others
    return exchange


# -- budgets ----------------------------------------------------------------------------------------------------------

amounts = st.none() | st.integers(1, 4_000_000) | st.integers(1_000_000, 1_050_000)
used_up = st.just(0) | st.integers(0, 2_000_000)
budgets = st.builds(
    lambda subject, cost, tokens, requests, action: make_budget(
        cost if cost or tokens or requests else 1,
        id=subject,
        subject=subject,
        scope=subject.partition(":")[0],
        token_limit=tokens,
        request_limit=requests,
        hard_action=action,
        period="daily",
    ),
    st.sampled_from([*SUBJECTS, "tenant:other"]),
    amounts,
    st.none() | st.integers(1, 4000) | st.integers(1010, 1060),
    st.none() | st.integers(1, 3),
    st.sampled_from(["block", "block", "notify"]),
)


@given(
    st.lists(budgets, max_size=4, unique_by=lambda budget: budget.id),
    st.sampled_from(sorted(GRID.models)),
    st.none() | st.integers(1, 3000),
    st.integers(1, 3),
    used_up,
    used_up,
)
async def test_the_plan_is_what_reserving_does(
    limits: list[Any], model: str, asked_cap: int | None, n: int, posted: int, pending: int
) -> None:
    state = make_state(budgets=limits)
    used = state.ledger.reserve(SUBJECTS[:2], Amount(), NOW_MS)
    state.ledger.post(used, Amount(posted, 10, 1))
    for subject in SUBJECTS[:1]:
        for account in state.ledger.accounts(NOW_MS):
            if account.budget.subject == subject:
                account.balance.pending_cost += pending
    planned = plan(measured(model, asked_cap, n), state)
    real = measured(model, asked_cap, n)
    error = None
    try:
        await reserve(real, state)
    except GatewayError as refused:
        error = refused
    assert (planned.refused and planned.refused.body()) == (error and error.body())
    if error is None:
        assert real.reservation
        assert planned.amount == real.reservation.amount
        assert planned.clamped_to == (real.output_cap if real.clamped else None)


def test_a_plan_holds_nothing() -> None:
    state = make_state(budgets=[make_budget(10_000_000)])
    before = repr(vars(state.ledger))
    plan(measured(), state)
    assert repr(vars(state.ledger)) == before
    assert state.ledger.room(SUBJECTS, NOW_MS) == Amount(10_000_000, 1 << 62, 1 << 62)


def test_an_answer_is_clamped_to_what_is_left_and_that_is_told() -> None:
    planned = plan(measured(), make_state(budgets=[make_budget(1_200_000)]))
    assert planned.clamped_to == 100
    assert worst_case_shown(planned) == {
        "input_tokens": 1000,
        "output_tokens": 100,
        "units": {},
        "clamped_to": 100,
        "cost": "0.0012",
    }


def test_what_just_fits_is_not_clamped() -> None:
    assert plan(measured(), make_state(budgets=[make_budget(2_000_000)])).clamped_to is None
    assert plan(measured(), make_state(budgets=[make_budget(1_999_999)])).clamped_to == 499


def test_a_call_of_known_size_is_planned_by_its_pieces() -> None:
    exchange = measured()
    exchange.bound = Usage(10, 20, images=2, searches=3)
    planned = plan(exchange, make_state(budgets=[make_budget(1)]))
    assert planned.amount == Amount(50_000, 30, 1)
    assert worst_case_shown(planned)["units"] == {"images": 2, "searches": 3}
    assert planned.refused
    assert planned.worst(GRID.models["fee"].price) == 1_000_000_000


def test_every_budget_that_applies_is_shown_with_what_is_left() -> None:
    limits = [
        make_budget(5_000_000, id="u", scope="user", subject="user:acme:alice", period="daily", name="Alice"),
        make_budget(None, id="t", token_limit=1400, hard_action="notify"),
        make_budget(2, id="o", subject="tenant:other"),
    ]
    state = make_state(budgets=limits)
    state.ledger.post(state.ledger.reserve(SUBJECTS, Amount(), NOW_MS), Amount(700, 300, 1))
    state.ledger.reserve(SUBJECTS, Amount(1_000_000, 5, 1), NOW_MS)
    shown = budgets_shown(plan(measured(), state), sees_partner=True)
    tenant, user = shown["items"]
    assert (shown["fits"], shown["refused"]) == (True, None)
    assert (tenant["subject"], tenant["fits"], tenant["resets_at"]) == ("tenant:acme", False, None)
    assert tenant["tokens"] == {"limit": 1400, "used": 300, "reserved": 5, "remaining": 1095}
    assert (tenant["cost"], tenant["requests"], tenant["hard_action"]) == (None, None, "notify")
    assert user["cost"] == {"limit": "0.005", "used": "0.0000007", "reserved": "0.001", "remaining": "0.0039993"}
    assert (user["name"], user["fits"], user["resets_at"]) == ("Alice", True, "2023-11-15T00:00:00Z")


def test_what_a_partner_uses_is_shown_to_those_only_who_may_see_it() -> None:
    budget = make_budget(1, id="p", scope="partner", subject="partner:reseller")
    planned = plan(measured(), make_state(budgets=[budget]))
    hidden = budgets_shown(planned, sees_partner=False)
    assert (hidden["fits"], hidden["items"][0]["cost"], hidden["items"][0]["fits"]) == (False, None, False)
    assert budgets_shown(planned, sees_partner=True)["items"][0]["cost"]["limit"] == usd(1)


# -- rate limits ------------------------------------------------------------------------------------------------------


def shown(exchange: Exchange, state: State, *, sees_partner: bool = True) -> dict[str, dict[str, Any]]:
    found = rates_shown(exchange, state, sees_partner)
    return {item["subject"]: item for item in found["items"]}


def test_limits_along_the_line_with_what_is_used_of_them() -> None:
    state = make_state()
    take_rates(measured(), state)
    found = rates_shown(measured(), state, True)
    key, user, tenant, partner = found["items"]
    assert (found["tokens"], found["fits"]) == (750, True)
    assert [item["subject"] for item in found["items"]] == list(reversed(SUBJECTS))
    assert key["requests_per_minute"] == {"limit": 60, "used": 1, "remaining": 59}
    assert user["requests_per_minute"] is None
    assert tenant["requests_per_minute"] == {"limit": 5, "used": 1, "remaining": 4}
    assert tenant["tokens_per_minute"] == {"limit": 9000, "used": 750, "remaining": 8250}
    assert tenant["concurrent_requests"] == {"limit": 2, "used": 1, "remaining": 1}
    assert partner["requests_per_minute"] == {"limit": 900, "used": 1, "remaining": 899}


def test_what_would_be_refused_is_told_in_the_words_of_the_refusal_and_nothing_is_taken() -> None:
    state = make_state()
    for _ in range(2):
        take_rates(measured(), state)
    before = shown(measured(), state)
    assert before["tenant:acme"]["refused"]["message"] == (
        "the limit of the tenant, 2 requests at the same time, is reached"
    )
    assert rates_shown(measured(), state, True)["fits"] is False
    assert shown(measured(), state) == before
    with pytest.raises(GatewayError) as caught:
        take_rates(measured(), state)
    assert caught.value.body() == before["tenant:acme"]["refused"]


def test_a_minute_later_all_is_free_again() -> None:
    state = make_state()
    exchange = measured()
    take_rates(exchange, state)
    assert exchange.grant
    state.limiter.release(exchange.grant, 0, exchange.clock())
    later = measured()
    later.received_at += 62
    assert shown(later, state)["tenant:acme"]["requests_per_minute"]["used"] == 0


def test_who_is_not_named_has_the_limits_of_each() -> None:
    state = make_state()
    state.limiter.take([("user:", Limits(9)), ("key:", Limits(9))], 0, 1000.0)
    anybody = Principal("", "", "", "acme", "reseller", (), frozenset())
    found = shown(measured(principal=anybody), state)
    assert found["key:*"]["requests_per_minute"] == {"limit": 60, "used": None, "remaining": None}
    assert set(found) == {"key:*", "user:*", "tenant:acme", "partner:reseller"}


def test_the_partners_numbers_are_hidden_from_a_tenants_admin() -> None:
    state = make_state()
    take_rates(measured(), state)
    found = shown(measured(), state, sees_partner=False)
    assert found["partner:reseller"]["requests_per_minute"] == {"limit": 900, "used": None, "remaining": None}
    assert found["tenant:acme"]["requests_per_minute"]["used"] == 1


def test_a_budget_that_throttles_shows_what_it_leaves_of_the_limits() -> None:
    state = make_state(budgets=[make_budget(5, hard_action="throttle")])
    principal = make_principal()
    state.ledger.post(state.ledger.reserve(principal.subjects, Amount(), NOW_MS), Amount(9, 1, 1))
    tenant = shown(measured(), state)["tenant:acme"]
    assert tenant["tokens_per_minute"] == {"limit": 900, "used": 0, "remaining": 900}
