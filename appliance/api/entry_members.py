"""Members of a body that go into the YAML as they are: checked by the rules of its entries before a file is edited."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from copy import copy
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError, create_model
from pydantic_core import ErrorDetails

from appliance.api.accept import Call
from appliance.errors import GatewayError, clipped, invalid
from config.edit_steps import same
from config.entry import Entry
from config.problems import nearest

_REFERENCE = re.compile(r"\$\$\{|(\$\{[A-Za-z]+:)")


def sent(call: Call) -> dict[str, Any]:
    """The body; a null inside a member is the same as leaving it out."""
    return {name: _without_nulls(value) for name, value in call.body().items()}


def differing(body: Mapping[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """What is not already as GET shows it, so that an answer of GET may be sent back with one member changed."""
    return {
        name: value
        for name, value in body.items()
        if name not in shown or not same(_without_nulls(value), _without_nulls(shown[name]))
    }


def check(body: Mapping[str, Any], entry: type[Entry], *, whole: bool, secrets: Collection[str] = ()) -> None:
    """Raises VALIDATION_ERROR for what could not stand in an entry; `whole`: what an entry must have has to be there.

    `secrets` are the members that may hold references; anywhere else the value would be shown to whoever may look.
    """
    members = {name: value for name, value in body.items() if value is not None}
    for name, value in members.items():
        if name not in secrets:
            _refuse_references(value, name)
    try:
        _members(entry, whole).model_validate(members)
    except ValidationError as error:
        raise _refusal(error, entry) from None


def checked_name(name: Any, kind: Any, field: str) -> str:
    """The name of a new entry."""
    if name is None:
        raise invalid(field, "is required")
    try:
        return str(TypeAdapter(kind).validate_python(name, strict=True))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        raise invalid(field, _words(found)) from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _refuse_references(value: Any, field: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _refuse_references(key, field)
            _refuse_references(inner, f"{field}.{key}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            _refuse_references(inner, f"{field}.{position}")
    elif isinstance(value, str) and any(found[1] for found in _REFERENCE.finditer(value)):
        message = "a reference is taken over the API only where a provider's secret stands; write `$${` for the signs"
        raise invalid(clipped(field), message)


@cache
def _members(entry: type[Entry], whole: bool) -> type[Entry]:
    """The entry's members without what only a whole file can judge; `whole`: with those that it must have."""
    fields: dict[str, Any] = {}
    for name, field in entry.model_fields.items():
        taken = copy(field)
        if not (whole and field.is_required()):
            taken.default, taken.default_factory, taken.validate_default = None, None, False
        fields[name] = (taken.annotation, taken)
    made: type[Entry] = create_model(f"{entry.__name__}Members", __base__=Entry, **fields)
    return made


def _refusal(error: ValidationError, entry: type[Entry]) -> GatewayError:
    details, faults = [], error.errors(include_url=False, include_input=False)
    for found in faults:
        if found["type"] == "too_short" and any(_is_below(other, found) for other in faults):
            continue  # only the good items were counted, and the bad ones are told
        field = clipped(".".join(str(step) for step in found["loc"] if str(step)[:1] not in "<["))
        message = _unknown(field, entry) if found["type"] == "extra_forbidden" else _words(found)
        details.append({"field": field, "message": message})
    first = details[0]
    message = f"{first['field']}: {first['message']}"
    return GatewayError("VALIDATION_ERROR", message, param=first["field"], details=details)


def _is_below(error: ErrorDetails, other: ErrorDetails) -> bool:
    return error is not other and error["loc"][: len(other["loc"])] == other["loc"]


def _unknown(field: str, entry: type[Entry]) -> str:
    if "." in field:
        return "is not known here"
    guess = nearest(field, entry.model_fields)
    hint = f"did you mean {guess}?" if guess else f"known are {', '.join(entry.model_fields)}"
    return f"is not a member of this request that can be changed; {hint}"


_SAYS = {
    "missing": "is required",
    "string_type": "takes a text",
    "int_type": "takes a whole number",
    "bool_type": "takes true or false",
    "tuple_type": "takes a list",
    "frozen_set_type": "takes a list",
    "model_type": "takes an object",
    "dict_type": "takes an object",
}


def _words(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if error["type"] == "flaw":
        return f"{context['message']} ({context['hint']})" if context.get("hint") else str(context["message"])
    if error["type"] == "literal_error":
        return f"takes {str(context['expected']).replace(chr(39), '')}"
    said = error["msg"]
    return _SAYS.get(error["type"], said[:1].lower() + said[1:])
