"""DefaultParams: the parameters that a call may begin with, and which of them each modality has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field
from typing_extensions import TypedDict

from config.scalars import Name

Modality = Literal["chat", "embedding", "image", "audio", "rerank"]


def _stop_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DefaultParams(TypedDict, total=False):
    """Parameters that hold when the caller says nothing. Those that name a modality are for models of it only, the
    others for chat models."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    temperature: Annotated[float, Field(ge=0, le=2, description="randomness, 0 to 2")]
    top_p: Annotated[float, Field(ge=0, le=1, description="nucleus sampling, 0 to 1")]
    max_tokens: Annotated[int, Field(ge=1, description="the most output tokens")]
    stop: Annotated[
        list[Name],
        Field(min_length=1, max_length=16, description="texts that end the answer"),
        BeforeValidator(_stop_list),
    ]
    seed: Annotated[int, Field(description="for repeatable sampling")]
    presence_penalty: Annotated[float, Field(ge=-2, le=2, description="-2 to 2")]
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, description="-2 to 2")]
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        Field(description="how much the model may think"),
    ]
    dimensions: Annotated[int, Field(ge=1, description="embedding: numbers in a vector")]
    size: Annotated[Name, Field(description="image: width and height, like `1024x1024`")]
    quality: Annotated[Name, Field(description="image: how fine, in the provider's words")]
    voice: Annotated[Name, Field(description="audio: who speaks, in the provider's words")]
    response_format: Annotated[Name, Field(description="audio: the format of speech or of a transcript")]
    language: Annotated[Name, Field(description="audio: the language of a recording, like `en`")]


_OTHERS: Mapping[str, tuple[str, ...]] = {
    "embedding": ("dimensions",),
    "image": ("size", "quality"),
    "audio": ("voice", "response_format", "language"),
    "rerank": (),
}

PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "chat": tuple(
        name for name in DefaultParams.__annotations__ if all(name not in names for names in _OTHERS.values())
    ),
    **_OTHERS,
}
"""Modality → the parameters that its models may have."""
