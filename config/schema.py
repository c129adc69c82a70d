"""Writes the JSON Schema for editors and the reference for people, both from the models.

`python -m config.schema` rewrites both files; a test fails while they differ from what stands here.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.explain import shape_of_document
from config.later import LATER_KEYS, LATER_VALUES
from config.services import SERVICES

ROOT = Path(__file__).resolve().parent.parent
SCHEMA_FILE = ROOT / "config" / "scaigrid.schema.json"
REFERENCE_FILE = ROOT / "docs" / "configuration.md"
COMMAND = ".venv/bin/python -m config.schema"

Shape = dict[str, Any]

_ENTRIES = (
    ("Document", "The document"),
    ("Server", "server"),
    ("Tls", "server.tls"),
    ("Provider", "providers.NAME"),
    ("Timeouts", "providers.NAME.timeouts"),
    ("Queue", "providers.NAME.queue"),
    ("Probe", "providers.NAME.probe"),
    ("Entra", "providers.NAME.entra"),
    ("Vertex", "providers.NAME.vertex"),
    ("FrontendModel", "models.NAME"),
    ("Price", "Prices: models.NAME.price, targets[].cost"),
    ("Tier", "Tiers of a price"),
    ("DefaultParams", "models.NAME.default_params"),
    ("Fallback", "models.NAME.fallback"),
    ("RoutingPolicy", "routing_policies.NAME, models.NAME.route"),
    ("CircuitBreaker", "routing_policies.NAME.circuit_breaker"),
    ("Hedge", "routing_policies.NAME.hedge"),
    ("Target", "targets[]"),
    ("When", "targets[].when"),
    ("InputTokens", "targets[].when.input_tokens"),
    ("Capabilities", "targets[].capabilities"),
    ("Partner", "partners.NAME"),
    ("Tenant", "partners.NAME.tenants.NAME"),
    ("User", "partners.NAME.tenants.NAME.users.NAME"),
    ("ApiKey", "users.NAME.api_keys[]"),
    ("Group", "partners.NAME.tenants.NAME.groups.NAME"),
    ("Budget", "budgets[]"),
    ("RateLimits", "rate_limits"),
)
_TITLES = dict(_ENTRIES)

_INTRODUCTION = f"""\
# Configuration reference

Written by `{COMMAND}` from the models in `config/`; do not edit it by hand.
The example to start from is [scaigrid.yaml](../scaigrid.yaml).
`scaigrid check` reports every problem as `FILE:LINE:COLUMN: message (hint)`.

## How values are written

* **YAML** has the meaning of version 1.2: only `true` and `false` are booleans (`yes`, `no`, `on`, `off` are texts),
  `012` is twelve, `1:30` and dates are texts. Unknown keys, duplicate keys and wrong types are problems. Anchors and
  merge keys (`<<: *name`) work. A section with nothing in it (`users:`) is empty.
* **Durations** are a number and one of `ms`, `s`, `m`, `h`: `500ms`, `2.5s`, `10m`.
* **Sizes** are a whole number and one of `B`, `KB`, `MB`, `GB` (thousands) or `KiB`, `MiB`, `GiB` (1024s): `20MB`.
* **Money** is a decimal text in USD with at most nine decimals, in quotes: `"15.00"`. Prices are per million tokens.
* **Times** are `2027-01-31T12:00:00Z`, or a date, which means its first moment in UTC.
* **Paths** are relative to the folder of the file they stand in.
* **References** may stand in any text, also inside a longer one, and always give a text. Inside `[]` and `{{}}` put
  them in quotes. `$${{` gives the two characters `${{`.
  * `${{env:NAME}}`: an environment variable. When it is not set, that is a problem, except in a provider's `api_key`,
    `entra.client_secret` and `vertex.service_account`: that provider is then unconfigured and the rest works.
  * `${{env:NAME:-default}}`: the same, with a text for when it is not set or empty.
  * `${{file:PATH}}`: a file's content without the line breaks at its end.
* **Includes**: `include: [conf.d/*.yaml]` merges further files. They hold `providers`, `models`, `routing_policies` and
  `partners` only; the tenants of one partner may come from several files. The same name in two files is a problem.
