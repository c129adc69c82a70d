"""Rate limits and budgets: defaults, the ways to write them, exact shares."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import config

Load = Callable[..., config.Loaded]


def budget(**written: object) -> config.Budget:
    return config.Budget.model_validate({"period": "monthly", "request_limit": 1, **written})


def test_a_limit_that_is_not_written_is_left_to_its_default() -> None:
    limits = config.RateLimits.model_validate({"tokens_per_minute": 5, "concurrent_requests": "unlimited"})
    assert limits.requests_per_minute is None
    assert (limits.tokens_per_minute, limits.concurrent_requests) == (5, config.UNLIMITED)


def test_calls_without_a_key_are_limited_unless_that_is_switched_off(load_text: Load) -> None:
    def limits(written: str) -> config.RateLimits:
        server = load_text(f"server:\n  {written}\n").document.server
        return server.unauthenticated_rate_limits

    assert limits("").requests_per_minute == 60
    assert limits("unauthenticated_rate_limits:").requests_per_minute == 60
    assert limits("unauthenticated_rate_limits: {}").requests_per_minute == 60
    assert limits("unauthenticated_rate_limits: {requests_per_minute: 7}").requests_per_minute == 7
    assert limits("unauthenticated_rate_limits: {requests_per_minute: unlimited}").requests_per_minute == "unlimited"
    few = limits("unauthenticated_rate_limits: {concurrent_requests: 3}")
    assert (few.requests_per_minute, few.concurrent_requests) == (60, 3)


def test_a_budget_has_defaults() -> None:
    found = config.Budget.model_validate({"period": "daily", "cost_limit": "5.00"})
    assert (found.cost_limit, found.token_limit, found.request_limit) == (5_000_000_000, None, None)
    assert (found.soft_limit_pct, found.soft_ppm, found.hard_action) == (0.8, 800_000, "block")
    assert (found.timezone, found.name, found.kinds) == ("UTC", None, ("cost_limit",))


def test_a_budget_may_limit_all_three() -> None:
    found = budget(cost_limit="0", token_limit=2, timezone="Europe/Amsterdam", name="house", hard_action="throttle")
    assert (found.kinds, found.cost_limit) == (("cost_limit", "token_limit", "request_limit"), 0)
    assert (found.timezone, found.name, found.hard_action) == ("Europe/Amsterdam", "house", "throttle")


@given(st.integers(0, 10**6))
def test_every_millionth_is_held_exactly(ppm: int) -> None:
    assert budget(soft_limit_pct=float(Decimal(ppm) / 10**6)).soft_ppm == ppm


@pytest.mark.parametrize(("written", "ppm"), [(0, 0), (1, 1_000_000), (0.29, 290_000), (1e-6, 1)])
def test_shares(written: float, ppm: int) -> None:
    assert budget(soft_limit_pct=written).soft_ppm == ppm


@pytest.mark.parametrize("written", [1e-7, 0.1 + 0.2, -0.0001, 1.0001, float("nan"), float("inf"), True, None])
def test_what_is_no_share(written: object) -> None:
    with pytest.raises(ValidationError):
        budget(soft_limit_pct=written)


@pytest.mark.parametrize("written", ["", "Europe", "europe/amsterdam", "localtime", "posix/UTC", "a\0b", "+1"])
def test_what_is_no_time_zone(written: str) -> None:
    with pytest.raises(ValidationError, match="there is no time zone"):
        budget(timezone=written)


def test_the_largest_budget_fits_into_64_bits() -> None:
    assert budget(cost_limit="1000000000").cost_limit == 10**18 < 2**63
    with pytest.raises(ValidationError, match="at most 1000000000 USD"):
        budget(cost_limit="1000000000.000000001")


def test_limits_stand_at_every_subject(load_text: Load) -> None:
    daily, limits = "[{period: daily, request_limit: 5}]", "{requests_per_minute: 9}"
    both = f"budgets: {daily}, rate_limits: {limits}"
    key = f"{{key: sgk_0123456789abcdefghij, {both}}}"
    tenant = f"{both}, user_rate_limits: {limits}, key_rate_limits: {limits}"
    users = f"users: {{u: {{{both}, api_keys: [{key}]}}}}, groups: {{g: {{users: [u], budgets: {daily}}}}}"
    loaded = load_text(f"partners: {{p: {{{both}, tenants: {{t: {{{tenant}, {users}}}}}}}}}\n")
    partner = loaded.document.partners["p"]
    found = partner.tenants["t"]
    user = found.users["u"]
    nine = config.RateLimits(requests_per_minute=9)
    five = (config.Budget(period="daily", request_limit=5),)
    subjects = (partner, found, user, user.api_keys[0])
    assert [subject.rate_limits for subject in subjects] == [nine] * 4
    assert [subject.budgets for subject in (*subjects, found.groups["g"])] == [five] * 5
    assert (found.user_rate_limits, found.key_rate_limits, found.groups["g"].users) == (nine, nine, ("u",))
    inner = {path[2:] for path in loaded.places if len(path) > 4}
    assert inner == {
        ("tenants", "t", "users", "u"),
        ("tenants", "t", "users", "u", "budgets", "0"),
        ("tenants", "t", "users", "u", "api_keys", "0"),
        ("tenants", "t", "users", "u", "api_keys", "0", "budgets", "0"),
        ("tenants", "t", "groups", "g"),
        ("tenants", "t", "groups", "g", "budgets", "0"),
        ("tenants", "t", "budgets", "0"),
    }


def test_calls_that_are_no_chats_may_be_smaller_than_the_shortest_answer(load_text: Load) -> None:
    text = (
        "providers:\n  d: {type: demo}\n"
        "models:\n  m: {MODALITY, price: {input: '1', output: '1'}, route: [{backend: 'd:x'}]}\n"
        "partners:\n  p: {budgets: [{period: daily, token_limit: 15, cost_limit: '0.000000001'}]}\n"
    )
    assert len(load_text(text.replace("MODALITY", "modality: chat")).warnings) == 2
    assert load_text(text.replace("MODALITY", "modality: image")).warnings == ()
