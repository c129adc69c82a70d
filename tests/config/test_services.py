"""The rows of SERVICES: complete, consistent, and each usable from a YAML that says no more than it must."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import get_args

import pytest
from genai_prices.data import providers

import config
from config.scalars import read_url
from config.services import SERVICES, Service, ServiceType

Load = Callable[..., config.Loaded]
ROWS = list(SERVICES.values())


def test_a_type_may_be_what_has_a_row_and_nothing_else() -> None:
    assert get_args(ServiceType) == tuple(SERVICES)
    assert [row.type for row in ROWS] == list(SERVICES)


def test_the_types_of_the_contract_are_served() -> None:
    assert set(SERVICES) >= {"openai", "anthropic", "azure", "mistral", "google", "qwen", "custom", "demo"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
def test_a_row_is_consistent(row: Service) -> None:
    assert re.fullmatch("[a-z]+", row.type)
    assert row.title
    assert bool(row.key_variable) == row.needs_key
    assert re.fullmatch("[A-Z_]*", row.key_variable)
    assert row.api == "chat" or row.has_responses
    assert row.dialect == "openai" or not row.has_responses


@pytest.mark.parametrize("row", [row for row in ROWS if row.base_url], ids=lambda row: row.type)
def test_an_address_is_one_that_the_yaml_would_accept(row: Service) -> None:
    assert read_url(row.base_url) == row.base_url
    assert row.base_url.startswith("http://127.0.0.1:" if row.self_hosted else "https://")


def test_only_azure_and_custom_have_no_address_of_their_own() -> None:
    assert [row.type for row in ROWS if row.needs_base_url] == ["azure", "custom"]


def test_nobody_needs_a_key_for_a_server_of_his_own() -> None:
    assert {row.needs_key for row in ROWS if row.self_hosted} == {False}
    assert [row.type for row in ROWS if not row.needs_key and not row.self_hosted] == ["custom", "demo"]


def test_dialects_other_than_openais_are_spoken_by_one_type_each() -> None:
    assert {row.type: row.dialect for row in ROWS if row.dialect != "openai"} == {
        "anthropic": "anthropic",
        "google": "google",
        "demo": "demo",
    }


def test_the_price_library_knows_whom_a_row_names() -> None:
    known = {provider.id for provider in providers}
    assert {row.prices for row in ROWS if row.prices} <= known


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
def test_a_provider_of_each_type_loads_with_what_it_needs(load_text: Load, row: Service) -> None:
    key = f", api_key: '${{env:{row.key_variable}}}'" if row.needs_key else ""
    url = ", base_url: 'https://h/v1'" if row.needs_base_url else ""
    text = f"providers:\n  p: {{type: {row.type}{key}{url}}}\n"
    provider = load_text(text, {row.key_variable: "k"}).document.providers["p"]
    assert provider.service is row
    assert (provider.api_key, provider.unconfigured) == ("k" if row.needs_key else None, None)
    assert provider.api == row.api
