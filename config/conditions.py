"""When: the calls that a target is for. Says only; whether a call is one of them is decided per call."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from config.capabilities import FEATURES
from config.entry import Entry, Listed, Section
from config.nodes import kind
from config.problems import flaw, meant
from config.scalars import Name

MAX_TOKENS = 10**12


def check_feature(name: str) -> str:
    if name not in FEATURES:
        raise flaw("there is no feature {}", meant(name, FEATURES, f"known: {', '.join(FEATURES)}"), name)
    return name


def read_values(value: Any) -> tuple[str, ...]:
    """A value or a list of values → the texts that a call's metadata is compared with."""
    values = value if isinstance(value, list | tuple) else [value]
    if not values:
        raise flaw("this list may not be empty", "write a value, or `*` for any")
    return tuple(_text(entry) for entry in values)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str | int | float):
        found = kind(value)
        raise flaw(f"a text, a number, true or false is due, found {found}", "write `key: value`, or a list of values")
    return str(value)


_VALUE_SHAPES: list[dict[str, Any]] = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]

Feature = Annotated[str, AfterValidator(check_feature), WithJsonSchema({"type": "string", "enum": list(FEATURES)})]
Values = Annotated[
    tuple[str, ...],
    PlainValidator(read_values),
    WithJsonSchema({"anyOf": [*_VALUE_SHAPES, {"type": "array", "items": {"anyOf": _VALUE_SHAPES}, "minItems": 1}]}),
]
Globs = Listed[tuple[Name, ...]]


def _globs(meaning: str) -> Any:
    return Field((), min_length=1, description=f"{meaning}; default: any")


class InputTokens(Entry):
    """Bounds of the input, both included. The input is estimated before the call, at four bytes a token."""

    min: int | None = Field(None, ge=0, le=MAX_TOKENS, description="at least so many tokens")
    max: int | None = Field(None, ge=0, le=MAX_TOKENS, description="at most so many tokens")

    @model_validator(mode="after")
    def _bounds_something(self) -> InputTokens:
        if self.min is None and self.max is None:
            raise flaw("this bounds nothing", "write at least one of min, max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise flaw("no call has an input of at least `min` and at most `max` tokens", "`min` is the smaller one")
        return self


class When(Entry):
    """The calls that a target is for. Everything that is written here has to hold; of a list, one entry is enough. For
    any other call the target does not exist."""

    tenants: Globs = _globs("globs over names of tenants")
    partners: Globs = _globs("globs over names of partners")
    roles: Globs = _globs("globs over roles; a caller may have several")
    groups: Globs = _globs("globs over the groups, in his own tenant, that the caller is in")
    metadata: Section[dict[Name, Values]] = Field(
        default_factory=dict,
        description="keys of the call's `metadata`, each with a value, a list of values, or globs over them",
    )
    input_tokens: InputTokens | None = Field(None, description="how long the input is; default: any length")
    needs: Listed[tuple[Feature, ...]] = Field(
        (), min_length=1, description="features that the call asks for; default: any, also none"
    )

    @model_validator(mode="after")
    def _says_something(self) -> When:
        if not any(getattr(self, key) for key in type(self).model_fields):
            raise flaw("this condition says nothing", "remove it, or write what has to hold")
        return self
