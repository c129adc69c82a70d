"""Each step is made in the file that holds the entry."""

from __future__ import annotations

from pathlib import Path

import pytest

import config
from config import GONE, Change, EditRefused, Loaded, edited

FILES = {
    "scaigrid.yaml": (
        "version: 1\ninclude: [conf.d/*.yaml]\nproviders:\n  demo: {type: demo}\nmodels:\n"
        "partners:\n  p:\n    display_name: P\n    tenants:\n      one: {}\n"
    ),
    "conf.d/models.yaml": (
        "models:\n  chat: {price: free, route: [{backend: 'demo:demo'}]}\nproviders:\n  x: {type: demo}\n"
    ),
    "conf.d/people.yaml": "# people\npartners:\n  p:\n    tenants:\n      two: {}\n      three: {}\n  q: {}\n  r: {}\n",
}


@pytest.fixture
def several(folder: Path) -> Loaded:
    (folder / "conf.d").mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return config.load("scaigrid.yaml", {})


MODEL = {"price": "free", "route": [{"backend": "demo:demo"}]}
MODEL_LINES = '  new:\n    price: free\n    route:\n      - {backend: "demo:demo"}\n'
POLICY = {"targets": [{"backend": "demo:demo"}]}
POLICY_LINES = '\nrouting_policies:\n  new:\n    targets:\n      - {backend: "demo:demo"}\n'
TENANTS = ("partners", "p", "tenants")


@pytest.mark.parametrize(
    ("path", "value", "file", "lines"),
    [
        (("models", "chat", "status"), "disabled", "models.yaml", "[{backend: 'demo:demo'}], status: disabled}\n"),
        (("models", "new"), MODEL, "models.yaml", MODEL_LINES),
        (("providers", "new"), {"type": "demo"}, "scaigrid.yaml", "  demo: {type: demo}\n  new: {type: demo}\n"),
        (("providers", "x"), GONE, "models.yaml", "\nproviders: {}\n"),
        (("partners", "s"), {}, "people.yaml", "  r: {}\n  s: {}\n"),
        ((*TENANTS, "four"), {}, "people.yaml", "      three: {}\n      four: {}\n"),
        ((*TENANTS, "one", "status"), "suspended", "scaigrid.yaml", "      one:\n        status: suspended\n"),
        (("partners", "p", "display_name"), "Q", "scaigrid.yaml", "    display_name: Q\n"),
        (("partners", "q", "display_name"), "Q", "people.yaml", "  q:\n    display_name: Q\n"),
        (("routing_policies", "new"), POLICY, "scaigrid.yaml", POLICY_LINES),
    ],
)
def test_the_file_of_the_entry_or_of_most_of_its_neighbours(
    several: Loaded, path: tuple[str, ...], value: object, file: str, lines: str
) -> None:
    texts = edited(several, [Change(path, value)])
    assert [changed.name for changed in texts] == [file]
    assert lines in next(iter(texts.values()))
    assert config.load("scaigrid.yaml", {}, texts).document != several.document


def test_what_stands_in_two_files_is_taken_out_of_both(several: Loaded, folder: Path) -> None:
    assert edited(several, [Change(("partners", "p"))]) == {
        folder / "scaigrid.yaml": FILES["scaigrid.yaml"].partition("partners")[0] + "partners: {}\n",
        folder / "conf.d" / "people.yaml": "# people\npartners:\n  q: {}\n  r: {}\n",
    }


def test_a_section_put_as_a_whole_changes_only_what_differs(several: Loaded, folder: Path) -> None:
    value = {"p": {"display_name": "P", "tenants": {"one": {}, "two": {"status": "active"}, "three": {}}}, "q": {}}
    texts = edited(several, [Change(("partners",), value)])
    assert list(texts) == [folder / "conf.d" / "people.yaml"]
    assert next(iter(texts.values())).endswith("      two:\n        status: active\n      three: {}\n  q: {}\n")


def test_an_anchor_of_one_entry_is_not_another_one_s_business(folder: Path) -> None:
    text = (
        "version: 1\nproviders:\n  demo: {type: demo}\nmodels:\n  a: &a\n"
        "    price: free\n    route: &r [{backend: 'demo:demo'}]\n"
        "  b:\n    <<: *a\n    route: *r\n"
    )
    (folder / "scaigrid.yaml").write_text(text, encoding="utf-8")
    loaded = config.load("scaigrid.yaml", {})
    (new,) = edited(loaded, [Change(("models", "b", "route", 0, "enabled"), False)]).values()
    assert new == text.replace("route: *r", 'route:\n      - {backend: "demo:demo", enabled: false}')
    with pytest.raises(EditRefused) as caught:
        edited(loaded, [Change(("models", "a", "route", 0, "enabled"), False)])
    assert str(caught.value).startswith("scaigrid.yaml:5:6: the edit would change more than it should")
    with pytest.raises(EditRefused, match=r"^scaigrid.yaml:5:6: `models.a` holds the anchor `&a`"):
        edited(loaded, [Change(("models", "a"))])
