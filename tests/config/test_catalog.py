"""Providers and default parameters."""

from __future__ import annotations

from collections.abc import Callable

import config

Load = Callable[..., config.Loaded]


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
