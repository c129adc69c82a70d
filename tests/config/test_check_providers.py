"""What a provider's type needs and forbids. tests/golden/config holds the exact words of every problem."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import config

Load = Callable[..., config.Loaded]


@pytest.mark.parametrize(
    "written",
    [
        "{type: azure, base_url: 'https://n.openai.azure.com', api_key: k, api_version: 2025-04-01-preview}",
        "{type: azure, base_url: 'https://n.openai.azure.com/openai/v1', entra: managed_identity, api: responses}",
        "{type: azure, base_url: 'https://n.openai.azure.com/openai', api_key: k}",
        "{type: azure, base_url: 'https://gateway/path', api_key: k, api: responses, api_version: preview}",
        "{type: google, api_key: k, base_url: 'https://proxy/google'}",
        "{type: google, vertex: {project: p, location: europe-west4}, base_url: 'http://127.0.0.1:1'}",
        "{type: anthropic, api_key: k, base_url: 'https://api.deepseek.com/anthropic'}",
        "{type: custom, base_url: 'http://h/openai', api: responses}",
        "{type: ollama, api_key: k, base_url: 'http://h:11434/v1'}",
        "{type: demo, timeouts: {total: 1s}}",
    ],
)
def test_what_a_type_has_a_meaning_for_is_accepted(load_text: Load, written: str) -> None:
    assert load_text(f"providers:\n  p: {written}\n").document.providers["p"].unconfigured is None


def test_a_key_that_is_not_set_is_a_key(problems_of: Callable[..., list[str]]) -> None:
    both = "providers:\n  p: {type: google, api_key: '${env:K}', vertex: {project: p, location: global}}\n"
    assert problems_of(both) == [
        "scaigrid.yaml:3:21: a provider takes `vertex` or an `api_key`, not both (keep the one that is meant)"
    ]


def test_headers_that_are_the_same_are_one_too_many(problems_of: Callable[..., list[str]]) -> None:
    headers = "providers:\n  p: {type: ollama, headers: {X-Org: a, x-org: b}}\n"
    assert problems_of(headers) == ["scaigrid.yaml:3:41: the header `x-org` is the same as `X-Org` (keep one of them)"]
