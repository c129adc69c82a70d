"""Reserving: the worst case in all budgets or none, an open cap lowered, a caller's cap kept or refused, waiting."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.exchange import Exchange
from appliance.formats.anthropic_reply import decode_usage as decode_anthropic
from appliance.formats.openai_usage import decode_usage as decode_openai
from appliance.limits import Budget
from appliance.pipeline import peek
from appliance.pipeline import reserve as reserve_module
from appliance.pipeline.estimate import bound, estimate, size_of
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.reserve import LEAST_ANSWER_TOKENS, UNKNOWN_LARGEST_TOKENS, largest_answer, reserve
from appliance.pipeline.translate import translate
from appliance.state import State
from appliance.state.ledger import Amount, Ledger
from support.build import chat_body, make_attempt, make_exchange, make_grid
from support.fixtures import PROVIDERS, needs_fixtures

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


# -- the bound of the input -------------------------------------------------------------------------------------------

BEYOND_THE_BODY = {
    "anthropic/stream-mcp": "the provider called a tool server and read its answer",
    "anthropic/stream-pause-turn": "the provider searched, and read what it found",
    "google/cached-content": "the prompt was stored at the provider before",
    "google/stream-web-fetch": "the provider fetched a page, and read it",
}
"""What no bound made of the request can know; see «Overruns» in docs/accounting.md. No surface of ours asks for it."""


def recorded_pairs() -> list[tuple[str, int]]:
    """(name, input tokens that the provider reported) of every recorded request whose answer reports any."""
    found = []
    for path in sorted(PROVIDERS.glob("*/*.request.json")):
        name = f"{path.parent.name}/{path.name.removesuffix('.request.json')}"
        (answer,) = path.parent.glob(f"{path.name.removesuffix('.request.json')}.response.*")
        counts = [reported(usage) for usage in usages_in(answer.read_bytes())]
        if any(counts):
            found.append((name, max(counts)))
    return found


def usages_in(answer: bytes) -> list[dict[str, Any]]:
    """Every object of usage anywhere in the answer, be it one document or a stream of events."""
    lines = [line[5:] for line in answer.splitlines() if line.startswith(b"data:")] or [answer]
    found: list[dict[str, Any]] = []
    for line in lines:
        with contextlib.suppress(ValueError):
            waiting = [json.loads(line)]
            while waiting:
                value = waiting.pop()
                inner = list(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
                waiting += inner
                if isinstance(value, dict):
                    found += [value[name] for name in ("usage", "usageMetadata") if isinstance(value.get(name), dict)]
    return found


def reported(usage: dict[str, Any]) -> int:
    if "promptTokenCount" in usage:
        return int(usage["promptTokenCount"]) + int(usage.get("toolUsePromptTokenCount", 0))
    known = decode_openai(usage) if "prompt_tokens" in usage else decode_anthropic(usage)
    return known.input_tokens if known else 0


def request_of(name: str) -> bytes:
    """The recorded request; what its recorder left out is put back, as so many letters."""
    text = (PROVIDERS / f"{name}.request.json").read_text()
    return re.sub(r"\((\d+) characters cut\)", lambda cut: "x" * int(cut[1]), text).encode()


@needs_fixtures
def test_no_recorded_call_had_more_input_than_its_bound() -> None:
    pairs = recorded_pairs()
    assert len(pairs) > 35
    beyond = {name for name, tokens in pairs if tokens > bound_of(request_of(name))}
    assert beyond == BEYOND_THE_BODY.keys() & {name for name, _ in pairs}


def bound_of(body: bytes) -> int:
    return bound(size_of(body), None, None)


def chat_of(content: Any, **members: Any) -> bytes:
    return chat_body("m", messages=[{"role": "user", "content": content}], **members)


WORST_TEXTS = {
    "one-byte-tokens": "\x01\x02\x7f" * 2000,
    "rare-scripts": "ꙮ𓀀𒀀ᚠ" * 1000,
    "emoji": "👩‍👩‍👧‍👦🏴‍☠️" * 400,
    "digits": "0123456789" * 500,
    "punctuation": "!?.,;:'{}[]()<>|" * 300,
    "quotes": '"' * 5000,
}


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("text", WORST_TEXTS.values(), ids=WORST_TEXTS.keys())
def test_a_text_of_one_token_a_byte_is_within_the_bound(text: str, ascii_only: bool) -> None:
    """A byte-level tokeniser cannot make more tokens than bytes, however the JSON is written."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}, ensure_ascii=ascii_only).encode()
    assert bound_of(body) >= len(text.encode()) + 2000


def test_many_short_messages_are_within_the_bound() -> None:
    """Providers add three or four tokens a message, and a few for a name."""
    messages = [{"role": "user", "content": "", "name": "a"}] * 5000
    assert bound_of(chat_body("m", messages=messages)) >= 5000 * 8 + 2000


