"""Money: each token class is charged exactly once, the sum is rounded up once, nothing is ever negative."""

from __future__ import annotations

import dataclasses
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from appliance.formats.chat import Usage
from appliance.grid.prices import MILLION, NANO, Price, Rates, usd, usd_price

TOKENS = st.integers(0, 10**9)
NANO_PER_MTOK = st.integers(0, 10**13)
RATES = st.builds(Rates, *[NANO_PER_MTOK] * 5)


@st.composite
def prices(draw: st.DrawFn) -> Price:
    above = sorted(draw(st.sets(st.integers(1, 10**9), max_size=3)))
    tiers = tuple(dataclasses.replace(draw(RATES), above=bound) for bound in above)
    return Price(draw(RATES), tiers, draw(st.integers(0, 10**10)))


PRICES = prices()


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """As a sane upstream reports it: the parts are parts."""
    cached, written, plain, output = (draw(TOKENS) for _ in range(4))
    reasoning = draw(st.integers(0, output))
    return Usage(cached + written + plain, output, cached, written, reasoning)


WILD = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)


def exact(price: Price, usage: Usage) -> Fraction:
    rates = [price.base, *(tier for tier in price.tiers if tier.above < usage.input_tokens)][-1]
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    parts = (
        (plain, rates.input),
        (usage.cached_input_tokens, rates.cached_input),
        (usage.cache_write_tokens, rates.cache_write),
        (usage.output_tokens - usage.reasoning_tokens, rates.output),
        (usage.reasoning_tokens, rates.reasoning),
    )
    return sum((Fraction(tokens * rate, MILLION) for tokens, rate in parts), Fraction(price.request))


@given(PRICES, usages())
def test_the_cost_is_the_exact_sum_rounded_up_once(price: Price, usage: Usage) -> None:
    cost = price.cost(usage)
    assert isinstance(cost, int)
    assert 0 <= cost - exact(price, usage) < 1


@given(PRICES, WILD)
def test_the_cost_is_never_negative_whatever_was_reported(price: Price, usage: Usage) -> None:
    assert price.cost(usage) >= 0


@given(PRICES, WILD)
def test_no_input_token_is_charged_twice(price: Price, usage: Usage) -> None:
    rates = price.rates(usage.input_tokens)
    dearest = (max(rates.input, rates.cached_input, rates.cache_write), max(rates.output, rates.reasoning))
    most = Fraction(usage.input_tokens * dearest[0] + usage.output_tokens * dearest[1], MILLION)
    assert price.cost(usage) - price.request < most + 1


@given(PRICES, usages(), st.integers(0, 10**6))
def test_more_output_never_costs_less(price: Price, usage: Usage, more: int) -> None:
    longer = structs.replace(usage, output_tokens=usage.output_tokens + more)
    assert price.cost(longer) >= price.cost(usage)


@given(PRICES, usages())
def test_reasoning_is_a_part_of_the_output_and_costs_nothing_on_top(price: Price, usage: Usage) -> None:
    rates = tuple(dataclasses.replace(tier, reasoning=tier.output) for tier in (price.base, *price.tiers))
    same = Price(rates[0], rates[1:], price.request)
    without = structs.replace(usage, reasoning_tokens=0)
    assert same.cost(usage) == same.cost(without) == price.cost(without)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_tokens=MILLION), 1_000),
        (Usage(output_tokens=MILLION), 2_000),
        (Usage(input_tokens=MILLION, cached_input_tokens=MILLION), 100),
        (Usage(input_tokens=MILLION, cache_write_tokens=MILLION), 1_250),
        (Usage(input_tokens=3 * MILLION, cached_input_tokens=MILLION, cache_write_tokens=MILLION), 2_350),
        (Usage(output_tokens=MILLION, reasoning_tokens=MILLION), 7_000),
        (Usage(input_tokens=MILLION, output_tokens=3 * MILLION, reasoning_tokens=MILLION), 12_000),
        (Usage(input_tokens=1), 1),
        (Usage(input_tokens=1, output_tokens=1), 1),
        (Usage(), 0),
    ],
)
def test_each_class_has_its_price(usage: Usage, cost: int) -> None:
    rates = Rates(input=1_000, output=2_000, cached_input=100, cache_write=1_250, reasoning=7_000)
    assert Price(rates).cost(usage) == cost


