"""Providers: what holds when little is written."""

from __future__ import annotations

from collections.abc import Callable

import config

Load = Callable[..., config.Loaded]


def test_a_provider_has_time_limits_and_a_pool_without_being_asked(load_text: Load) -> None:
    provider = load_text("providers:\n  a: {type: openai, api_key: k, base_url: 'http://h/v1/'}\n").document.providers[
        "a"
    ]
    limits = provider.timeouts
    assert (limits.connect, limits.first_byte, limits.idle, limits.total) == (5.0, 120.0, 60.0, 600.0)
    assert (provider.max_connections, provider.base_url, provider.headers) == (256, "http://h/v1", {})


def test_a_provider_knows_its_service(load_text: Load) -> None:
    text = "providers:\n  a: {type: groq, api_key: k}\n  b: {type: perplexity, api_key: k}\n"
    groq, perplexity = load_text(text).document.providers.values()
    assert (groq.service, groq.base_url, groq.api) == (config.SERVICES["groq"], None, "chat")
    assert perplexity.api == "responses"


def test_azure_has_a_version_of_its_api_without_being_asked(load_text: Load) -> None:
    text = "providers:\n  a: {type: azure, api_key: k, base_url: 'https://n.openai.azure.com/'}\n"
    provider = load_text(text).document.providers["a"]
    assert (provider.api_version, provider.base_url) == ("2024-10-21", "https://n.openai.azure.com")


def test_which_api_is_called_may_be_written(load_text: Load) -> None:
    provider = load_text("providers:\n  a: {type: openai, api_key: k, api: responses}\n").document.providers["a"]
    assert provider.api == "responses"


def test_a_provider_has_a_queue_and_no_probe_without_being_asked(load_text: Load) -> None:
    provider = load_text("providers:\n  a: {type: demo}\n").document.providers["a"]
    assert (provider.queue.size, provider.queue.wait, provider.probe) == (100, 30.0, None)


def test_a_queue_and_a_probe_take_what_is_written(load_text: Load) -> None:
    url = 'type: custom, base_url: "http://up.test/v1"'
    text = f"providers:\n  a: {{{url}, queue: {{size: 0}}, probe: {{interval: 1m}}}}\n  b: {{{url}, probe: {{}}}}\n"
    first, second = load_text(text).document.providers.values()
    assert first.probe is not None
    assert second.probe is not None
    assert (first.queue.size, first.queue.wait, first.probe.interval, second.probe.interval) == (0, 30.0, 60.0, 30.0)