@pytest.mark.parametrize("size", [60, 3_000, 300_000])
@pytest.mark.parametrize("escaped", [False, True])
def test_every_picture_counts_as_the_dearest_one(size: int, escaped: bool) -> None:
    """A picture of one colour is small as a file and large in tokens (36,835 at gpt-4o-mini for 2048×2048)."""
    url = "data:image/png;base64," + base64.b64encode(bytes(size)).decode()
    body = chat_of([{"type": "image_url", "image_url": {"url": url}}] * 4)
    if escaped:
        body = body.replace(b"image_url", b"im\\u0061ge_url")
    assert bound_of(body) >= 4 * 37_000


def test_a_picture_by_its_address_counts_as_well() -> None:
    for url in ("https://pictures.test/a.png", "http://pictures.test/a.png"):
        body = chat_of([{"type": "image_url", "image_url": {"url": url}}])
        assert bound_of(body) >= 37_000
        assert bound_of(body.replace(b"http", b"h\\u0074tp").replace(b'"image_url"', b'"\\u0069mage_url"')) >= 37_000


def test_a_document_is_never_less_than_its_bytes() -> None:
    data = base64.b64encode(bytes(400_000)).decode()
    part = {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{data}"}}
    assert bound_of(chat_of([part])) >= len(data)


def test_a_file_kept_at_the_provider_counts_as_a_medium() -> None:
    assert bound_of(chat_of([{"type": "file", "file": {"file_id": "file-abc"}}])) >= 37_000


@pytest.mark.parametrize(
    "disguise", ["base64,", "data:image/png;base64,", '"image_url": {"url": "data:;base64,', "file "]
)
def test_text_that_looks_like_a_medium_counts_as_text(disguise: str) -> None:
    """Else a caller could have a large prompt reserved as a small picture."""
    text = disguise + "Xq" * 200_000
    for content in (text, [{"type": "text", "text": text}]):
        assert bound_of(chat_of(content)) >= 400_000


def test_tools_and_schemas_are_text() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "image " * 50_000, "parameters": {}}}]
    assert bound_of(chat_of("hi", tools=tools)) >= 300_000


def test_the_operator_s_prompt_is_input_too_and_the_window_is_the_end() -> None:
    size = size_of(chat_of("hi"))
    assert bound(size, "é" * 1000, None) - bound(size, None, None) == 2000
    assert bound(size, "é" * 1000, 500) == 500


@given(st.text(max_size=300), st.integers(0, 3))
def test_the_fair_estimate_is_never_above_the_bound(text: str, pictures: int) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = chat_of([{"type": "text", "text": text}, *[part] * pictures])
    assert estimate(size_of(body)) <= bound_of(body)


# -- calls that are bounded from the start ----------------------------------------------------------------------------

UNITS = """
providers: {one: {type: custom, base_url: "http://one.test/v1"}}
models:
  pictures: {modality: image, price: {image: "0.04"}, max_output_tokens: 5, route: [{backend: "one:p"}]}
  drawn: {modality: image, price: {input: "5", output: "40"}, route: [{backend: "one:p"}]}
partners: {reseller: {tenants: {acme: {users: {alice: {}}}}}}
"""


def picture_call(model: str = "pictures", n: int = 3) -> Exchange:
    body = json.dumps({"model": model, "prompt": "a kite", "n": n}).encode()
    exchange = make_exchange(make_grid(UNITS), body, surface="openai", operation="image")
    assert exchange.principal
    exchange.principal.subjects = SUBJECTS
    exchange.operation.read(exchange)
    exchange.model = exchange.grid.models[model]
    exchange.operation.measure(exchange)
    exchange.deadline_at = exchange.clock() + 600
    return exchange


async def test_the_price_of_all_units_is_held() -> None:
    exchange = await reserved(picture_call(), state_with(budget(10**12)))
    assert exchange.reservation
    assert exchange.reservation.amount.cost == 3 * 40_000_000
    assert exchange.bound
    assert exchange.reservation.amount.tokens == exchange.bound.total_tokens
    assert exchange.reservation.amount.requests == 1


async def test_by_the_token_the_dearest_picture_is_held() -> None:
    exchange = await reserved(picture_call("drawn"), state_with(budget(10**12)))
    assert exchange.reservation
    assert exchange.bound
    by_the_token = exchange.bound.input_tokens * 5_000 + exchange.bound.output_tokens * 40_000
    assert exchange.reservation.amount.cost == by_the_token


@pytest.mark.parametrize("left", [0, 39_999_999, 3 * 40_000_000 - 1])
async def test_what_is_priced_by_the_piece_is_refused_and_never_clamped(left: int) -> None:
    exchange = picture_call()
    await refused(exchange, state_with(budget(left)))
    assert (exchange.output_cap, exchange.clamped) == (None, False)


async def test_what_just_fits_is_held_without_a_cap() -> None:
    exchange = await reserved(picture_call(), state_with(budget(3 * 40_000_000)))
    assert (exchange.output_cap, exchange.clamped) == (None, False)


async def test_a_question_about_a_call_holds_nothing() -> None:
    exchange = exchange_of()
    exchange.operation = OPERATIONS["count"]
    await reserve(exchange, state_with(budget(0)))
    assert exchange.reservation is None
