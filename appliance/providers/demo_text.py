"""What the demo provider says: a text that admits what it is, and example values that satisfy a JSON schema."""

from __future__ import annotations

import re
from typing import Any

_QUOTE_LIMIT = 200
_DEPTH_LIMIT = 12


def answer_words(last_user: str, tool_results: list[str]) -> list[str]:
    """The answer as words, each with the space that follows it: one word is one token here."""
    quoted = last_user.strip()
    if len(quoted) > _QUOTE_LIMIT:
        quoted = quoted[:_QUOTE_LIMIT].rstrip() + " …"
    text = "Hello! This is ScaiGrid's built-in demo provider speaking: no language model was asked. "
    text += f"Your last message was: “{quoted}” " if quoted else "Your request held no text. "
    if tool_results:
        text += "The tool answered: " + " ".join(tool_results)[:_QUOTE_LIMIT] + " "
    text += "Put a real provider's key into the environment, and the same model name answers from there."
    return re.findall(r"\S+\s*", text)


def example_of(schema: Any, root: Any = None, depth: int = 0) -> Any:
    """A small value that satisfies the schema, as far as a schema of everyday use goes."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEPTH_LIMIT:
        return None
    if "$ref" in schema:
        return example_of(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            return example_of(_shallowest(schema[key]), root, depth + 1)
    if schema.get("allOf"):
        return _all_of([*schema["allOf"], {k: v for k, v in schema.items() if k != "allOf"}], root, depth)
    kind = schema.get("type", "object" if "properties" in schema or "required" in schema else "string")
    return _example_of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _shallowest(choices: list[Any]) -> Any:
    """A plain value rather than a structure: where a schema contains itself, this is what ends it."""
    plain = [c for c in choices if isinstance(c, dict) and c.get("type") in ("string", "integer", "number", "boolean")]
    empty = [c for c in choices if isinstance(c, dict) and c.get("type") == "null"]
    return (plain or empty or choices)[0]


def _all_of(schemas: list[Any], root: Any, depth: int) -> Any:
    examples = [example_of(schema, root, depth + 1) for schema in schemas if schema]
    objects = [example for example in examples if isinstance(example, dict)]
    if not objects:
        return examples[0] if examples else None
    return {name: value for example in objects for name, value in example.items()}


def _example_of_type(kind: str, schema: dict[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        required = {name: "demo" for name in schema.get("required", []) if name not in properties}
        return {name: example_of(value, root, depth + 1) for name, value in properties.items()} | required
    if kind == "array":
        return _array(schema, root, depth)
    if kind in ("integer", "number"):
        return _number(schema)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    text = _FORMATS.get(schema.get("format", ""), "demo")
    return text.ljust(int(schema.get("minLength", 0)), "o")[: int(schema.get("maxLength", 1_000_000))]


_FORMATS = {
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "date-time": "2026-01-31T12:00:00Z",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "demo@example.com",
    "uri": "https://example.com/",
    "duration": "PT1H",
    "ipv4": "192.0.2.1",
}


def _array(schema: dict[str, Any], root: Any, depth: int) -> list[Any]:
    first = [example_of(item, root, depth + 1) for item in schema.get("prefixItems", [])]
    least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 1_000_000))
    wanted = max(least, 1 if depth < 2 and not first else 0)
    items = schema.get("items", {"type": "string"})
    more = [example_of(items, root, depth + 1) for _ in range(wanted - len(first))] if items is not False else []
    return (first + more)[:most]


def _number(schema: dict[str, Any]) -> Any:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    value = step if low is None else low
    if high is not None and value > high:
        value = high if low is None else (low + high) / 2
    return value


def _resolve(reference: str, root: Any) -> Any:
    node = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
    return node
