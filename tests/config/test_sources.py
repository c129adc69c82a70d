"""Included files: what they may carry, how they merge, whom a problem names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import config

Load = Callable[..., config.Loaded]
Problems = Callable[..., list[str]]


@pytest.fixture
def conf_d(folder: Path) -> Path:
    path = folder / "conf.d"
    path.mkdir()
    return path


def test_sections_of_several_files_become_one(load_text: Load, conf_d: Path) -> None:
    (conf_d / "b.yaml").write_text("models:\n  chat: {price: free, route: [{backend: 'demo:demo'}]}\nproviders:\n")
    (conf_d / "a.yaml").write_text("partners:\n  p:\n    tenants:\n      two: {}\n")
    (conf_d / ".hidden.yaml").write_text("nonsense: 1\n")
    loaded = load_text(
        "include: [conf.d/*.yaml]\nproviders:\n  demo: {type: demo}\nmodels:\n"
        "partners:\n  p:\n    display_name: P\n    tenants:\n      one: {}\n"
    )
    partner = loaded.document.partners["p"]
    assert (list(partner.tenants), partner.display_name) == (["one", "two"], "P")
    assert [path.name for path in loaded.files] == ["scaigrid.yaml", "a.yaml", "b.yaml"]
    assert str(loaded.places["models", "chat"]) == "conf.d/b.yaml:2:3"
    assert str(loaded.places["partners", "p", "tenants", "two"]) == "conf.d/a.yaml:4:7"


def test_the_same_name_in_two_files_names_both_places(problems_of: Problems, conf_d: Path) -> None:
    (conf_d / "a.yaml").write_text(
        "providers:\n  demo: {type: demo}\npartners:\n  p:\n    display_name: Q\n    tenants:\n      one: {}\n"
    )
    assert problems_of(
        "include: [conf.d/*.yaml]\nproviders:\n  demo: {type: demo}\n"
        "partners:\n  p:\n    display_name: P\n    tenants:\n      one: {}\n"
    ) == [
        "conf.d/a.yaml:2:3: `demo` is declared twice (the first stands at scaigrid.yaml:4:3)",
        "conf.d/a.yaml:5:5: `display_name` is declared twice (the first stands at scaigrid.yaml:7:5)",
        "conf.d/a.yaml:7:7: `one` is declared twice (the first stands at scaigrid.yaml:9:7)",
    ]


def test_a_merged_partner_does_not_grow_its_alias(problems_of: Problems, conf_d: Path) -> None:
    (conf_d / "a.yaml").write_text("partners:\n  p:\n    tenants:\n      two: {}\n")
    assert problems_of("include: [conf.d/*.yaml]\npartners:\n  p: &p\n    tenants: {one: {}}\n  q: *p\n") == [
        "scaigrid.yaml:5:15: the tenant `one` is declared in two partners (the first stands at scaigrid.yaml:5:15)"
    ]


def test_static_keys_belong_to_the_main_file(problems_of: Problems, conf_d: Path) -> None:
    (conf_d / "a.yaml").write_text("version: 1\nserver: {}\ninclude: []\nprovidrs: {}\n")
    assert problems_of("include: [conf.d/a.yaml]\n") == [
        "conf.d/a.yaml:1:1: an included file may not carry `version` (move it to `scaigrid.yaml`)",
        "conf.d/a.yaml:2:1: an included file may not carry `server` (move it to `scaigrid.yaml`)",
        "conf.d/a.yaml:3:1: an included file may not carry `include` (move it to `scaigrid.yaml`)",
        "conf.d/a.yaml:4:1: unknown key `providrs` (did you mean `providers`?)",
    ]


def test_a_broken_included_file_does_not_make_names_unknown(problems_of: Problems, conf_d: Path) -> None:
    (conf_d / "a.yaml").write_text("providers: {\n")
    found = problems_of("include: [conf.d/*.yaml]\nmodels:\n  chat: {price: free, route: [{backend: 'demo:demo'}]}\n")
    assert len(found) == 1
    assert found[0].startswith("conf.d/a.yaml:")


def test_a_section_of_the_wrong_kind_is_said_once(problems_of: Problems, conf_d: Path) -> None:
    (conf_d / "a.yaml").write_text("providers: [demo]\n")
    assert problems_of("include: [conf.d/*.yaml]\nproviders:\n  demo: {type: demo}\n") == [
        "conf.d/a.yaml:1:12: a mapping is due under `providers`, found a list"
    ]


def test_a_file_is_read_once_and_never_into_itself(load_text: Load, folder: Path) -> None:
    (folder / "extra.yaml").write_text("providers:\n  demo: {type: demo}\n")
    loaded = load_text("include: ['*.yaml', extra.yaml, ./extra.yaml, 'nothing-*.yaml']\n")
    assert [path.name for path in loaded.files] == ["scaigrid.yaml", "extra.yaml"]


def test_places_stay_relative_to_where_the_operator_is(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "main.yaml").write_text("version: 1\ninclude: [more.yaml]\n")
    (folder / "etc" / "more.yaml").write_text("x: 1\n")
    with pytest.raises(config.ConfigError) as caught:
        config.load(Path("etc/main.yaml"), {})
    assert caught.value.problems[0].file == "etc/more.yaml"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere.yaml", "nowhere.yaml:1:1: the file `nowhere.yaml` does not exist (check the path)"),
        (".", ".:1:1: `.` is a folder, not a file (name the YAML file in it)"),
        (
            "nul\0.yaml",
            "nul\0.yaml:1:1: the file `nul\\x00.yaml` cannot be read: the path is not usable (check path and rights)",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_a_problem(path: str, problem: str, folder: Path) -> None:
    with pytest.raises(config.ConfigError) as caught:
        config.load(path, {})
    assert [str(found) for found in caught.value.problems] == [problem]
