"""Money: each token class is charged exactly once, the sum is rounded up once, nothing is ever negative."""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.chat import Usage
from appliance.grid.prices import NANO, Price, usd

MILLION = 1_000_000
TOKENS = st.integers(0, 10**9)
NANO_PER_MTOK = st.integers(0, 10**13)
PRICES = st.builds(Price, NANO_PER_MTOK, NANO_PER_MTOK, NANO_PER_MTOK, NANO_PER_MTOK)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """As a sane upstream reports it: the parts are parts."""
    cached, written, plain, output = (draw(TOKENS) for _ in range(4))
    reasoning = draw(st.integers(0, output))
    return Usage(cached + written + plain, output, cached, written, reasoning)


WILD = st.builds(Usage, TOKENS, TOKENS, TOKENS, TOKENS, TOKENS)


def exact(price: Price, usage: Usage) -> Fraction:
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    parts = (
        (plain, price.input),
        (usage.cached_input_tokens, price.cached_input),
        (usage.cache_write_tokens, price.cache_write),
        (usage.output_tokens, price.output),
    )
    return sum((Fraction(tokens * rate, MILLION) for tokens, rate in parts), Fraction())


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
    dearest = max(price.input, price.cached_input, price.cache_write)
    most = Fraction(usage.input_tokens * dearest + usage.output_tokens * price.output, MILLION)
    assert price.cost(usage) < most + 1


@given(PRICES, usages(), st.integers(0, 10**6))
def test_more_output_never_costs_less(price: Price, usage: Usage, more: int) -> None:
    dearer = Usage(usage.input_tokens, usage.output_tokens + more, usage.cached_input_tokens, usage.cache_write_tokens)
    assert price.cost(dearer) >= price.cost(usage)


@given(PRICES, usages())
def test_reasoning_is_a_part_of_the_output_and_costs_nothing_on_top(price: Price, usage: Usage) -> None:
    without = Usage(
        usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens, reasoning_tokens=0
    )
    assert price.cost(usage) == price.cost(without)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        (Usage(input_tokens=MILLION), 1_000),
        (Usage(output_tokens=MILLION), 2_000),
        (Usage(input_tokens=MILLION, cached_input_tokens=MILLION), 100),
        (Usage(input_tokens=MILLION, cache_write_tokens=MILLION), 1_250),
        (Usage(input_tokens=3 * MILLION, cached_input_tokens=MILLION, cache_write_tokens=MILLION), 2_350),
        (Usage(input_tokens=MILLION, output_tokens=MILLION, reasoning_tokens=MILLION), 3_000),
        (Usage(input_tokens=1), 1),
        (Usage(input_tokens=1, output_tokens=1), 1),
        (Usage(), 0),
    ],
)
def test_each_class_has_its_price(usage: Usage, cost: int) -> None:
    assert Price(input=1_000, output=2_000, cached_input=100, cache_write=1_250).cost(usage) == cost


def test_more_cached_than_input_tokens_are_charged_as_all_the_input() -> None:
    price = Price(input=1_000, cached_input=100, cache_write=5_000)
    assert price.cost(Usage(input_tokens=MILLION, cached_input_tokens=9 * MILLION)) == 100
    assert price.cost(Usage(input_tokens=MILLION, cache_write_tokens=9 * MILLION)) == 5_000


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
    price = Price(input=400_000_000, output=1_600_000_000)
    expected = (Decimal("0.40") * 350 + Decimal("1.60") * 125) / MILLION
    assert Decimal(usd(price.cost(Usage(350, 125)))) == expected.quantize(Decimal("1e-9"), ROUND_CEILING)
