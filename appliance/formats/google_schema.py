"""A caller's JSON schema → the part of JSON Schema that Google enforces (responseJsonSchema, parametersJsonSchema).

What is said differently there is respelt: references are put in place, allOf is merged, a constant is an enum of one,
`nullable` is a type of its own. What only comments on a value is dropped. A condition that Google has no keyword for
is told to the model in the description, since a schema without `strict` promises no more than that the model knows it;
under `strict`, where a promise would break, it is refused by name. References that lead back to themselves are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

import msgspec

from appliance.errors import GatewayError, invalid
from appliance.formats.google_schema_merge import Conflict, Schema, merged, with_sentence

MAX_NODES = 5_000
"""References put in place can multiply: a schema of a few lines may stand for millions."""

MAX_DEPTH = 64

SAME = ("type", "description", "required", "propertyOrdering", "minItems", "maxItems", "minimum", "maximum")
"""Keywords that go on as they are."""

COMMENTS = (
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$id",
    "$schema",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "definitions",
    "deprecated",
    "discriminator",
    "example",
    "examples",
    "externalDocs",
    "id",
    "readOnly",
    "title",
    "writeOnly",
    "xml",
)
"""Keywords that allow and forbid nothing."""

TOLD = ("default", "format")
"""Keywords that JSON Schema lets a validator ignore: told to the model, never refused."""

ENFORCED_FORMATS = ("date-time", "date", "time", "int32", "int64", "float", "double")

EMPTY_CONDITIONS: dict[str, tuple[Any, ...]] = {
    "minContains": (0,),
    "minLength": (0,),
    "minProperties": (0,),
    "patternProperties": ({},),
    "dependentRequired": ({},),
    "propertyNames": ({}, {"type": "string"}, True),
    "unevaluatedItems": (True, {}),
    "unevaluatedProperties": (True, {}),
}
"""Values with which a keyword forbids nothing."""

FLAGS = ("exclusiveMaximum", "exclusiveMinimum", "uniqueItems")
"""Keywords that forbid nothing when they are false. The first two may also be numbers, and 0 is not false."""

_HANDLED = (
    "$ref",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "items",
    "nullable",
    "oneOf",
    "prefixItems",
    "properties",
)
_NULL = {"type": "null"}


def parameters_schema(schema: dict[str, Any] | None, where: str, strict: bool) -> Schema | None:
    """A function's parameters, None where it takes none; Google insists on an object."""
    if not schema:
        return None
    reduced = reduced_schema(schema, where, strict)
    if reduced.setdefault("type", "object") != "object":
        raise invalid(f"{where}.type", "must be object: a function's parameters have names")
    return reduced


def reduced_schema(schema: dict[str, Any], where: str, strict: bool) -> Schema:
    return _Reduction(schema, where, strict).node(schema, where, ())


