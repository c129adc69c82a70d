"""Providers, prices and default parameters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import ValidationError

import config

Load = Callable[..., config.Loaded]


def test_a_price_is_held_in_nano_usd_and_cached_input_costs_the_input_price() -> None:
    price = config.Price.model_validate({"input": "15.00", "output": "75.00"})
    assert (price.input, price.output) == (15_000_000_000, 75_000_000_000)
    assert (price.cached_input, price.cache_write, price.free) == (15_000_000_000, 15_000_000_000, False)


def test_every_class_of_a_price_may_be_written() -> None:
    price = config.Price.model_validate({"input": "3", "output": "15", "cached_input": "0.30", "cache_write": "3.75"})
    assert (price.cached_input, price.cache_write) == (300_000_000, 3_750_000_000)


def test_free_says_it_on_purpose() -> None:
    price = config.Price.model_validate("free")
    assert (price.input, price.output, price.cached_input, price.cache_write, price.free) == (0, 0, 0, 0, True)


def test_default_parameters_are_a_plain_mapping(load_text: Load) -> None:
    text = "models:\n  m: {price: free, route: [], default_params: {stop: END, temperature: 1, max_tokens: 5}}\n"
    model = load_text(text.replace("[]", "[{backend: 'd:x'}]") + "providers:\n  d: {type: demo}\n").document.models["m"]
    assert model.default_params == {"stop": ["END"], "temperature": 1.0, "max_tokens": 5}


def test_a_provider_has_time_limits_and_a_pool_without_being_asked(load_text: Load) -> None:
    provider = load_text("providers:\n  a: {type: openai, api_key: k, base_url: 'http://h/v1/'}\n").document.providers[
        "a"
    ]
    limits = provider.timeouts
    assert (limits.connect, limits.first_byte, limits.idle, limits.total) == (5.0, 120.0, 60.0, 600.0)
    assert (provider.max_connections, provider.base_url, provider.headers) == (256, "http://h/v1", {})


def test_a_document_cannot_be_changed() -> None:
    price = config.Price.model_validate("free")
    with pytest.raises(ValidationError, match="frozen"):
        price.input = 5  # type: ignore[misc]
