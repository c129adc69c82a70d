"""The shape of a caller's chat request in OpenAI's form: types and ranges that are the same for every upstream.

On the way to an upstream of the same dialect nothing more is decoded, so members and content that we do not know pass
through untouched; what we do know is checked here, so that a wrong type is answered before anything is paid for.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from appliance.errors import GatewayError, invalid
from appliance.formats.base import RequestHead

PositiveInt = Annotated[int, Meta(ge=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Object = dict[str, Raw]


class _Message(Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Object] | None = None
    tool_calls: list[Object] | None = None
    tool_call_id: str | None = None
    name: str | None = None


class _StreamOptions(Struct):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class ChatShape(Struct):
    """OpenAI's parameters. Words that differ between servers (efforts, tiers, modalities) are theirs to judge."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: dict[str, Annotated[float, Meta(ge=-100, le=100)]] | None = None
    tools: list[Object] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    functions: list[Object] | None = None
    function_call: str | Object | None = None
    response_format: Object | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[str] | None = None
    audio: Object | None = None
    prediction: Object | None = None
    web_search_options: Object | None = None
    moderation: Object | None = None
    service_tier: str | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: Object | None = None
    safety_identifier: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


_CHAT = msgspec.json.Decoder(ChatShape)


def read_head(body: bytes) -> RequestHead:
    """The body has passed as JSON. Both names of the output cap may be there; the smaller holds."""
    shape = chat_shape(body)
    caps = [cap for cap in (shape.max_tokens, shape.max_completion_tokens) if cap is not None]
    return RequestHead(
        model=shape.model,
        stream=bool(shape.stream),
        include_usage=bool(shape.stream_options and shape.stream_options.include_usage),
        output_cap=min(caps, default=None),
        n=shape.n or 1,
        metadata=shape.metadata,
    )


def chat_shape(body: bytes) -> ChatShape:
    try:
        return _CHAT.decode(body)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body is not valid JSON: {error}") from None


def _named(text: str) -> GatewayError:
    """msgspec's «Expected `int`, got `str` - at `$.n`» → an error that names the member."""
    message, _, path = text.partition(" - at `$")
    field = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path.rstrip("`")).lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", message)
    if missing:
        field = f"{field}.{missing[1]}".lstrip(".")
        message = "is required"
    return invalid(field or "body", message[0].lower() + message[1:])