"""


def json_schema() -> str:
    """The JSON Schema as text."""
    schema = copy.deepcopy(shape_of_document())
    for shape in (schema, *schema["$defs"].values()):
        for field in shape.get("properties", {}).values():
            _allow_null(field)
    route = schema["$defs"]["FrontendModel"]["properties"]["route"]
    route["oneOf"].append({"type": "array", "items": {"$ref": "#/$defs/Target"}, "minItems": 1})
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "scaigrid.yaml"}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _allow_null(section: Shape) -> None:
    """An empty section is allowed, so editors must not underline it."""
    if "additionalProperties" in section:
        section["type"] = ["object", "null"]


def reference() -> str:
    """The reference as Markdown."""
    entries = (line for name, title in _ENTRIES for line in _entry(name, title))
    return "\n".join([_INTRODUCTION, *entries, *_provider_types(), *_later()])


def _shape(name: str) -> Shape:
    root = shape_of_document()
    found: Shape = root if name == "Document" else root["$defs"][name]
    return found


def _entry(name: str, title: str) -> Iterator[str]:
    shape = _shape(name)
    yield f"## {title}\n"
    yield f"{shape['description']}\n"
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for key, field in shape["properties"].items():
        cells = (f"`{key}`", _type(field), _default(name, key, field), field.get("description", ""))
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _type(field: Shape) -> str:
    if choices := field.get("anyOf") or field.get("oneOf"):
        kinds = [_type(choice) for choice in choices if choice.get("type") != "null"]
        return " or ".join(kinds)
    if "$ref" in field:
        title = _TITLES[str(field["$ref"]).rpartition("/")[2]]
        return f"[mapping](#{_anchor(title)})"
    if "const" in field:
        value = field["const"]
        return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field["type"] == "array":
        return f"list of {_type(field['items'])}"
    if "additionalProperties" in field:
        return f"names, each with a {_type(field['additionalProperties'])}"
    words = {"integer": "whole number", "string": "text", "boolean": "`true` or `false`"}
    return str(field.get("x-form") or words.get(field["type"], field["type"])) + _bounds(field)


def _bounds(field: Shape) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}" if abs(high) < 1000 else f", {low} to {high}"
    return f" from {low}" if low is not None else ""


def _anchor(title: str) -> str:
    """The anchor that Markdown renderers give to a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _default(entry: str, key: str, field: Shape) -> str:
    if key in _shape(entry).get("required", ()):
        return "required"
    if field.get("default") is None:
        return ""
    value = field["default"]
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`" if value else ""


def _provider_types() -> Iterator[str]:
    yield "## Provider types\n"
    yield "What `type` of a provider may be. Services with a site of their own for China have the international address"
    yield "here; write `base_url` for the other one. The last column: is it in the price library?\n"
    yield "| type | service | `base_url` | key | OpenAI's APIs | `auto` prices |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in SERVICES.values():
        url = f"`{row.base_url}`" if row.base_url else "required" if row.needs_base_url else ""
        key = f"`{row.key_variable}`" if row.needs_key else "optional" if row.dialect != "demo" else ""
        other = "responses" if row.api == "chat" else "chat"
        apis = f"`{row.api}`" + (f", `{other}`" if row.has_responses else "") if row.dialect == "openai" else ""
        auto = "yes" if row.prices else ""
        yield f"| `{row.type}` | {row.title} | {url} | {key} | {apis} | {auto} |"
    yield ""


def _later() -> Iterator[str]:
    yield "## Not served by this version\n"
    yield "These are refused until the version that serves them:\n"
    for name, keys in LATER_KEYS.items():
        yield f"* {_TITLES[name]}: {', '.join(f'`{key}`' for key in sorted(keys))}"
    for (name, key), values in LATER_VALUES.items():
        yield f"* {_TITLES[name]}: `{key}` as {', '.join(f'`{value}`' for value in values)}"
    yield "* references: `${secret:NAME}`\n"


def main() -> None:
    """Rewrite both files."""
    SCHEMA_FILE.write_text(json_schema(), encoding="utf-8")
    REFERENCE_FILE.write_text(reference(), encoding="utf-8")


if __name__ == "__main__":
    main()
