"""Who asked to be spared, and until when."""

from __future__ import annotations

import pytest

from appliance.state.health import MAX_SPARED_S, Health


def test_nobody_is_spared_at_first() -> None:
    assert Health().wait_s("one:a", 100.0) == 0.0


def test_a_backend_is_spared_until_its_time_is_over() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:a", 100.0) == 30.0
    assert health.wait_s("one:a", 129.0) == 1.0
    assert health.wait_s("one:a", 130.0) == 0.0
    assert health.wait_s("one:a", 131.0) == 0.0


def test_one_backend_s_wait_is_not_another_s() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:b", 100.0) == 0.0
    assert health.wait_s("two:a", 100.0) == 0.0


@pytest.mark.parametrize("waits", [(30.0, 5.0), (5.0, 30.0)])
def test_of_two_waits_the_later_end_holds(waits: tuple[float, float]) -> None:
    health = Health()
    for wait in waits:
        health.spare("one:a", 100.0, wait)
    assert health.wait_s("one:a", 100.0) == 30.0


def test_nobody_is_spared_longer_than_the_limit() -> None:
    health = Health()
    health.spare("one:a", 100.0, 1e12)
    assert health.wait_s("one:a", 100.0) == MAX_SPARED_S


def test_after_the_wait_a_new_one_may_begin() -> None:
    health = Health()
    health.spare("one:a", 100.0, 30.0)
    assert health.wait_s("one:a", 200.0) == 0.0
    health.spare("one:a", 200.0, 10.0)
    assert health.wait_s("one:a", 200.0) == 10.0
