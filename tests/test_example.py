"""The scaigrid.yaml at the root, with which `make serve` starts: it compiles, and every model answers without a key."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

import config
from appliance.formats.chat import Usage
from appliance.grid.compile import compile_grid, people
from appliance.grid.grid import Grid
from appliance.grid.strategies import order

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "scaigrid.yaml"
KEYS = {f"{name}_API_KEY": f"{name}-test-0123456789" for name in ("OPENAI", "ANTHROPIC", "GEMINI", "MISTRAL")}


@pytest.fixture(scope="module")
def grid() -> Grid:
    loaded = config.load(EXAMPLE, {})
    assert loaded.warnings == ()
    return compile_grid(loaded, generation=1)


def test_without_any_key_every_model_is_answered_by_the_demo(grid: Grid) -> None:
    assert grid.models
    for name, model in grid.models.items():
        targets = order(model.policy, Random(0))
        assert targets, name
        assert {target.endpoint.provider.type for target in targets} == {"demo"}, name


def test_with_keys_the_real_providers_are_asked_first() -> None:
    grid = compile_grid(config.load(EXAMPLE, KEYS), generation=1)
    first = {name: order(model.policy, Random(0))[0].endpoint.provider.type for name, model in grid.models.items()}
    assert (first["gpt"], first["claude"], first["gemini"], first["demo"]) == ("openai", "anthropic", "google", "demo")
    assert (first["embed"], first["picture"], first["voice"]) == ("openai", "openai", "demo")
    assert all(endpoint.unconfigured is None for endpoint in grid.endpoints.values())


def test_the_demo_costs_us_nothing_and_real_models_have_prices(grid: Grid) -> None:
    for name, model in grid.models.items():
        if model.modality == "chat":
            assert name == "demo" or (model.price.base.output > model.price.base.input > 0)
        else:
            assert model.price.worst_of(Usage(1000, 0, images=1, audio_ms=1000, characters=1000)) > 0
        for target in model.policy.targets:
            assert target.endpoint.provider.type != "demo" or target.cost.base.output == 0


def test_its_people_and_tenants_are_there(grid: Grid) -> None:
    users, keys = people(config.load(EXAMPLE, {}))
    assert {user.id for user in users} >= {"default:admin", "acme:alice"}
    assert keys == [], "an example must not ship a key that works"
    assert grid.tenants["acme"].models == {"gpt", "claude", "demo"}
    assert grid.tenants["default"].models == set(grid.models)


def test_it_listens_on_this_machine_only() -> None:
    listen = config.load(EXAMPLE, {}).document.server.listen
    assert (listen.host, listen.port) == ("127.0.0.1", 8000)


def test_what_is_commented_out_is_right_too(tmp_path: Path) -> None:
    """A reader takes the # away and expects it to work."""
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace("# include: [conf.d/*.yaml]", "include: [conf.d/*.yaml]")
    text = text.replace("# tls: {certificate: cert.pem, key: key.pem}", "tls: {certificate: cert.pem, key: key.pem}")
    for name in ("azure-eu", "local"):
        start = text.index(f"  # {name}:")
        end = text.index("\n\n", start)
        text = text[:start] + re.sub(r"^  # ", "  ", text[start:end], flags=re.M) + text[end:]
    instead_of_a_key = r"^    entra:.*\n"
    assert re.search(instead_of_a_key, text, re.M)
    text = re.sub(instead_of_a_key, "", text, flags=re.M)
    text = re.sub(r"# (api_keys:)", r"\1", text)
    text = re.sub(r"#   (- \{name: laptop)", r"  \1", text)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "more.yaml").write_text("providers: {more: {type: demo}}\n")
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).touch()
    (tmp_path / "scaigrid.yaml").write_text(text)
    document = config.load(tmp_path / "scaigrid.yaml", {"ALICE_KEY": "sgk_0123456789abcdef0123", **KEYS}).document
    assert set(document.providers) >= {"azure-eu", "local", "more"}
    assert document.server.tls is not None
    alice = document.partners["example-reseller"].tenants["acme"].users["alice"]
    assert [key.name for key in alice.api_keys] == ["laptop"]
