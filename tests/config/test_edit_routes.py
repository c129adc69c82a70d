"""The switch, and paths through routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import config
from config import Change, EditRefused, Loaded, edited, shared_by, switch_changes
from config.edit_routes import through_route

Load = Callable[..., Loaded]

TEXT = """\
providers:
  openai: {type: openai, api_key: "${env:KEY}"}
  demo: {type: demo}
  off: {type: openai, api_key: "${env:GONE}"}
models:
  a: {price: free, route: steady}
  b: {price: free, route: steady}
  c: {price: free, route: other}
  d:
    price: free
    route:
      - backend: openai:gpt
      - backend: demo:demo
        enabled: false   # for now
routing_policies:
  steady:
    targets:
      - {backend: "openai:gpt"}
      - {backend: "demo:demo"}
      - {backend: "off:gpt"}
  other:
    targets: [{backend: "demo:demo"}]
"""
STEADY = ("routing_policies", "steady", "targets")


@pytest.fixture
def loaded(load_text: Load) -> Loaded:
    return load_text(TEXT, {"KEY": "sk-x"})


def test_the_switch_enables_one_target_and_disables_the_others(loaded: Loaded) -> None:
    assert switch_changes(loaded, "a", "demo:demo") == [
        Change((*STEADY, 0, "enabled"), False),
        Change((*STEADY, 2, "enabled"), False),
    ]
    assert switch_changes(loaded, "c", "demo:demo") == []


def test_switched_to_and_fro_the_file_says_both_words(loaded: Loaded) -> None:
    (text,) = edited(loaded, switch_changes(loaded, "d", "demo:demo")).values()
    assert "- backend: openai:gpt\n        enabled: false\n" in text
    assert "enabled: true    # for now" in text
    again = config.load("scaigrid.yaml", {"KEY": "sk-x"}, {next(iter(loaded.names)): text})
    (text,) = edited(again, switch_changes(again, "d", "openai:gpt")).values()
    assert "- backend: openai:gpt\n        enabled: true\n" in text
    assert "enabled: false   # for now" in text


def test_who_shares_the_policy(loaded: Loaded) -> None:
    assert [shared_by(loaded, model) for model in "abcd"] == [["b"], ["a"], [], []]


@pytest.mark.parametrize(
    ("model", "to", "message"),
    [
        ("aa", "demo:demo", "there is no model `aa` (did you mean `a`?)"),
        (
            "a",
            "demo:demi",
            "scaigrid.yaml:7:3: model `a` has no target `demo:demi`: its targets are `openai:gpt`, `demo:demo`,"
            " `off:gpt` (did you mean `demo:demo`?)",
        ),
        (
            "a",
            "off:gpt",
            "scaigrid.yaml:5:3: provider `off` is not configured: environment variable GONE is not set"
            " (set it, then reload)",
        ),
    ],
)
def test_a_switch_that_cannot_be_says_why(loaded: Loaded, model: str, to: str, message: str) -> None:
    with pytest.raises(EditRefused) as caught:
        switch_changes(loaded, model, to)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("route", "step", "written"),
    [
        ([{}], ("targets", 0, "enabled"), (0, "enabled")),
        ([{}], ("targets",), ()),
        ([{}], (0, "enabled"), (0, "enabled")),
        ({"targets": [{}]}, (0, "enabled"), ("targets", 0, "enabled")),
        ({"targets": [{}]}, ("targets", 0, "enabled"), ("targets", 0, "enabled")),
        (None, ("retries",), ("retries",)),
    ],
)
def test_a_path_leads_through_both_forms(
    route: object, step: tuple[str | int, ...], written: tuple[str | int, ...]
) -> None:
    path = ("models", "m", "route")
    data = {"models": {"m": {"route": route}}}
    assert through_route(data, Change((*path, *step), 1)) == [Change((*path, *written), 1)]


def test_a_list_of_targets_becomes_a_policy_first() -> None:
    path = ("models", "m", "route")
    change = Change((*path, "retries"), 1)
    assert through_route({"models": {"m": {"route": [{}]}}}, change) == [Change(path, {"targets": [{}]}), change]
