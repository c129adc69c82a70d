"""Edits of random files: they say what they said, with the change; and no other line is touched."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

import config
from config import GONE, Change, EditRefused, Loaded, edited
from support.odd_yaml import OddYaml

MAIN = Path("/etc/scaigrid.yaml")
CASES = settings(max_examples=int(os.environ.get("SCAIGRID_SEQUENCES", "300")), deadline=None)


def as_loaded(*texts: str) -> Loaded:
    """Files that hold anything at all, as if they had been loaded."""
    files = {MAIN if not at else Path(f"/etc/conf.d/{at}.yaml"): text.encode() for at, text in enumerate(texts)}
    loaded = config.load("any.yaml", {}, {Path("any.yaml"): "version: 1\n"})
    return dataclasses.replace(loaded, contents=files, names={file: file.name for file in files})


def edit(text: str, *changes: Change) -> str:
    """The text of the only file after changes."""
    return edited(as_loaded(text), changes).get(MAIN, text)


def said(text: str) -> Any:
    """What another YAML library reads."""
    return YAML(typ="safe", pure=True).load(text.removeprefix("\ufeff"))


def changed(data: Any, change: Change) -> Any:
    """The plain data after a change, in the plainest way."""
    parent = data = own_copy(data)
    for step in change.path[:-1]:
        parent = parent[step]
    last = change.path[-1]
    if change.value is GONE:
        del parent[last]
    elif isinstance(parent, list) and last == len(parent):
        parent.append(change.value)
    else:
        parent[last] = change.value
    return data


def own_copy(data: Any) -> Any:
    """A copy in which nothing is shared, as an alias shares it."""
    if isinstance(data, dict):
        return {key: own_copy(value) for key, value in data.items()}
    return [own_copy(value) for value in data] if isinstance(data, list) else data


def random_change(data: Any, odd: OddYaml, random: Random) -> Change:
    """A change at a random place below the sections."""
    path, parent = [random.choice(list(data))], data
    while True:
        here = parent[path[-1]]
        if not isinstance(here, dict | list) or (len(path) > 1 and random.randrange(3) == 0):
            break
        if not here or random.randrange(5) == 0:
            new: str | int = len(here) if isinstance(here, list) else "added"
            return Change((*path, new), odd.value(2))
        parent = here
        path.append(random.choice(range(len(here)) if isinstance(here, list) else list(here)))
    if random.randrange(3) == 0:
        return Change(tuple(path), GONE)
    value = mutated(parent[path[-1]], odd, random) if random.randrange(2) else odd.value(2)
    return Change(tuple(path), value)


def mutated(value: Any, odd: OddYaml, random: Random) -> Any:
    """The value with something in it changed, added, or left out."""
    if isinstance(value, dict):
        kept = {key: mutated(inner, odd, random) for key, inner in value.items() if random.randrange(4)}
        return kept if random.randrange(2) else {**kept, "new": odd.value(1)}
    if isinstance(value, list):
        kept_items = [mutated(inner, odd, random) for inner in value if random.randrange(4)]
        return kept_items if random.randrange(2) else [*kept_items, odd.value(1)]
    return value if random.randrange(2) else odd.scalar()


@CASES
@given(st.randoms(use_true_random=False))
def test_the_file_says_what_it_said_and_the_change(random: Random) -> None:
    odd = OddYaml(random)
    text, data = odd.document(("models", "partners"))
    assert said(text) == data, text
    for _ in range(3):
        change = random_change(data, odd, random)
        text, data = edit(text, change), changed(data, change)
        assert said(text) == data, text
        if not all(data.values()):
            break


@CASES
@given(st.randoms(use_true_random=False))
def test_anchors_are_kept_or_the_edit_is_refused(random: Random) -> None:
    odd = OddYaml(random, anchors=True)
    text, data = odd.document(("models", "partners"))
    change = random_change(data, odd, random)
    try:
        assert said(edit(text, change)) == changed(data, change), text
    except EditRefused as refused:
        if "anchor" not in str(refused):
            raise


@CASES
@given(st.randoms(use_true_random=False))
def test_lines_of_other_entries_stay_as_they_are(random: Random) -> None:
    odd = OddYaml(random)
    text, data = odd.document(("models", "partners"))
    change = random_change(data, odd, random)
    section, entry = str(change.path[0]), change.path[1] if len(change.path) > 1 else None
    if entry is None or (change.value is GONE and len(change.path) == 2 and len(data[section]) == 1):
        return
    old, new = text.splitlines(), edit(text, change).splitlines()
    first, last = lines_of_entry(text, section, str(entry))
    assert new[:first] == old[:first]
    assert last == len(old) or new[last - len(old) :] == old[last:]


def lines_of_entry(text: str, section: str, entry: str) -> tuple[int, int]:
    """Its first line, and the next line that is another entry's; a new entry stands below its section's last."""
    root = yaml.compose(text.removeprefix("\ufeff"), yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    found = [(name.start_mark.line, name.value, "") for name, _ in root.value]
    found += [(key.start_mark.line, name.value, key.value) for name, node in root.value for key, _ in node.value]
    found.sort()
    own = [at for at, (_, *names) in enumerate(found) if names == [section, entry]]
    last = max(at for at, (_, name, _) in enumerate(found) if name == section)
    at = own[0] if own else last
    end = found[at + 1][0] if at + 1 < len(found) else len(text.splitlines())
    return found[at][0] + (not own), end


# -- by hand ----------------------------------------------------------------------------------------------------------

P = ("models", "m")

BY_HAND = {
    "a comment keeps its column": (
        "models:\n  m: {a: 1}\n  n: true   # why\n",
        Change(("models", "n"), False),
        "  n: false  # why\n",
    ),
    "quotes stay": ("models:\n  m: '1.50'\n", Change(P, "2.00"), "  m: '2.00'\n"),
    "double quotes stay": ('models:\n  m: "a"\n', Change(P, "b"), '  m: "b"\n'),
    "what YAML 1.1 misreads gets quotes": ("models:\n  m: a\n", Change(P, "no"), '  m: "no"\n'),
    "a reference needs none": ("models:\n  m: a\n", Change(P, "${env:KEY}"), "  m: ${env:KEY}\n"),
    "nothing becomes something": ("models:\n  m:   # none\n", Change(P, 1), "  m: 1  # none\n"),
    "an empty section gets lines": ("models: {}\n", Change((*P, "a"), 1), "models:\n  m: {a: 1}\n"),
    "a text of several lines": ("models:\n  m: a  # c\n", Change(P, "x\ny\n"), "  m: |  # c\n    x\n    y\n"),
    "a key in braces": ("models:\n  m: { a: 1 }\n", Change((*P, "b"), "x:y"), '  m: { a: 1, b: "x:y" }\n'),
    "the last of a pair in braces": ("models:\n  m: {a: 1, b: 2}\n", Change((*P, "b")), "  m: {a: 1}\n"),
    "the first of a pair in braces": ("models:\n  m: {a: 1, b: 2}\n", Change((*P, "a")), "  m: {b: 2}\n"),
    "a pair without braces": ("models:\n  m: [a: 1]\n", Change((*P, 0, "b"), 2), "  m: [{a: 1, b: 2}]\n"),
    "braces over several lines": (
        "models:\n  m: {\n    a: 1, # one\n    b: 2  # two\n  }\n",
        Change((*P, "b")),
        "  m: {\n    a: 1, # one\n  }\n",
    ),
    "the first key behind a dash": ("models:\n  m:\n  - a: 1 # x\n    b: 2\n", Change((*P, 0, "a")), "  - b: 2\n"),
    "the only key behind a dash": ("models:\n  m:\n  - a: 1 # x\n", Change((*P, 0, "a")), "  - {} # x\n"),
    "dashes under the key": ("models:\n  m:\n  - a\n", Change((*P, 1), "b"), "  - a\n  - b\n"),
    "dashes deeper than the key": ("models:\n  m:\n    - a\n", Change((*P, 1), "b"), "    - a\n    - b\n"),
    "the last item": ("models:\n  m:  # few\n    # one\n    - a\n", Change((*P, 0)), "  m: []  # few\n    # one\n"),
    "a comment inside goes with its entry": (
        "models:\n  m:\n    a: 1\n    # b: 2\n\n  # about n\n  n: 1\n",
        Change(P),
        "models:\n\n  # about n\n  n: 1\n",
    ),
    "blank lines separate": ("models:\n  k: 1\n\n  l: 1\n\nx: 1\n", Change(P, 1), "  l: 1\n\n  m: 1\n\nx: 1\n"),
    "an explicit key": ("models:\n  ? m\n  : 1\n  ? n\n  : 2\n", Change(P), "models:\n  ? n\n  : 2\n"),
    "the end mark stays last": ("---\nmodels:\n  k: 1\n...\n", Change(P, 2), "  k: 1\n  m: 2\n...\n"),
    "a file without a last line break": ("models:\n  k: 1", Change(P, 2), "  k: 1\n  m: 2\n"),
    "CRLF": (
        "models:\r\n  k: 1\r\n",
        Change(P, {"a": 1, "b": [{"c": 1}]}),
        "  m:\r\n    a: 1\r\n    b:\r\n      - {c: 1}\r\n",
    ),
    "an unused anchor on a list": ("models:\n  m: &a\n  - x\n", Change((*P, 0)), "  m: &a []\n"),
    "a tag": ("models:\n  m: !!str x\n", Change(P, 3), "  m: 3\n"),
    "an alias becomes a value of its own": (
        "k: &k {a: 1}\nmodels:\n  m: *k\n",
        Change((*P, "b"), 2),
        "models:\n  m:\n    a: 1\n    b: 2\n",
    ),
    "a merge key is overridden": (
        "k: &k {a: 1, b: {c: 1}}\nmodels:\n  m:\n    <<: *k\n",
        Change((*P, "b", "c"), 2),
        "  m:\n    <<: *k\n    b: {c: 2}\n",
    ),
    "only the price's changed class is written anew": (
        "models:\n  m:\n    price: {input: '1', output: \"2\"}  # USD\n    # a remark\n    route: x\n",
        Change(P, {"price": {"input": "1", "output": "3"}, "route": "x"}),
        "    price: {input: '1', output: \"3\"}  # USD\n    # a remark\n    route: x\n",
    ),
    "a target that goes leaves its neighbours' comments": (
        "models:\n  m:\n  - backend: a:a  # first\n  - backend: b:b  # second\n",
        Change(P, [{"backend": "b:b", "enabled": False}]),
        "  - backend: b:b  # second\n    enabled: false\n",
    ),
    "a route's list becomes its targets": (
        "models:\n  m:\n    route:  # why\n    - backend: a:a  # first\n",
        Change((*P, "route", "retries"), 0),
        "    route:  # why\n      targets:\n      - backend: a:a  # first\n      retries: 0\n",
    ),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_what_is_written_looks_as_an_operator_would_write_it(case: str) -> None:
    text, change, expected = BY_HAND[case]
    new = edit(text, change)
    assert new.endswith(expected)
    assert expected.startswith("models:") or new.startswith(text[: text.index("  m" if "  m" in text else "  ")])


def test_what_stands_first_stays_first() -> None:
    text = "\ufeff# yaml-language-server: $schema=x.json\nmodels:\n  m: 1\n"
    assert edit(text, Change(P, 2)) == text.replace("m: 1", "m: 2")


def test_a_switch_to_and_fro_leaves_the_file_as_it_was() -> None:
    text = "models:\n  m:\n    enabled: true     # the switch\n"
    off = edit(text, Change((*P, "enabled"), False))
    assert off == "models:\n  m:\n    enabled: false    # the switch\n"
    assert edit(off, Change((*P, "enabled"), True)) == text


def test_no_change_is_no_new_text() -> None:
    assert edited(as_loaded("models:\n  m: {a: 1}\n"), [Change(P, {"a": 1}), Change(("models", "gone"))]) == {}


def test_true_is_not_1() -> None:
    assert edit("models:\n  m: 1\n", Change(P, True)) == "models:\n  m: true\n"


def test_several_changes_are_made_one_after_the_other() -> None:
    changes = [Change(P, {"a": [1]}), Change((*P, "a", 1), 2), Change((*P, "a", 0)), Change((*P, "b"), None)]
    assert edit("models:\n  k: 1\n", *changes) == "models:\n  k: 1\n  m:\n    a: [2]\n    b: null\n"


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        (
            "k: &k {a: 1}\nmodels:\n  m: *k\n",
            Change(("k", "a"), 2),
            "scaigrid.yaml:1:4: the edit would change more than it should, or less: what stands here is used elsewhere,"
            " by its anchor (edit the file by hand)",
        ),
        (
            "k: &k 1\nmodels:\n  m: *k\n",
            Change(("k",)),
            "scaigrid.yaml:1:4: `k` holds the anchor `&k`, which is used elsewhere"
            " (write out what `*k` stands for first)",
        ),
        (
            "k: &k {a: 1}\nmodels:\n  m: {<<: *k, b: 2}\n",
            Change((*P, "a")),
            "scaigrid.yaml:3:6: `models.m.a` comes by the merge key `<<` and cannot be left out here"
            " (write the entry out instead)",
        ),
        (
            "models:\n  m: 1\n",
            Change((*P, "a"), 2),
            "`models.m` is a number and has no key `a` (change `models.m` itself)",
        ),
        (
            "models:\n  m: [1]\n",
            Change((*P, 2), 2),
            "there is no item 2 in `models.m`, which has 1 (1 adds one at the end)",
        ),
        ("models:\n  m: 1\n", Change(()), "the whole configuration cannot be deleted"),
        ("models:\n  ? m\n", Change(P, 1), "a key without a colon cannot be given a value (write it as `KEY:` first)"),
        (
            "models:\n  m: {route: steady}\n",
            Change((*P, "route", "retries"), 1),
            "`models.m.route` is the policy `steady`, which other models may share"
            " (change `routing_policies.steady.retries` instead)",
        ),
        (
            "models:\n  m: 1\n",
            Change(P, float("nan")),
            "nan is no number that a configuration may hold (write a finite one)",
        ),
        ("models:\n  m: 1\n", Change(P, b"x"), "a value of type bytes cannot be written (write texts and numbers)"),
        (
            "models:\n  m: 1\n",
            Change(P, {1: 2}),
            "a key must be a text of at most 500 characters (choose another name)",
        ),
        (
            "models:\n  m: |\n    x",
            Change(("models", "n"), 1),
            "the edit would change more than it should, or less (edit the file by hand)",
        ),
    ],
)
def test_an_edit_that_cannot_be_made_says_why(text: str, change: Change, message: str) -> None:
    with pytest.raises(EditRefused) as caught:
        edit(text, change)
    assert str(caught.value) == message


def test_a_value_too_deep_is_refused() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(EditRefused, match="cannot be changed as the file is written"):
        edit("models:\n  m: 1\n", Change(P, value))


# -- the example ------------------------------------------------------------------------------------------------------

EXAMPLE = Path(__file__).parents[2] / "scaigrid.yaml"
GOLDEN = Path(__file__).parents[1] / "golden" / "config" / "edit-example.diff"
POLICY = ("routing_policies", "gpt-or-demo")
ACME = ("partners", "example-reseller", "tenants", "acme")

EDITS = {
    "switch a target off": [Change((*POLICY, "targets", 0, "enabled"), False)],
    "switch off a target that says nothing": [Change((*POLICY, "targets", 1, "enabled"), False)],
    "switch off a target in brackets": [Change(("models", "embed", "route", "targets", 0, "enabled"), False)],
    "a new target": [Change((*POLICY, "targets", 2), {"backend": "mistral:mistral-large-latest", "priority": 3})],
    "one target less": [Change((*POLICY, "targets", 1))],
    "retries for a route that is a list": [Change(("models", "demo", "route", "retries"), 0)],
    "retries for a route in brackets": [Change(("models", "embed", "route", "retries"), 0)],
    "another price": [Change(("models", "gpt", "price", "output"), "1.80")],
    "a price where none was": [Change(("models", "demo", "price"), {"input": "0.10", "output": "0.20"})],
    "a new model": [
        Change(
            ("models", "mistral"),
            {
                "display_name": "Mistral",
                "price": {"input": "2.00", "output": "6.00"},
                "system_prompt": "Be short.\nAnswer in French.\n",
                "route": {
                    "targets": [{"backend": "mistral:mistral-large-latest"}, {"backend": "demo:demo", "cost": "free"}]
                },
            },
        )
    ],
    "a model put as a whole": [
        Change(
            ("models", "claude"),
            {
                "display_name": "Claude",
                "context_window": 400000,
                "max_output_tokens": 64000,
                "price": {"input": "3.00", "output": "15.00", "cached_input": "0.30", "cache_write": "3.75"},
                "route": {
                    "targets": [
                        {"backend": "anthropic:claude-opus-4-5", "priority": 1},
                        {"backend": "anthropic:claude-sonnet-4-5", "priority": 2},
                    ],
                    "deadline": "5m",
                },
            },
        )
    ],
    "a provider goes": [Change(("providers", "mistral"))],
    "a new provider": [Change(("providers", "local"), {"type": "ollama", "base_url": "http://127.0.0.1:11434/v1"})],
    "a new user": [Change((*ACME, "users", "bob"), {"email": "bob@acme.example", "roles": ["tenant_user"]})],
    "the only user goes": [Change((*ACME, "groups")), Change((*ACME, "users", "alice"))],
    "another limit": [Change(("server", "upload_limit"), "50MB")],
}


def test_edits_of_the_example_are_small_and_good() -> None:
    loaded = config.load(EXAMPLE, {})
    found = ""
    for name, changes in EDITS.items():
        texts = edited(loaded, changes)
        assert config.load(EXAMPLE, {}, texts).document != loaded.document
        old, new = loaded.contents[EXAMPLE].decode(), texts[EXAMPLE]
        lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm=""))[2:]
        found += f"## {name}\n" + "".join(f"{'@@' if line.startswith('@@') else line}\n" for line in lines) + "\n"
    if os.environ.get("SCAIGRID_GOLDEN") == "write":
        GOLDEN.write_text(found, encoding="utf-8")
    assert found == GOLDEN.read_text(encoding="utf-8"), "if this is meant: make golden"


def test_a_candidate_is_checked_before_it_is_written(tmp_path: Path) -> None:
    file, more = tmp_path / "scaigrid.yaml", tmp_path / "more.yaml"
    file.write_text("version: 1\ninclude: [more.yaml]\n", encoding="utf-8")
    more.write_text("providers:\n  demo: {type: demo}\n", encoding="utf-8")
    loaded = config.load(file, {})
    texts = edited(loaded, [Change(("providers", "demo", "type"), "dema")])
    assert list(texts) == [more]
    with pytest.raises(config.ConfigError) as caught:
        config.load(file, {}, texts)
    assert [(problem.file, problem.line, problem.column) for problem in caught.value.problems] == [(str(more), 2, 16)]
    assert loaded.contents == {file: file.read_bytes(), more: more.read_bytes()}
    assert loaded.names == {file: str(file), more: str(more)}
    assert "demo: {type" not in repr(loaded)