class _Reduction:
    """One schema on its way; `refs` are the references that are open at a node."""

    __slots__ = ("_nodes", "_root", "_strict", "_where")

    def __init__(self, root: dict[str, Any], where: str, strict: bool) -> None:
        self._root = root
        self._where = where
        self._strict = strict
        self._nodes = 0

    def node(self, schema: Any, path: str, refs: tuple[str, ...]) -> Schema:
        self._nodes += 1
        if self._nodes > MAX_NODES or path.count(".") > MAX_DEPTH + self._where.count("."):
            raise invalid(self._where, "is too large for this target once its references are put in place")
        if schema is True:
            return {}
        if not isinstance(schema, dict):
            raise invalid(path, "must be a schema: this target has no word for what nothing matches")
        try:
            return self._joined(schema, path, refs)
        except Conflict as conflict:
            raise invalid(path, f"{conflict}, which this target has no word for") from None

    def _joined(self, schema: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        """The node's own keywords, and what holds beside them."""
        joined, values = self._own(schema, path, refs), self._values(schema, path)
        if "anyOf" in values:
            joined.pop("type", None)  # the values bring their types, null among them
        joined = merged(joined, values)
        if "$ref" in schema:
            joined = merged(joined, self._referred(schema["$ref"], path, refs))
        for branch in _listed(schema, "allOf", path):
            joined = merged(joined, self.node(branch, f"{path}.allOf", refs))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                joined = merged(joined, self._union(schema, keyword, path, refs))
        return _with_null(joined) if schema.get("nullable") is True else joined

    # -- keywords -----------------------------------------------------------------------------------------------------

    def _own(self, schema: Schema, path: str, refs: tuple[str, ...]) -> Schema:
        own: Schema = {keyword: schema[keyword] for keyword in SAME if schema.get(keyword) is not None}
        self._add_properties(own, schema, path, refs)
        self._add_items(own, schema, path, refs)
        for keyword, value in schema.items():
            if keyword in own or keyword in _HANDLED or keyword in COMMENTS or keyword.startswith("x-"):
                continue
            self._add_condition(own, keyword, value, path)
        return own

    def _add_properties(self, own: Schema, schema: Schema, path: str, refs: tuple[str, ...]) -> None:
        properties = schema.get("properties")
        if isinstance(properties, dict):
            own["properties"] = {
                name: self.node(value, f"{path}.properties.{name}", refs) for name, value in properties.items()
            }
        others = schema.get("additionalProperties")
        if others is None and schema.get("unevaluatedProperties") is False:
            others = False
        if isinstance(others, bool):
            own["additionalProperties"] = others
        elif others is not None:
            own["additionalProperties"] = self.node(others, f"{path}.additionalProperties", refs) or True

    def _add_items(self, own: Schema, schema: Schema, path: str, refs: tuple[str, ...]) -> None:
        items, firsts = schema.get("items"), schema.get("prefixItems")
        if isinstance(items, list):  # before JSON Schema 2020-12 a tuple was spelt so
            items, firsts = schema.get("additionalItems"), items
        if isinstance(firsts, list):
            own["prefixItems"] = [self.node(first, f"{path}.prefixItems", refs) for first in firsts]
        if items is False:
            own["maxItems"] = min(own.get("maxItems", math.inf), len(own.get("prefixItems", ())))
        elif items is not None:
            own["items"] = self.node(items, f"{path}.items", refs)

    def _add_condition(self, own: Schema, keyword: str, value: Any, path: str) -> None:
        if value is None or (value is False and keyword in FLAGS) or value in EMPTY_CONDITIONS.get(keyword, ()):
            return
        if keyword == "format" and value in ENFORCED_FORMATS:
            own["format"] = value
        elif keyword in ("exclusiveMinimum", "exclusiveMaximum") and _is_whole(own, value):
            _add_bound(own, keyword, value)
        elif not (keyword == "unevaluatedProperties" and value is False):
            self._tell(own, keyword, value, path)

    def _tell(self, own: Schema, keyword: str, value: Any, path: str) -> None:
        text = msgspec.json.encode(value).decode()
        if keyword not in TOLD and (self._strict or '"$ref"' in text):
            raise invalid(
                f"{path}.{keyword}", "is a condition that this target cannot enforce; remove it, or the flag strict"
            )
        own["description"] = with_sentence(own.get("description"), f"({keyword}: {text})")

    # -- values -------------------------------------------------------------------------------------------------------

    def _values(self, schema: Schema, path: str) -> Schema:
        """`enum` and `const`. Google knows enums of texts and numbers."""
        values = schema.get("enum")
        if "const" in schema:
            values = [schema["const"]]
        if not isinstance(values, list) or not values:
            return {}
        plain = [value for value in values if value is not None]
        if not plain:
            return dict(_NULL)
        if all(isinstance(value, bool) for value in plain):
            return self._truths(plain, None in values, path)
        if not all(isinstance(value, str | int | float) and not isinstance(value, bool) for value in plain):
            told: Schema = {}
            self._tell(told, "enum", values, path)
            return told
        allowed = {"type": _type_of(plain), "enum": plain}
        return {"anyOf": [allowed, _NULL]} if None in values else allowed

    def _truths(self, plain: list[Any], with_null: bool, path: str) -> Schema:
        truths: Schema = {"type": "boolean"}
        if len(set(plain)) == 1:
            self._tell(truths, "enum", plain[:1], path)
        return _with_null(truths) if with_null else truths

    # -- other nodes --------------------------------------------------------------------------------------------------

    def _referred(self, ref: Any, path: str, refs: tuple[str, ...]) -> Schema:
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            raise invalid(f"{path}.$ref", "must point into this schema, such as #/$defs/Address")
        if ref in refs or ref == "#":
            raise invalid(f"{path}.$ref", f"{ref!r} contains itself, and this target takes no schema without an end")
        target: Any = self._root
        for step in ref[2:].split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise invalid(f"{path}.$ref", f"{ref!r} points to nothing in this schema")
        return self.node(target, path, (*refs, ref))

    def _union(self, schema: Schema, keyword: str, path: str, refs: tuple[str, ...]) -> Schema:
        """One of several; with null as the only other choice it is written as a type, which more models understand."""
        branches = [self.node(branch, f"{path}.{keyword}", refs) for branch in _listed(schema, keyword, path)]
        others = [branch for branch in branches if branch.get("type") != "null"]
        if len(others) == 1:
            return others[0] if len(branches) == 1 else _with_null(others[0])
        return {"anyOf": branches} if branches else {}


def _with_null(schema: Schema) -> Schema:
    if "type" not in schema or "enum" in schema:
        if "anyOf" in schema and len(schema) == 1:
            return schema if _NULL in schema["anyOf"] else {"anyOf": [*schema["anyOf"], _NULL]}
        return {"anyOf": [schema, _NULL]} if schema else schema
    types = _types(schema["type"])
    return schema if "null" in types else {**schema, "type": [*types, "null"]}


def _types(said: Any) -> list[Any]:
    return list(said) if isinstance(said, list) else [said]


def _type_of(values: Iterable[Any]) -> Any:
    kinds = {
        "string" if isinstance(value, str) else "integer" if isinstance(value, int) else "number" for value in values
    }
    if kinds <= {"integer", "number"} and len(kinds) == 2:
        return "number"
    return sorted(kinds) if len(kinds) > 1 else kinds.pop()


def _is_whole(own: Schema, value: Any) -> bool:
    return own.get("type") == "integer" and isinstance(value, int | float) and not isinstance(value, bool)


def _add_bound(own: Schema, keyword: str, value: float) -> None:
    """A whole number above 5 is one of at least 6."""
    if keyword == "exclusiveMinimum":
        own["minimum"] = max(own.get("minimum", -math.inf), math.floor(value) + 1)
    else:
        own["maximum"] = min(own.get("maximum", math.inf), math.ceil(value) - 1)


def _listed(schema: Schema, keyword: str, path: str) -> list[Any]:
    value = schema.get(keyword)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _no_list(f"{path}.{keyword}")
    return value


def _no_list(path: str) -> GatewayError:
    return invalid(path, "must be a list of schemas")
