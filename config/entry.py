"""What all entries of the document have in common: frozen, strict, nothing unknown, and `key:` alone means no keys."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

T = TypeVar("T")


def nothing_is_empty(value: Any) -> Any:
    """`users:` with nothing behind it is an empty section."""
    return {} if value is None else value


class Entry(BaseModel):
    """One mapping of the YAML."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True, defer_build=False
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_empty(cls, data: Any) -> Any:
        return nothing_is_empty(data)


Section = Annotated[T, BeforeValidator(nothing_is_empty)]
"""A mapping of names to entries that may be left empty."""

Listed = Annotated[T, Field(strict=False)]
"""A tuple or set that is written as a list; what is in it stays strict."""
