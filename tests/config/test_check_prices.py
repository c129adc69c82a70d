"""Which units a modality needs a price for. tests/golden/config holds the exact words of every problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import pytest

import config
from config.check_prices import CHARGED, NEEDED, modalities_of_policies

Load = Callable[..., config.Loaded]
Problems = Callable[..., list[str]]
HEAD = "providers:\n  d: {type: demo}\n"


def model(modality: str, price: str) -> str:
    return f"{HEAD}models:\n  m: {{modality: {modality}, price: {price}, route: [{{backend: 'd:x'}}]}}\n"


def written(units: tuple[str, ...]) -> str:
    return "{" + ", ".join(f"{unit}: '1'" for unit in units) + "}"


WAYS = [(modality, way) for modality, ways in NEEDED.items() for way in ways]


@pytest.mark.parametrize(("modality", "way"), WAYS)
def test_one_way_to_be_charged_is_enough(load_text: Load, modality: str, way: tuple[str, ...]) -> None:
    loaded = load_text(model(modality, written(way)))
    assert loaded.warnings == ()
    assert loaded.document.models["m"].price.model_fields_set == set(way)


@pytest.mark.parametrize(("modality", "way"), WAYS)
def test_a_way_that_lacks_a_unit_is_none(problems_of: Problems, modality: str, way: tuple[str, ...]) -> None:
    assert len(problems_of(model(modality, written(("request", *way[1:]))))) == 1


@pytest.mark.parametrize("modality", get_args(config.Modality))
def test_free_is_a_price_for_everything(load_text: Load, modality: str) -> None:
    loaded = load_text(model(modality, "free"))
    assert loaded.warnings == ()
    assert loaded.document.models["m"].price.free


@pytest.mark.parametrize("modality", get_args(config.Modality))
def test_what_is_needed_is_charged(modality: config.Modality) -> None:
    assert {unit for way in NEEDED[modality] for unit in way} <= CHARGED[modality]
    assert CHARGED[modality] <= set(config.Price.model_fields)


def test_every_unit_is_charged_by_some_modality() -> None:
    assert frozenset[str]().union(*CHARGED.values()) == set(config.Price.model_fields)


def test_a_zero_that_is_never_charged_is_no_oddity(load_text: Load) -> None:
    assert load_text(model("embedding", "{input: '1', output: '0'}")).warnings == ()


def test_a_cost_in_a_policy_that_nobody_uses_is_not_judged(load_text: Load) -> None:
    text = "routing_policies:\n  p: {targets: [{backend: 'd:x', cost: {search: '1'}}]}\n"
    assert [warning.message for warning in load_text(HEAD + text).warnings] == ["no model uses the policy `p`"]


def test_a_policy_has_the_modalities_of_its_models(load_text: Load) -> None:
    text = (
        "models:\n  a: {price: free, route: p}\n  b: {price: free, modality: image, route: p}\n"
        "  c: {price: free, route: p}\n  d: {price: free, modality: audio, route: [{backend: 'd:x'}]}\n"
        "routing_policies:\n  p: {targets: [{backend: 'd:x'}]}\n"
    )
    assert modalities_of_policies(load_text(HEAD + text).document) == {"p": ("chat", "image")}
