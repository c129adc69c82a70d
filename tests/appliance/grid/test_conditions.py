"""Conditions: everything written has to hold, of a list one entry is enough, and the words say what did not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.chat import Usage
from appliance.grid.conditions import (
    EXPECTED_OUTPUT_TOKENS,
    Condition,
    Facts,
    compile_condition,
    expected_output,
    matcher,
)
from config.conditions import When

ALICE = Facts(
    partner="reseller",
    tenant="acme",
    user="acme:alice",
    roles=("tenant_user", "auditor"),
    groups=("writers", "staff"),
    metadata={"tier": "gold", "level": 3, "beta": True, "none": None, "list": ["gold"]},
    input_tokens=1000,
    needs=frozenset({"tools", "images"}),
)


def condition(**when: Any) -> Condition:
    return compile_condition(When.model_validate(when))


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ({"tenants": ["acme"]}, ""),
        ({"tenants": ["other", "ac*"]}, ""),
        ({"tenants": ["acm", "ACME", "acme-2"]}, "the tenant is not acm or ACME or acme-2"),
        ({"partners": ["reseller"]}, ""),
        ({"partners": ["acme"]}, "the partner is not acme"),
        ({"roles": ["tenant_admin", "tenant_user"]}, ""),
        ({"roles": ["audit*"]}, ""),
        ({"roles": ["super_admin"]}, "the caller has no role super_admin"),
        ({"groups": ["staff"]}, ""),
        ({"groups": ["readers"]}, "the caller is in no group readers"),
        ({"metadata": {"tier": "gold"}}, ""),
        ({"metadata": {"tier": ["silver", "g*"]}}, ""),
        ({"metadata": {"tier": "silver"}}, "metadata.tier is not silver"),
        ({"metadata": {"level": 3, "beta": True}}, ""),
        ({"metadata": {"level": "3", "beta": "true"}}, ""),
        ({"metadata": {"level": 3.5}}, "metadata.level is not 3.5"),
        ({"metadata": {"beta": 1}}, "metadata.beta is not 1"),
        ({"metadata": {"tier": "*"}}, ""),
        ({"metadata": {"unknown": "*"}}, "metadata.unknown is not *"),
        ({"metadata": {"none": "*"}}, "metadata.none is not *"),
        ({"metadata": {"list": "gold"}}, "metadata.list is not gold"),
        ({"needs": ["images"]}, ""),
        ({"needs": ["files", "tools"]}, ""),
        ({"needs": ["files", "audio"]}, "the call needs none of files, audio"),
        ({"input_tokens": {"min": 1000, "max": 1000}}, ""),
        ({"input_tokens": {"min": 1000}}, ""),
        ({"input_tokens": {"max": 1000}}, ""),
        ({"input_tokens": {"min": 1001}}, "the input is shorter than 1001 tokens"),
        ({"input_tokens": {"max": 999}}, "the input is longer than 999 tokens"),
        ({"input_tokens": {"min": 1, "max": 999}}, "the input is not of 1 to 999 tokens"),
    ],
)
def test_a_condition_holds_or_says_why_not(when: dict[str, Any], words: str) -> None:
    assert condition(**when).unmet(ALICE) == words
    assert condition(**when).holds(ALICE) is (not words)


def test_everything_that_is_written_has_to_hold() -> None:
    both = {"tenants": ["acme"], "metadata": {"tier": "gold", "level": 4}}
    assert condition(**both).unmet(ALICE) == "metadata.level is not 4"
    assert condition(**{**both, "metadata": {"tier": "gold"}}).holds(ALICE)


def test_a_call_of_which_nothing_is_known_fulfils_no_condition_on_people() -> None:
    for key in ("tenants", "partners", "roles", "groups"):
        assert not condition(**{key: ["acme"]}).holds(Facts())


@given(names=st.lists(st.text(max_size=5), max_size=4), patterns=st.lists(st.text("ab*?[]", min_size=1), min_size=1))
def test_several_patterns_match_what_one_of_them_matches(names: list[str], patterns: list[str]) -> None:
    alone = [matcher([pattern]) for pattern in patterns]
    assert matcher(patterns)(names) == any(one([name]) for one in alone for name in names)


@given(name=st.text(), tail=st.text(min_size=1))
def test_a_plain_name_matches_itself_and_nothing_longer(name: str, tail: str) -> None:
    if not set(name + tail) & set("*?["):
        assert matcher([name])([name])
        assert not matcher([name])([name + tail])
        assert matcher([name + "*"])([name + tail])


def test_a_call_is_expected_to_use_its_input_and_a_usual_answer() -> None:
    assert ALICE.expected == Usage(1000, EXPECTED_OUTPUT_TOKENS)
    assert Facts(usage=Usage(images=2)).expected == Usage(images=2)


@pytest.mark.parametrize(("cap", "n", "expected"), [(None, 1, 500), (100, 1, 100), (9000, 1, 500), (100, 3, 300)])
def test_a_caller_who_wants_less_is_expected_to_get_less(cap: int | None, n: int, expected: int) -> None:
    assert expected_output(cap, n) == expected
