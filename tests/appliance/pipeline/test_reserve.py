"""Reserving: the worst case in all budgets or none, an open cap lowered, a caller's cap kept or refused, waiting."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.limits import Budget
from appliance.pipeline import peek
from appliance.pipeline import reserve as reserve_module
from appliance.pipeline.reserve import LEAST_ANSWER_TOKENS, UNKNOWN_LARGEST_TOKENS, largest_answer, reserve
from appliance.pipeline.translate import translate
from appliance.state import State
from appliance.state.ledger import Amount, Ledger
from support.build import chat_body, make_attempt, make_exchange, make_grid

SUBJECTS = ("partner:reseller", "tenant:acme", "user:acme:alice", "key:apikey_1")
BOUND = 1000
"""Input tokens that every exchange here may have at most."""
MODELS = """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  plain: {price: {input: "1", output: "2"}, route: [{backend: "one:a"}]}
  limited: {price: {input: "1", output: "2"}, max_output_tokens: 500, route: [{backend: "one:a"}]}
  wide: {price: {input: "1", output: "2"}, context_window: 8000, route: [{backend: "one:a"}]}
  preset: {price: {input: "1", output: "2"}, default_params: {max_tokens: 300}, route: [{backend: "one:a"}]}
  fee: {price: {input: "0", output: "0", request: "1"}, route: [{backend: "one:a"}]}
  free: {price: free, route: [{backend: "one:a"}]}
  tiered:
    price:
      input: "1"
      output: "2"
      tiers: [{above: 500, input: "3", output: "9"}, {above: 5000, input: "50", output: "50"}]
    route: [{backend: "one:a"}]