def test_more_cached_than_input_tokens_are_charged_as_all_the_input() -> None:
    price = Price(Rates(input=1_000, cached_input=100, cache_write=5_000))
    assert price.cost(Usage(input_tokens=MILLION, cached_input_tokens=9 * MILLION)) == 100
    assert price.cost(Usage(input_tokens=MILLION, cache_write_tokens=9 * MILLION)) == 5_000


def test_more_reasoning_than_output_is_charged_as_all_the_output() -> None:
    price = Price(Rates(output=1_000, reasoning=3_000))
    assert price.cost(Usage(output_tokens=MILLION, reasoning_tokens=9 * MILLION)) == 3_000


# -- tiers and fees ---------------------------------------------------------------------------------------------------

TIERED = Price(Rates(1_000, 10_000), (Rates(2_000, 30_000, above=100), Rates(5_000, 20_000, above=200)), request=7)


@pytest.mark.parametrize(
    ("input_tokens", "rate"), [(0, 1_000), (100, 1_000), (101, 2_000), (200, 2_000), (201, 5_000), (10**9, 5_000)]
)
def test_a_call_beyond_a_bound_is_charged_wholly_at_its_tier(input_tokens: int, rate: int) -> None:
    assert TIERED.rates(input_tokens).input == rate
    assert TIERED.cost(Usage(input_tokens)) == -(-input_tokens * rate // MILLION) + 7


def test_cached_input_counts_towards_the_tier() -> None:
    assert TIERED.cost(Usage(101, 1_000_000, cached_input_tokens=101)) == 30_000 + 7


def test_the_fee_is_due_once_even_when_nothing_was_used() -> None:
    assert TIERED.cost(Usage()) == 7


# -- the worst case ---------------------------------------------------------------------------------------------------


@st.composite
def within(draw: st.DrawFn, input_bound: int, output_bound: int) -> Usage:
    """Whatever a call with at most so many tokens may report."""
    counts = [input_bound, output_bound, input_bound, input_bound, output_bound]
    return Usage(*(draw(st.integers(0, most)) for most in counts))


@given(PRICES, st.integers(0, 10**6), st.integers(0, 10**6), st.data())
def test_no_call_costs_more_than_the_worst_case(price: Price, inputs: int, outputs: int, data: st.DataObject) -> None:
    assert price.cost(data.draw(within(inputs, outputs))) <= price.worst(inputs, outputs)


def test_a_tier_that_is_cheaper_is_no_reason_to_hold_less() -> None:
    """The call may stay below the bound after all; and output is dearest in the middle."""
    assert TIERED.worst(MILLION, MILLION) == 5_000 + 30_000 + 7
    assert TIERED.worst(100, MILLION) == 1 + 10_000 + 7


@given(PRICES, st.integers(0, 10**6), st.integers(0, 10**15))
def test_what_the_money_covers_is_the_most_that_it_covers(price: Price, input_bound: int, money: int) -> None:
    covered = price.output_covered(input_bound, money)
    assert covered >= 0
    if covered:
        assert price.worst(input_bound, covered) <= money
    if covered < 1 << 60:
        assert price.worst(input_bound, covered + 1) > money


def test_output_that_costs_nothing_is_covered_without_an_end_if_the_rest_is() -> None:
    price = Price(Rates(input=MILLION), request=5)
    assert price.output_covered(10, 15) > 10**12
    assert price.output_covered(10, 14) == 0


# -- what is charged by the piece -------------------------------------------------------------------------------------

PIECES = {"images": st.integers(0, 200), "audio_ms": st.integers(0, 10**8), "characters": TOKENS, "searches": TOKENS}


@st.composite
def piece_prices(draw: st.DrawFn) -> Price:
    image, minute, characters, search = (draw(NANO_PER_MTOK) for _ in range(4))
    return dataclasses.replace(draw(PRICES), image=image, audio_minute=minute, characters=characters, search=search)


@st.composite
def piece_usages(draw: st.DrawFn) -> Usage:
    return structs.replace(draw(usages()), **{name: draw(counts) for name, counts in PIECES.items()})


def exact_pieces(price: Price, usage: Usage) -> Fraction:
    return (
        Fraction(usage.images * price.image + usage.searches * price.search)
        + Fraction(usage.audio_ms * price.audio_minute, 60_000)
        + Fraction(usage.characters * price.characters, MILLION)
    )


@given(piece_prices(), piece_usages())
def test_tokens_and_pieces_are_summed_exactly_and_rounded_up_once(price: Price, usage: Usage) -> None:
    due = exact(price, usage) + exact_pieces(price, usage)
    cost = price.cost(usage)
    assert isinstance(cost, int)
    assert 0 <= cost - due < 1


@given(piece_prices(), piece_usages())
def test_the_worst_case_of_pieces_is_the_exact_sum_at_the_dearest_rates(price: Price, bound: Usage) -> None:
    reachable = [price.base, *(tier for tier in price.tiers if tier.above < bound.input_tokens)]
    dearest_input = max(max(rates.input, rates.cached_input, rates.cache_write) for rates in reachable)
    dearest_output = max(max(rates.output, rates.reasoning) for rates in reachable)
    tokens = Fraction(bound.input_tokens * dearest_input + bound.output_tokens * dearest_output, MILLION)
    due = tokens + price.request + exact_pieces(price, bound)
    assert 0 <= price.worst_of(bound) - due < 1


@given(piece_prices(), piece_usages(), st.data())
def test_no_call_costs_more_than_the_worst_case_of_its_bound(price: Price, bound: Usage, data: st.DataObject) -> None:
    inputs, outputs = bound.input_tokens, bound.output_tokens
    counts = {name: data.draw(st.integers(0, getattr(bound, name))) for name in PIECES}
    used = structs.replace(data.draw(within(inputs, outputs)), **counts)
    assert price.cost(used) <= price.worst_of(bound)


@given(PRICES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_without_pieces_both_ways_to_say_the_worst_agree(price: Price, inputs: int, outputs: int) -> None:
    assert price.worst_of(Usage(inputs, outputs)) == price.worst(inputs, outputs)


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        (Price(image=40_000_000), Usage(images=3), 120_000_000),
        (Price(search=2_000_000), Usage(searches=7), 14_000_000),
        (Price(audio_minute=6_000_000), Usage(audio_ms=90_000), 9_000_000),
        (Price(audio_minute=6_000_000), Usage(audio_ms=1), 100),
        (Price(audio_minute=1), Usage(audio_ms=1), 1),
        (Price(characters=15 * NANO), Usage(characters=11), 165_000),
        (Price(characters=1), Usage(characters=1), 1),
        (Price(characters=1, audio_minute=1), Usage(characters=1, audio_ms=1), 1),
        (Price(Rates(input=1), characters=1, audio_minute=1), Usage(1, audio_ms=1, characters=1), 1),
        (Price(Rates(input=MILLION - 1), characters=1), Usage(1, characters=1), 1),
        (Price(Rates(input=MILLION - 1), characters=2), Usage(1, characters=1), 2),
        (Price(image=5, request=7), Usage(), 7),
    ],
)
def test_pieces_worked_out_by_hand(price: Price, usage: Usage, cost: int) -> None:
    assert price.cost(usage) == cost


