"""The features that a backend model has or lacks, by name. What each model has is not said here."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict


class Capabilities(TypedDict, total=False):
    """What the operator knows better than the built-in data about what a backend model can do: true or false for each
    feature. A call that needs a feature goes to a target that has it, or is refused by name."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)  # type: ignore[misc]

    streaming: Annotated[bool, Field(description="the answer piece by piece")]
    prefill: Annotated[bool, Field(description="an answer whose beginning the caller gives")]
    tools: Annotated[bool, Field(description="functions that the model may call")]
    parallel_tool_calls: Annotated[bool, Field(description="several calls in one answer, and the switch for it")]
    tool_choice: Annotated[bool, Field(description="making the model call a function, or a certain one")]
    json_schema: Annotated[bool, Field(description="answers by a JSON schema")]
    json_object: Annotated[bool, Field(description="answers that are some JSON object")]
    images: Annotated[bool, Field(description="images as input, as data")]
    image_urls: Annotated[bool, Field(description="images as input, by address")]
    files: Annotated[bool, Field(description="files as input, such as PDF")]
    audio: Annotated[bool, Field(description="sound as input")]
    reasoning: Annotated[bool, Field(description="reasoning that can be asked for")]
    logprobs: Annotated[bool, Field(description="probabilities of the tokens")]
    n: Annotated[bool, Field(description="several answers to one call")]
    seed: Annotated[bool, Field(description="repeatable sampling")]
    stop: Annotated[bool, Field(description="texts that end the answer")]
    penalties: Annotated[bool, Field(description="presence and frequency penalty")]
    temperature: Annotated[bool, Field(description="the temperature")]
    top_p: Annotated[bool, Field(description="nucleus sampling")]
    top_k: Annotated[bool, Field(description="sampling among the k likeliest tokens")]
    cache_hints: Annotated[bool, Field(description="marks of what the provider may cache")]
    embeddings: Annotated[bool, Field(description="making embeddings")]
    dimensions: Annotated[bool, Field(description="embeddings of a length that the caller chooses")]
    images_out: Annotated[bool, Field(description="making images")]
    transcription: Annotated[bool, Field(description="writing speech down")]
    speech: Annotated[bool, Field(description="speaking a text")]
    rerank: Annotated[bool, Field(description="sorting documents by a question")]


FEATURES = tuple(Capabilities.__annotations__)
"""The names of all features."""