partners: {reseller: {tenants: {acme: {users: {alice: {}}}}}}
"""


def state_with(*budgets: Budget) -> State:
    ledger = Ledger()
    for budget in budgets:
        ledger.open(budget, 1_700_000_000_000)
    return cast(State, SimpleNamespace(ledger=ledger))


def budget(cost: int | None = None, **changes: Any) -> Budget:
    known = {"id": "b", "scope": "tenant", "subject": "tenant:acme", "period": "total", "cost_limit": cost}
    return Budget(**(known | changes))


def exchange_of(model: str = "plain", *, clock: Any = None, cap: int | None = None, n: int = 1) -> Exchange:
    changes: dict[str, Any] = {} if cap is None else {"max_tokens": cap}
    exchange = make_exchange(make_grid(MODELS), chat_body(model, **changes), surface="openai", clock=clock)
    assert exchange.principal
    exchange.principal.subjects = SUBJECTS
    exchange.model = exchange.grid.models[model]
    exchange.asked_cap, exchange.n, exchange.input_bound = cap, n, BOUND
    exchange.deadline_at = exchange.clock() + 600
    return exchange


async def reserved(exchange: Exchange, state: State) -> Exchange:
    await reserve(exchange, state)
    return exchange


async def refused(exchange: Exchange, state: State) -> GatewayError:
    with pytest.raises(GatewayError) as error:
        await reserve(exchange, state)
    assert error.value.code == "BUDGET_EXCEEDED"
    assert exchange.reservation is None
    assert state.ledger.open_reservations == 0
    return error.value


def sent_cap(exchange: Exchange) -> int | None:
    """The output cap in the body that would go upstream."""
    assert exchange.model
    attempt = make_attempt(exchange.model.policy.targets[0])
    exchange.members = peek.members(exchange.body)
    assert translate(exchange, attempt)
    sent: dict[str, int] = json.loads(attempt.body)
    return sent.get("max_tokens", sent.get("max_completion_tokens"))


# -- how much ---------------------------------------------------------------------------------------------------------


async def test_without_budgets_nothing_is_changed_and_the_call_is_known_all_the_same() -> None:
    exchange = await reserved(exchange_of(), state_with())
    assert (exchange.output_cap, exchange.clamped) == (None, False)
    assert exchange.reservation
    assert exchange.reservation.amount.tokens == BOUND + UNKNOWN_LARGEST_TOKENS


@pytest.mark.parametrize(
    ("model", "asked", "largest"),
    [
        ("plain", None, UNKNOWN_LARGEST_TOKENS),
        ("plain", 70_000, 70_000),
        ("limited", None, 500),
        ("limited", 400, 400),
        ("limited", 4000, 500),
        ("wide", None, 8000),
        ("preset", None, 300),
        ("preset", 9000, 9000),
    ],
)
def test_the_largest_answer(model: str, asked: int | None, largest: int) -> None:
    assert largest_answer(make_grid(MODELS).models[model], asked) == largest


@pytest.mark.parametrize(
    ("model", "cap", "n", "cost"),
    [
        ("plain", 100, 1, 1000 * 1000 + 100 * 2000),
        ("plain", 100, 7, 1000 * 1000 + 7 * 100 * 2000),
        ("fee", 100, 1, 1_000_000_000),
        ("free", 100, 1, 0),
        # The first tier may be reached with this bound, the second may not.
        ("tiered", 100, 1, 1000 * 3000 + 100 * 9000),
    ],
)
async def test_the_worst_case_in_money(model: str, cap: int, n: int, cost: int) -> None:
    exchange = await reserved(exchange_of(model, cap=cap, n=n), state_with())
    assert exchange.reservation
    assert exchange.reservation.amount == Amount(cost, BOUND + cap * n, 1)


# -- the clamp --------------------------------------------------------------------------------------------------------


async def test_an_open_cap_is_lowered_to_what_the_tightest_budget_covers() -> None:
    state = state_with(budget(5_000_000), budget(token_limit=BOUND + 90, id="t", subject="user:acme:alice"))
    exchange = await reserved(exchange_of(), state)
    assert (exchange.output_cap, exchange.clamped) == (90, True)
    assert sent_cap(exchange) == 90


@pytest.mark.parametrize("n", [1, 3])
async def test_the_lowered_cap_uses_the_budget_up_and_never_more(n: int) -> None:
    state = state_with(budget(2_345_678))
    exchange = await reserved(exchange_of(n=n), state)
    assert exchange.output_cap
    cost = exchange.reservation.amount.cost if exchange.reservation else 0
    assert 2_345_678 - n * 2000 < cost <= 2_345_678


@given(
    limit=st.integers(0, 3 * 10**7),
    n=st.integers(1, 5),
    model=st.sampled_from(["plain", "limited", "wide", "preset", "tiered", "fee", "free"]),
)
def test_an_open_cap_is_the_largest_that_fits_or_the_call_is_refused(limit: int, n: int, model: str) -> None:
    exchange, state = exchange_of(model, n=n), state_with(budget(limit))
    assert exchange.model
    price = exchange.model.price
    try:
        asyncio.run(reserve(exchange, state))
    except GatewayError:
        assert price.worst(BOUND, LEAST_ANSWER_TOKENS * n) > limit, "refused although 16 tokens fit"
        return
    assert exchange.reservation
    output = exchange.reservation.amount.tokens - BOUND
    assert exchange.reservation.amount.cost == price.worst(BOUND, output) <= limit
    assert output % n == 0
    cap = output // n
    if exchange.clamped:
        assert cap >= LEAST_ANSWER_TOKENS
        assert exchange.output_cap == cap
        assert price.worst(BOUND, (cap + 1) * n) > limit, "a larger cap would have fitted"
    else:
        assert cap == largest_answer(exchange.model, None)


@pytest.mark.parametrize(("covered", "admitted"), [(16, True), (15, False)])
async def test_an_answer_of_less_than_16_tokens_is_refused(covered: int, admitted: bool) -> None:
    state = state_with(budget(token_limit=BOUND + covered))
    if admitted:
        assert (await reserved(exchange_of(), state)).output_cap == 16
    else:
        await refused(exchange_of(), state)


@pytest.mark.parametrize(("covered", "admitted"), [(15 * 3 + 1, False), (16 * 3, True)])
async def test_16_tokens_are_due_to_each_choice(covered: int, admitted: bool) -> None:
    state = state_with(budget(token_limit=BOUND + covered))
    if admitted:
        assert (await reserved(exchange_of(n=3), state)).output_cap == 16
    else:
        await refused(exchange_of(n=3), state)


async def test_an_answer_that_is_small_by_nature_is_not_refused_for_being_small() -> None:
    """The model cannot give more than 8 tokens: that is all the budget has to cover."""
    grid = make_grid(MODELS.replace("max_output_tokens: 500", "max_output_tokens: 8"))
    exchange = exchange_of("limited")
    exchange.model = grid.models["limited"]
    assert not (await reserved(exchange, state_with(budget(token_limit=BOUND + 8)))).clamped


async def test_a_cap_that_the_caller_wrote_is_kept_or_refused_but_never_cut() -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    error = await refused(exchange_of(cap=101), state)
    assert "token" in error.message
    exchange = await reserved(exchange_of(cap=100), state)
    assert not exchange.clamped
    assert sent_cap(exchange) == 100


async def test_a_caller_s_cap_of_fewer_than_16_tokens_is_his_own_affair() -> None:
    exchange = await reserved(exchange_of(cap=3), state_with(budget(token_limit=BOUND + 3)))
    assert sent_cap(exchange) == 3


async def test_an_operator_s_default_leaves_the_cap_open_for_the_clamp() -> None:
    exchange = await reserved(exchange_of("preset"), state_with(budget(token_limit=BOUND + 100)))
    assert exchange.clamped
    assert sent_cap(exchange) == 100


@pytest.mark.parametrize("model", ["limited", "preset", "plain"])
async def test_what_is_reserved_for_an_open_cap_is_what_the_upstream_is_held_to(model: str) -> None:
    """The budget is large; the promise hangs on the cap all the same, unless the model's window says it by itself."""
    exchange = await reserved(exchange_of(model), state_with(budget(10**12)))
    assert exchange.reservation
    assert sent_cap(exchange) == exchange.reservation.amount.tokens - BOUND


