"""Cross references of routing; tests/golden/config/{conditions,fallbacks,routing}*.txt have every sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import config
from config.capabilities import FEATURES
from config.check_routing import ASKED, NEVER_NEEDED, _covers_all
from config.conditions import InputTokens, When

Load = Callable[..., config.Loaded]
HEAD = "providers:\n  demo: {type: demo}\n"


def test_every_feature_is_asked_for_by_some_modality_or_never() -> None:
    asked = [feature for features in ASKED.values() for feature in features]
    assert sorted([*asked, NEVER_NEEDED]) == sorted(FEATURES)


@given(st.lists(st.tuples(st.integers(0, 8), st.none() | st.integers(0, 8)), min_size=1, max_size=5))
def test_ranges_cover_all_calls_when_no_length_is_left_out(ranges: list[tuple[int, int | None]]) -> None:
    ranges = [(least, most) for least, most in ranges if most is None or least <= most]
    conditions = [When(input_tokens=InputTokens(min=least, max=most)) for least, most in ranges]
    served = [
        any(least <= length and (most is None or length <= most) for least, most in ranges) for length in range(12)
    ]
    assert _covers_all(conditions) == all(served)


def test_a_range_beside_another_condition_covers_nothing_for_certain() -> None:
    torn = When(input_tokens=InputTokens(min=0), tenants=("acme",))
    assert not _covers_all([torn])
    assert _covers_all([torn, None])


@pytest.mark.parametrize("condition", ["tenants: [made]", "partners: [made]", "groups: [made]", "roles: [auditor]"])
def test_who_may_be_made_at_run_time_is_no_problem(load_text: Load, condition: str) -> None:
    route = f"[{{backend: 'demo:a', when: {{{condition}}}}}, {{backend: 'demo:b'}}]"
    loaded = load_text(HEAD + f"models:\n  m: {{price: free, route: {route}}}\n")
    assert [warning.hint for warning in loaded.warnings] == ["right only if it is made at run time"]


def test_names_of_unreadable_tenants_are_not_called_unknown(problems_of: Callable[..., list[str]]) -> None:
    route = "[{backend: 'demo:a', when: {tenants: [acme], partners: [one]}}, {backend: 'demo:b'}]"
    people = "partners:\n  one: {tenants: {acme: {status: asleep}}}\n"
    found = problems_of(HEAD + f"models:\n  m: {{price: free, route: {route}}}\n" + people)
    assert len(found) == 1
    assert "`asleep`" in found[0]


def test_a_row_of_fallbacks_is_fine(load_text: Load) -> None:
    models = "".join(
        f"  {name}: {{price: free, fallback: {{context_window: {after}, content_filter: {after}}}, "
        "route: [{backend: 'demo:a'}]}\n"
        for name, after in [("a", "b"), ("b", "c"), ("c", "d")]
    )
    loaded = load_text(HEAD + f"models:\n{models}  d: {{price: free, route: [{{backend: 'demo:a'}}]}}\n")
    assert loaded.warnings == ()
    assert loaded.document.models["a"].fallback.context_window == "b"
