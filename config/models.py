"""FrontendModel: a name that callers ask for, its price, its route, and who takes over when it cannot serve."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from config.entry import Entry, Section
from config.parameters import DefaultParams, Modality
from config.prices import Priced
from config.routing import Route
from config.scalars import Name, setting


class Fallback(Entry):
    """Frontend models that take over a call which fails for a reason that every target of this one shares."""

    context_window: Name | None = Field(
        None, description="the model for calls whose input is too long for this one; default: none, they fail"
    )
    content_filter: Name | None = Field(
        None, description="the model for calls that this one's content filter refused; default: none, they fail"
    )


class FrontendModel(Entry):
    """What callers may ask for."""

    display_name: Name | None = Field(None, description="the name that people see; default: none, the model's own name")
    description: str | None = Field(None, description="a line for people who choose a model")
    modality: Modality = Field(
        "chat",
        description="what the model does: `image` makes images, `audio` writes speech down or speaks, `rerank` sorts "
        "documents by a question",
    )
    context_window: int | None = Field(None, ge=1, description="tokens of input and output together")
    max_output_tokens: int | None = Field(None, ge=1, description="the most output tokens of one answer")
    price: Priced = Field(description="what the caller pays: USD per million tokens or per piece, `free` or `auto`")
    default_params: Section[DefaultParams] = setting({}, "parameters that hold when the caller says nothing")
    system_prompt: str | None = setting(None, "put before the caller's own; only for chat models", secret=True)
    status: Literal["active", "deprecated", "disabled"] = Field(
        "active", description="`deprecated` still serves, `disabled` does not"
    )
    route: Route = Field(description="a policy's name, a policy written here, or just a list of targets")
    fallback: Section[Fallback] = setting({}, "models that take over calls which this one cannot serve")