async def test_a_cap_that_only_the_context_window_gives_is_not_sent() -> None:
    """Upstreams refuse a cap as large as their window."""
    assert sent_cap(await reserved(exchange_of("wide"), state_with(budget(10**12)))) is None


async def test_of_two_caps_of_the_caller_the_smaller_is_what_goes_upstream_in_both() -> None:
    exchange = exchange_of(cap=10)
    exchange.body = chat_body("plain", max_tokens=10, max_completion_tokens=90_000)
    exchange.members = peek.members(exchange.body)
    await reserve(exchange, state_with(budget(10**12)))
    attempt = make_attempt(exchange.grid.models["plain"].policy.targets[0])
    assert translate(exchange, attempt)
    sent = json.loads(attempt.body)
    assert {sent.get("max_tokens", 10), sent.get("max_completion_tokens", 10)} == {10}


@pytest.mark.parametrize("action", ["notify", "throttle"])
async def test_budgets_that_do_not_block_lower_nothing_and_count_all_the_same(action: Any) -> None:
    state = state_with(budget(1, hard_action=action))
    exchange = await reserved(exchange_of(), state)
    assert not exchange.clamped
    account = state.ledger.account("b", 0)
    assert account
    assert exchange.reservation
    assert account.balance.pending_cost == exchange.reservation.amount.cost > 1


async def test_no_request_left_is_a_refusal_also_when_nothing_costs() -> None:
    state = state_with(budget(request_limit=1))
    first = await reserved(exchange_of("free"), state)
    assert first.reservation
    state.ledger.post(first.reservation, Amount(0, 5, 1))
    assert "request" in (await refused(exchange_of("free"), state)).message


# -- the refusal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly"])
async def test_a_refusal_says_when_the_period_rolls_over(period: Any) -> None:
    state = state_with(budget(1, period=period))
    exchange = exchange_of(cap=100)
    error = await refused(exchange, state)
    account = state.ledger.account("b", 0)
    assert account
    assert error.retry_after == pytest.approx(account.balance.end_ms / 1000 - exchange.received_unix, abs=1)


