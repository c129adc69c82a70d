"""Percentiles against a plain sort, and that old values leave."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.state.latency import CALLS_KEPT, MAX_AGE_S, Latency, Window


def test_nothing_is_known_at_first() -> None:
    window = Window()
    assert window.percentile(0.5, 0.0) is None
    assert window.count(0.0) == 0


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.501, 51.0), (0.95, 95.0), (0.99, 99.0), (1.0, 100.0)]
)
def test_percentiles_of_one_to_a_hundred(share: float, expected: float) -> None:
    window = Window()
    for value in range(100, 0, -1):
        window.add(0.0, float(value))
    assert window.percentile(share, 0.0) == expected


def test_one_value_is_every_percentile() -> None:
    window = Window()
    window.add(0.0, 0.25)
    assert [window.percentile(share, 0.0) for share in (0.0, 0.5, 0.95, 1.0)] == [0.25] * 4


def test_too_few_values_are_no_percentile() -> None:
    window = Window()
    for _ in range(9):
        window.add(0.0, 1.0)
    assert window.percentile(0.95, 0.0, at_least=10) is None
    window.add(0.0, 1.0)
    assert window.percentile(0.95, 0.0, at_least=10) == 1.0


def test_old_values_are_forgotten_though_none_come() -> None:
    window = Window()
    window.add(0.0, 9.0)
    window.add(100.0, 1.0)
    assert window.percentile(1.0, MAX_AGE_S - 1) == 9.0
    assert window.percentile(1.0, MAX_AGE_S) == 1.0
    assert window.percentile(1.0, MAX_AGE_S + 100) is None


def test_only_the_latest_values_are_kept() -> None:
    window = Window()
    for value in range(CALLS_KEPT + 50):
        window.add(0.0, float(value))
    assert window.count(0.0) == CALLS_KEPT
    assert window.percentile(0.0, 0.0) == 50.0


@given(
    st.lists(st.tuples(st.floats(0, 120), st.sampled_from([0.1, 0.2, 0.2, 1.5]) | st.floats(0, 600)), max_size=300),
    st.floats(0, 1),
)
def test_it_says_what_sorting_the_latest_would(calls: list[tuple[float, float]], share: float) -> None:
    window = Window()
    now = 0.0
    told: list[tuple[float, float]] = []
    for pause_s, seconds in calls:
        now += pause_s
        window.add(now, seconds)
        told.append((now, seconds))
    latest = sorted(seconds for at, seconds in told[-CALLS_KEPT:] if now - MAX_AGE_S < at)
    expected = latest[max(0, math.ceil(share * len(latest)) - 1)] if latest else None
    assert window.percentile(share, now) == expected
    assert window.count(now) == len(latest)


def test_what_people_are_told() -> None:
    latency = Latency()
    latency.first_token.add(0.0, 0.1234)
    assert latency.summary(0.0) == {
        "first_token_ms_p50": 123,
        "first_token_ms_p95": 123,
        "total_ms_p50": None,
        "total_ms_p95": None,
    }
