"""scaigrid.yaml at the root loads without keys, uses every section and names the schema for editors."""

from __future__ import annotations

from pathlib import Path

import config

EXAMPLE = Path(__file__).parents[2] / "scaigrid.yaml"


def test_the_example_loads_with_no_key_and_no_warning() -> None:
    loaded = config.load(EXAMPLE, {})
    assert loaded.warnings == ()
    assert {name: provider.unconfigured for name, provider in loaded.document.providers.items()} == {
        "openai": "environment variable OPENAI_API_KEY is not set",
        "anthropic": "environment variable ANTHROPIC_API_KEY is not set",
        "google": "environment variable GEMINI_API_KEY is not set",
        "mistral": "environment variable MISTRAL_API_KEY is not set",
        "demo": None,
    }


def test_a_key_in_the_environment_configures_its_provider() -> None:
    keys = {f"{name}_API_KEY": "a" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL")}
    providers = config.load(EXAMPLE, keys).document.providers
    assert [provider.unconfigured for provider in providers.values()] == [None] * 5


def test_the_example_uses_every_section() -> None:
    assert config.load(EXAMPLE, {}).document.model_fields_set == set(config.Document.model_fields) - {"include"}


def test_the_example_shows_limits_and_budgets() -> None:
    partner = config.load(EXAMPLE, {}).document.partners["example-reseller"]
    acme = partner.tenants["acme"]
    alice = acme.users["alice"]
    assert [budget.period for budget in (*acme.budgets, *alice.budgets)] == ["monthly", "daily"]
    assert partner.rate_limits == config.RateLimits(requests_per_minute=2000)
    assert acme.groups["writers"].users == ("alice",)


def test_every_model_can_be_answered_without_a_key() -> None:
    document = config.load(EXAMPLE, {}).document
    for name, model in document.models.items():
        policy = (
            model.route if isinstance(model.route, config.RoutingPolicy) else document.routing_policies[model.route]
        )
        assert policy.targets[-1].backend.startswith("demo:"), name


def test_the_first_line_leads_editors_to_the_schema() -> None:
    first = EXAMPLE.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=config/scaigrid.schema.json"
    assert (EXAMPLE.parent / first.partition("$schema=")[2]).is_file()