async def test_a_total_budget_never_comes_back() -> None:
    assert (await refused(exchange_of(cap=100), state_with(budget(1)))).retry_after is None


# -- waiting ----------------------------------------------------------------------------------------------------------


def loop_clock() -> Any:
    return asyncio.get_running_loop().time


async def test_a_call_that_waits_is_refused_once_those_before_it_have_used_too_much() -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    first = await reserved(exchange_of(cap=100, clock=loop_clock()), state)
    assert first.reservation
    second = exchange_of(cap=50, clock=loop_clock())
    waiting = asyncio.ensure_future(reserve(second, state))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    state.ledger.post(first.reservation, Amount(0, 60, 1))
    with pytest.raises(GatewayError):  # BOUND + 50 is more than the rest now, and for ever
        await waiting


@pytest.mark.parametrize("how", ["void", "post"])
async def test_it_is_admitted_as_soon_as_there_is_room(how: str) -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    first = await reserved(exchange_of(cap=100, clock=loop_clock()), state)
    assert first.reservation
    second = exchange_of(cap=100, clock=loop_clock())
    waiting = asyncio.ensure_future(reserve(second, state))
    await asyncio.sleep(0.01)
    if how == "void":
        state.ledger.void(first.reservation)
    else:
        state.ledger.post(first.reservation, Amount())
    await asyncio.wait_for(waiting, 1)
    assert second.reservation


async def test_what_can_never_fit_does_not_wait() -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    first = await reserved(exchange_of(cap=1, clock=loop_clock()), state)
    assert first.reservation
    begun = asyncio.get_running_loop().time()
    with pytest.raises(GatewayError):
        await reserve(exchange_of(cap=200, clock=loop_clock()), state)
    assert asyncio.get_running_loop().time() - begun < 0.1


async def test_the_waiting_has_an_end_and_the_retry_is_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve_module, "WAIT_S", 0.1)
    state = state_with(budget(token_limit=BOUND + 100, period="monthly"))
    await reserved(exchange_of(cap=100, clock=loop_clock()), state)
    with pytest.raises(GatewayError) as error:
        await reserve(exchange_of(cap=100, clock=loop_clock()), state)
    assert error.value.retry_after
    assert error.value.retry_after < 60


async def test_the_deadline_ends_the_waiting_too() -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    await reserved(exchange_of(cap=100, clock=loop_clock()), state)
    late = exchange_of(cap=100, clock=loop_clock())
    late.deadline_at = late.clock() + 0.05
    with pytest.raises(GatewayError):
        await asyncio.wait_for(reserve(late, state), 2)


async def test_a_caller_who_leaves_while_he_waits_holds_nothing() -> None:
    state = state_with(budget(token_limit=BOUND + 100))
    first = await reserved(exchange_of(cap=100, clock=loop_clock()), state)
    assert first.reservation
    gone = exchange_of(cap=100, clock=loop_clock())
    waiting = asyncio.ensure_future(reserve(gone, state))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    state.ledger.void(first.reservation)
    assert gone.reservation is None
    assert state.ledger.open_reservations == 0


async def test_a_crowd_is_admitted_one_after_the_other_as_far_as_the_money_goes() -> None:
    """Worst case 2.0 units of 1,000,000, actual cost 0.5: of 40 calls, those that fit after settlement are served."""
    state = state_with(budget(10_000_000))
    served = 0

    async def one_call() -> None:
        nonlocal served
        exchange = exchange_of(cap=500, clock=loop_clock())
        try:
            await reserve(exchange, state)
        except GatewayError:
            return
        await asyncio.sleep(0.001)
        assert exchange.reservation
        state.ledger.post(exchange.reservation, Amount(500_000, 100, 1))
        served += 1

    await asyncio.gather(*(one_call() for _ in range(40)))
    worst = 1000 * 1000 + 500 * 2000
    assert served == (10_000_000 - worst) // 500_000 + 1
    account = state.ledger.account("b", 0)
    assert account
    assert account.balance.cost == served * 500_000 <= 10_000_000