# -- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nano", "text"),
    [(0, "0.00"), (400_000_000, "0.40"), (NANO, "1.00"), (1_250_000_000, "1.25"), (1_234_500_000, "1.2345")],
)
def test_a_price_has_two_decimals_at_least(nano: int, text: str) -> None:
    assert usd_price(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (7_275_000, "0.007275"),
        (NANO, "1"),
        (10 * NANO, "10"),
        (1_500_000_000, "1.5"),
        (123_456_789_012_345_678, "123456789.012345678"),
        (-1, "-0.000000001"),
        (-2 * NANO, "-2"),
    ],
)
def test_usd_is_a_decimal_without_trailing_zeros(nano: int, text: str) -> None:
    assert usd(nano) == text


@given(st.integers(-(10**30), 10**30))
def test_usd_says_exactly_the_amount(nano: int) -> None:
    text = usd(nano)
    assert Fraction(Decimal(text)) * NANO == nano
    assert "e" not in text.lower()
    assert "." not in text or not text.endswith(("0", "."))


def test_a_call_worked_out_by_hand() -> None:
    """350 input and 125 output tokens at 0.40 and 1.60 USD per million."""
    price = Price(Rates(input=400_000_000, output=1_600_000_000))
    expected = (Decimal("0.40") * 350 + Decimal("1.60") * 125) / MILLION
    assert Decimal(usd(price.cost(Usage(350, 125)))) == expected.quantize(Decimal("1e-9"), ROUND_CEILING)
