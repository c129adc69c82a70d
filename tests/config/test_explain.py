"""What later versions bring is refused as such, from the tables in config/later.py."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from config.explain import explain, shapes_at
from config.later import LATER_KEYS, LATER_REMARKS, LATER_VALUES
from config.nodes import Node
from config.problems import Path, Place

PATHS: dict[str, Path] = {
    "Document": (),
    "Server": ("server",),
    "Provider": ("providers", "p"),
    "FrontendModel": ("models", "m"),
    "RoutingPolicy": ("models", "m", "route"),
    "Partner": ("partners", "p"),
    "Tenant": ("partners", "p", "tenants", "t"),
    "User": ("partners", "p", "tenants", "t", "users", "u"),
}


@pytest.mark.parametrize(("entry", "key"), [(entry, key) for entry, keys in LATER_KEYS.items() for key in sorted(keys)])
def test_a_later_key_is_not_called_unknown(entry: str, key: str) -> None:
    finding = explain(
        {"type": "extra_forbidden", "loc": (*PATHS[entry], key), "msg": "", "input": None}, Node(Place("f", 1, 1), {})
    )
    assert finding is not None
    assert finding.message == f"`{key}` is not served by this version"


@pytest.mark.parametrize("entry", sorted({*LATER_KEYS, *(entry for entry, _ in [*LATER_VALUES, *LATER_REMARKS])}))
def test_the_tables_name_entries_that_exist(entry: str) -> None:
    assert [shape["title"] for shape in shapes_at(PATHS[entry])] == [entry]


@pytest.mark.parametrize(("entry", "key"), [*LATER_VALUES, *LATER_REMARKS])
def test_the_tables_name_keys_that_exist(entry: str, key: str) -> None:
    assert key in next(shapes_at(PATHS[entry]))["properties"]


def test_keys_named_like_steps_of_pydantic_are_unknown_keys(
    problems_of: Callable[..., list[str]],
) -> None:
    route = 'route: {"<policy>": 1, "[key]": 2, targets: [{backend: "d:x"}]}'
    found = problems_of(f'providers:\n  d: {{type: demo}}\n"<policy>": 1\nmodels:\n  m: {{price: free, {route}}}\n')
    assert [line.partition(" (")[0] for line in found] == [
        "scaigrid.yaml:4:1: unknown key `<policy>`",
        "scaigrid.yaml:6:28: unknown key `<policy>`",
        "scaigrid.yaml:6:43: unknown key `[key]`",
    ]
