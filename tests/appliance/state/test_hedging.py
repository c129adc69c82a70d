"""The share of a policy's calls that may be hedged: saved up call by call, spent one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from appliance.state.hedging import MOST_SAVED, Hedges


def hedged(hedges: Hedges, share: float, calls: int, policy: str = "p") -> int:
    """So many of the calls are hedged when each of them would like to be."""
    begun = hedges.begun
    for _ in range(calls):
        hedges.earn(policy, share)
        if hedges.may(policy):
            hedges.take(policy)
    return hedges.begun - begun


def test_nothing_may_be_hedged_before_it_is_earned() -> None:
    hedges = Hedges()
    assert not hedges.may("p")
    hedges.earn("p", 0.99)
    assert not hedges.may("p")
    hedges.earn("p", 0.01)
    assert hedges.may("p")


def test_a_hedge_takes_a_whole_one() -> None:
    hedges = Hedges()
    for _ in range(30):
        hedges.earn("p", 0.05)
    hedges.take("p")
    assert not hedges.may("p")


def test_shares_that_floats_cannot_hold_are_reached_all_the_same() -> None:
    """Twenty times 0.05 is a hair less than one."""
    assert hedged(Hedges(), 0.05, 20) == 1
    assert hedged(Hedges(), 0.1, 10) == 1


def test_a_share_of_nothing_hedges_nothing_and_a_share_of_all_everything() -> None:
    assert hedged(Hedges(), 0.0, 1000) == 0
    assert hedged(Hedges(), 1.0, 1000) == 1000


def test_quiet_times_are_saved_up_for_a_few_at_most() -> None:
    hedges = Hedges()
    for _ in range(100_000):
        hedges.earn("p", 0.05)
    assert hedged(hedges, 0.0, 1000) == MOST_SAVED


def test_each_policy_has_its_own_share() -> None:
    hedges = Hedges()
    for _ in range(20):
        hedges.earn("p", 0.05)
    assert hedges.may("p")
    assert not hedges.may("other")


def test_two_calls_that_were_both_allowed_at_once_owe_no_more_than_there_was() -> None:
    hedges = Hedges()
    hedges.earn("p", 1.0)
    hedges.take("p")
    hedges.take("p")
    hedges.earn("p", 1.0)
    assert hedges.may("p")


def test_one_that_is_not_made_after_all_is_there_for_the_next() -> None:
    hedges = Hedges()
    hedges.earn("p", 1.0)
    hedges.take("p")
    assert not hedges.may("p")
    hedges.give_back("p")
    assert hedges.may("p")
    assert hedges.begun == 0


@given(share=st.floats(0, 1), calls=st.integers(0, 500))
def test_the_share_is_never_passed(share: float, calls: int) -> None:
    assert hedged(Hedges(), share, calls) <= share * calls + 1e-6
