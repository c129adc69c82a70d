"""The generated files are up to date and say everything."""

from __future__ import annotations

import json

from config.document import Document
from config.schema import COMMAND, REFERENCE_FILE, SCHEMA_FILE, json_schema, reference
from config.services import SERVICES


def test_the_json_schema_is_up_to_date() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == json_schema(), f"run {COMMAND}"


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE_FILE.read_text(encoding="utf-8") == reference(), f"run {COMMAND}"


def test_every_key_has_a_meaning() -> None:
    schema = Document.model_json_schema()
    for entry in (schema, *schema["$defs"].values()):
        assert entry["description"], entry["title"]
        for key, field in entry["properties"].items():
            assert field.get("description"), f"{entry['title']}.{key}"


def test_every_entry_has_its_table() -> None:
    text = reference()
    for entry in Document.model_json_schema()["$defs"].values():
        assert entry["description"] in text, entry["title"]


def test_the_reference_lists_the_provider_types() -> None:
    text = reference().partition("## Provider types")[2]
    for row in SERVICES.values():
        line = next(line for line in text.splitlines() if line.startswith(f"| `{row.type}` | {row.title} |"))
        assert row.base_url in line
        assert row.key_variable in line


def test_editors_know_the_provider_types() -> None:
    schema = json.loads(json_schema())
    assert schema["$defs"]["Provider"]["properties"]["type"]["enum"] == list(SERVICES)


def test_editors_accept_the_short_forms() -> None:
    schema = json.loads(json_schema())
    assert {"const": "free"} in schema["$defs"]["FrontendModel"]["properties"]["price"]["anyOf"]
    kinds = [form.get("type") for form in schema["$defs"]["FrontendModel"]["properties"]["route"]["oneOf"]]
    assert kinds == ["string", None, "array"]
    assert schema["properties"]["models"]["type"] == ["object", "null"]
    assert schema["$defs"]["Tenant"]["properties"]["users"]["type"] == ["object", "null"]
