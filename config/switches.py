"""Entries that may also be written as one word: `off`, or `true` for all of their defaults."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from config.entry import Entry
from config.nodes import kind
from config.problems import flaw, shown

T = TypeVar("T")

OFF = "off"


def read_or_off(value: Any) -> Any:
    """`off` is None; an empty entry is one with its defaults."""
    if value == OFF:
        return None
    if value is None:
        return {}
    if not isinstance(value, dict | Entry):
        raise flaw(f"a mapping or `off` is due, found {_found(value)}", "write `off` to switch it off")
    return value


def read_or_on_off(value: Any) -> Any:
    """`true` is an entry with its defaults; `off`, `false` and nothing are None."""
    if value is True:
        return {}
    if value is None or value is False or value == OFF:
        return None
    if not isinstance(value, dict | Entry):
        raise flaw(f"`true`, `off` or a mapping is due, found {_found(value)}", "write `true` to use the defaults")
    return value


def _found(value: Any) -> str:
    return f"the text {shown(value)}" if isinstance(value, str) else kind(value)


class _Words:
    """Tells editors which words may stand instead of the mapping."""

    def __init__(self, *words: str | bool) -> None:
        self.words = words

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        choices = [choice for choice in handler(schema)["anyOf"] if choice.get("type") != "null"]
        return {"anyOf": [*({"const": word} for word in self.words), *choices]}


OrOff = Annotated[T | None, BeforeValidator(read_or_off), _Words(OFF)]
OrOnOff = Annotated[T | None, BeforeValidator(read_or_on_off), _Words(True, OFF, False)]
