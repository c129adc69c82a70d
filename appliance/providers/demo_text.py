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
    """A small value that satisfies the schema: first enum member, required and declared properties, lower bounds."""
    root = schema if root is None else root
    if not isinstance(schema, dict) or depth > _DEPTH_LIMIT:
        return None
    if "$ref" in schema:
        return example_of(_resolve(str(schema["$ref"]), root), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example_of(schema[key][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _example_of_type(kind[0] if isinstance(kind, list) else kind, schema, root, depth)


def _example_of_type(kind: str, schema: dict[str, Any], root: Any, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: example_of(value, root, depth + 1) for name, value in properties.items()}
    if kind == "array":
        item = example_of(schema.get("items", {"type": "string"}), root, depth + 1)
        return [item] * max(1, int(schema.get("minItems", 1)))
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else 1)
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return "demo".ljust(int(schema.get("minLength", 0)), "o")[: int(schema.get("maxLength", 1_000_000))]


def _resolve(reference: str, root: Any) -> Any:
    node = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, dict) else {}
    return node
