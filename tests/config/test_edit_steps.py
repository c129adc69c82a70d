"""Changes are taken apart into the smallest steps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import Change, EditRefused
from config.edit_steps import Step, same, steps, taken

plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 3), st.sampled_from(["a", "b"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["backend", "x", "y"]), inner)
    ),
    max_leaves=20,
)


@given(plain, plain)
def test_the_steps_lead_from_any_data_to_any_other(old: Any, new: Any) -> None:
    data: Any = {"k": old}
    for step in steps(data, Change(("k",), new)):
        data = taken(data, step)
    assert same(data, {"k": new})


def test_what_is_the_same_needs_no_step() -> None:
    assert steps({"a": {"b": [1]}}, Change(("a",), {"b": [1]})) == []
    assert steps({"a": 1}, Change(("b", "c"))) == []


def test_items_are_known_by_their_backend() -> None:
    old = [{"backend": "a", "weight": 1}, {"backend": "b", "weight": 2}]
    new = [{"backend": "c"}, {"backend": "b", "weight": 3}]
    assert steps({"t": old}, Change(("t",), new)) == [
        Step("set", ("t", 1, "weight"), 3),
        Step("set", ("t", 0, "backend"), "c"),
        Step("remove", ("t", 0, "weight")),
    ]
    assert steps({"t": old}, Change(("t",), new[1:])) == [Step("set", ("t", 1, "weight"), 3), Step("remove", ("t", 0))]


def test_what_leads_to_a_new_entry_is_made_with_it() -> None:
    assert steps({"m": {}}, Change(("m", "a", "b", 0, "c"), 1)) == [Step("add", ("m", "a"), {"b": [{"c": 1}]})]
    assert steps({"m": None}, Change(("m", "a"), 1)) == [Step("set", ("m",), {"a": 1})]


def test_a_route_that_grows_from_a_list_is_wrapped() -> None:
    data = {"models": {"m": {"route": [1]}}}
    path = ("models", "m", "route")
    found = steps(data, Change(path, {"targets": [1], "retries": 0}))
    assert found == [Step("wrap", path), Step("add", (*path, "retries"), 0)]
    assert taken(data, found[0]) == {"models": {"m": {"route": {"targets": [1]}}}}
    assert data == {"models": {"m": {"route": [1]}}}


@pytest.mark.parametrize("path", [("s", "x"), ("l", "x"), ("l", 2), ("l", -1), ("n", 1), ("d", 0), ()])
def test_a_path_that_cannot_be_is_refused(path: tuple[str | int, ...]) -> None:
    data = {"s": "text", "l": [1], "n": None, "d": {"a": 1}}
    with pytest.raises(EditRefused):
        steps(data, Change(path, 1) if path else Change(()))


@pytest.mark.parametrize(
    ("one", "other"), [(True, 1), (1, 1.0), ({"a": 1}, {"a": True}), ([1], [1, 2]), ("1", 1), ({}, [])]
)
def test_equal_is_not_the_same(one: Any, other: Any) -> None:
    assert same(one, one)
    assert not same(one, other)
