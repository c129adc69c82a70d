"""What somebody else changed, without secrets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from config import Loaded, changed_on_disk

Load = Callable[..., Loaded]

TEXT = """\
providers:
  one: {type: openai, api_key: "sk-CANARY1", headers: {X-Any: CANARY2}}
  two:
    type: google
    vertex:
      project: my-project
      location: global
      service_account: |
        {"client_email": "CANARY@x.example",
         "private_key": "PRIVATE KEY-----CANARY3", "token_uri": "https://oauth2.googleapis.com/token"}
  # old: {api_key: CANARY4, key: 'CANARY5'}  # why sk-CANARY6
  three:
    type: openai
    api_key:
      CANARY7
    max_connections: 2
"""


@pytest.fixture
def loaded(load_text: Load) -> Loaded:
    found = load_text(TEXT)
    assert changed_on_disk(found) == {}
    return found


def diff(loaded: Loaded, before: str, now: str) -> str:
    file = Path("scaigrid.yaml")
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, now), encoding="utf-8")
    (found,) = changed_on_disk(loaded).values()
    assert "CANARY" not in found
    return found


def test_the_diff_leads_from_what_was_loaded_to_what_is_there(loaded: Loaded) -> None:
    assert diff(loaded, "max_connections: 2", "max_connections: 3\n    api: responses") == (
        "--- scaigrid.yaml (as loaded)\n"
        "+++ scaigrid.yaml (on disk)\n"
        "@@ -14,4 +14,5 @@\n"
        "     type: openai\n"
        "     api_key:\n"
        "       …\n"
        "-    max_connections: 2\n"
        "+    max_connections: 3\n"
        "+    api: responses\n"
    )


@pytest.mark.parametrize("secret", ["CANARY1", "CANARY2", "CANARY3", "CANARY4", "CANARY5", "CANARY6", "CANARY7"])
def test_a_changed_secret_is_seen_to_be_changed_and_not_shown(loaded: Loaded, secret: str) -> None:
    lines = diff(loaded, secret, "NEW-CANARY").splitlines()
    removed = [line[1:] for line in lines[2:] if line.startswith("-")]
    added = [line[1:] for line in lines[2:] if line.startswith("+")]
    assert len(removed) == 1
    assert removed == added


def test_what_cannot_be_read_is_said_without_a_diff(loaded: Loaded) -> None:
    assert diff(loaded, 'api_key: "sk-CANARY1"', 'api_key: "sk-CANARY1').startswith(
        "scaigrid.yaml was changed and is no good YAML now: scaigrid.yaml:"
    )
    Path("scaigrid.yaml").unlink()
    assert list(changed_on_disk(loaded).values()) == ["scaigrid.yaml is gone, or cannot be read\n"]


def test_a_referenced_secret_is_no_file_of_an_editor(load_text: Load) -> None:
    Path("key").write_text("CANARY", encoding="utf-8")
    loaded = load_text("providers:\n  one: {type: openai, api_key: '${file:key}'}\n")
    Path("key").write_text("other", encoding="utf-8")
    assert changed_on_disk(loaded) == {}


def test_an_alias_of_a_secret_is_one(load_text: Load) -> None:
    text = "providers:\n  one: {type: openai, base_url: &k https://x.example/v1, api_key: *k}\n"
    loaded = load_text(text)
    Path("scaigrid.yaml").write_text("version: 1\n" + text + "# more\n", encoding="utf-8")
    (found,) = changed_on_disk(loaded).values()
    assert "x.example" not in found
