"""Prices: every class, tiers, `free`."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

import config

CLASSES = ("input", "output", "cached_input", "cache_write", "reasoning")


def price(written: Any) -> config.Price:
    return config.Price.model_validate(written)


def amounts(entry: config.Price | config.Tier) -> tuple[int, ...]:
    return tuple(getattr(entry, key) for key in CLASSES)


def test_a_price_is_held_in_nano_usd_and_what_is_not_written_costs_the_plain_price() -> None:
    found = price({"input": "15.00", "output": "75.00"})
    assert amounts(found) == (15_000_000_000, 75_000_000_000, 15_000_000_000, 15_000_000_000, 75_000_000_000)
    assert (found.image, found.audio_minute, found.characters, found.search) == (0, 0, 0, 0)
    assert (found.request, found.tiers) == (0, ())
    assert (found.free, found.auto, found.source) == (False, False, "")


def test_every_class_of_a_price_may_be_written() -> None:
    tokens = {"input": "3", "output": "15", "cached_input": "0.30", "cache_write": "3.75", "reasoning": "12"}
    pieces = {"image": "0.04", "audio_minute": "0.006", "characters": "15", "search": "0.002"}
    found = price({**tokens, **pieces, "request": "0.000000001"})
    assert amounts(found) == (3_000_000_000, 15_000_000_000, 300_000_000, 3_750_000_000, 12_000_000_000)
    assert (found.image, found.audio_minute, found.request) == (40_000_000, 6_000_000, 1)
    assert (found.characters, found.search) == (15_000_000_000, 2_000_000)


def test_tokens_need_no_price_where_pieces_have_one() -> None:
    found = price({"image": "0.04"})
    assert (amounts(found), found.image, found.free) == ((0, 0, 0, 0, 0), 40_000_000, False)
    assert found.model_fields_set == {"image"}


def test_a_price_that_says_nothing_is_none() -> None:
    with pytest.raises(ValidationError, match="says nothing"):
        price({})


def test_tiers_have_the_same_classes_with_the_same_defaults() -> None:
    tiers = [
        {"above": 1000, "input": "2", "output": "4"},
        {"above": 2000, "input": "3", "output": "6", "reasoning": "5"},
    ]
    first, second = price({"input": "1", "output": "2", "cached_input": "0.1", "tiers": tiers}).tiers
    assert (first.above, *amounts(first)) == (1000, *(n * 10**9 for n in (2, 4, 2, 2, 4)))
    assert (second.above, *amounts(second)) == (2000, *(n * 10**9 for n in (3, 6, 3, 3, 5)))


def test_free_says_it_on_purpose() -> None:
    found = price("free")
    assert amounts(found) == (0, 0, 0, 0, 0)
    assert (found.free, found.auto) == (True, False)


@pytest.mark.parametrize(
    "more",
    [
        {"cached_input": "1"},
        {"reasoning": "1"},
        {"image": "1"},
        {"audio_minute": "1"},
        {"characters": "1"},
        {"search": "1"},
        {"request": "0.000000001"},
        {"tiers": [{"above": 5, "input": "0", "output": "1"}]},
    ],
)
def test_one_amount_is_enough_not_to_be_free(more: dict[str, Any]) -> None:
    assert price({"input": "0", "output": "0"}).free is True
    assert price({"input": "0", "output": "0", **more}).free is False


def test_auto_that_was_not_looked_up_is_neither_free_nor_resolved() -> None:
    found = price("auto")
    assert (found.auto, found.unresolved, found.free, found.source) == (True, True, False, "")


def test_nobody_can_write_where_a_price_comes_from() -> None:
    with pytest.raises(ValidationError, match="source"):
        price({"input": "1", "output": "1", "source": "me"})


def test_a_document_cannot_be_changed() -> None:
    price = config.Price.model_validate("free")
    with pytest.raises(ValidationError, match="frozen"):
        price.input = 5  # type: ignore[misc]
