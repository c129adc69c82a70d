"""The canonical chat types: what every dialect is decoded to and encoded from.

Content is an ordered list of parts, because order carries meaning (reasoning, text and tool calls interleave).
Nothing here knows a wire format; nothing here has behaviour.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


class Usage(Struct, omit_defaults=True):
    """What a call used, with one meaning for every provider (contract section 3).

    `input_tokens` is all input, `output_tokens` all output; the other token counts are parts of them. All are whole
    tokens. What other modalities are charged by is beside them: images made, milliseconds of audio, characters spoken,
    searches ranked.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    audio_ms: int = 0
    characters: int = 0
    searches: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


# -- content ----------------------------------------------------------------------------------------------------------


class Citation(Struct, omit_defaults=True):
    """Where a statement comes from. `start` and `end` are places in the choice's whole text, in characters.

    `native` is the provider's own object and `origin` the dialect it belongs to, so that it can go back unchanged.
    """

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    native: Any = None
    origin: str = ""


class TextPart(Struct, gc=False, tag="text", omit_defaults=True):
    text: str
    cache: dict[str, Any] | None = None
    """A prompt-cache hint: this part and all before it may be cached ({"type": "ephemeral", "ttl"?: …})."""
    citations: list[Citation] = field(default_factory=list)


class ImagePart(Struct, gc=False, tag="image", omit_defaults=True):
    """Either `url`, or base64 `data` with its `media_type`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    detail: str | None = None
    cache: dict[str, Any] | None = None


class AudioPart(Struct, gc=False, tag="audio", omit_defaults=True):
    data: str
    format: str


class FilePart(Struct, gc=False, tag="file", omit_defaults=True):
    """A document: `url`, base64 `data` with `media_type`, or an upstream's own `file_id`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    file_id: str | None = None
    filename: str | None = None
    cache: dict[str, Any] | None = None


class ReasoningPart(Struct, gc=False, tag="reasoning", omit_defaults=True):
    """Reasoning text. `signature` and `redacted` are opaque and go back to the provider unchanged.

    `origin` names the dialect whose provider made them (`anthropic`, `google`, `responses`; empty: not known): another
    one would refuse them. `id` is the item's id in the Responses dialect.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""
    id: str | None = None


class ToolCallPart(Struct, gc=False, tag="tool_call", omit_defaults=True):
    """A call that the caller is to execute; `arguments` is JSON text, never parsed on the way through.

    `signature` (Google's thought signature) is opaque and goes back to the dialect of `origin` only.
    """

    id: str
    name: str
    arguments: str = "{}"
    signature: str | None = None
    origin: str = ""
    cache: dict[str, Any] | None = None


class ToolResultPart(Struct, gc=False, tag="tool_result", omit_defaults=True):
    call_id: str
    parts: list[Part]
    is_error: bool = False
    cache: dict[str, Any] | None = None


class RefusalPart(Struct, gc=False, tag="refusal", omit_defaults=True):
    text: str


Part = TextPart | ImagePart | AudioPart | FilePart | ReasoningPart | ToolCallPart | ToolResultPart | RefusalPart


class Message(Struct, gc=False, omit_defaults=True):
    """One turn. A tool result is a message of role `tool` with one ToolResultPart."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    parts: list[Part]
    name: str | None = None


# -- request ----------------------------------------------------------------------------------------------------------


class Tool(Struct, omit_defaults=True):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    cache: dict[str, Any] | None = None


class ToolChoice(Struct, omit_defaults=True):
    mode: Literal["auto", "none", "required", "tool"]
    name: str | None = None


class ResponseFormat(Struct, omit_defaults=True):
    kind: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class ReasoningOptions(Struct, omit_defaults=True):
    """How much the model may think: a named effort, or a budget in tokens (0 switches it off), or both.

    `summary` asks for readable reasoning in the answer (`auto`, `concise`, `detailed`); `none` asks for none.
    """

    effort: str | None = None
    budget_tokens: int | None = None
    summary: str | None = None
    if_possible: bool = False
    """Where a target cannot be told so, it is let go: the caller says what his dialect takes for granted anyway."""


class ChatRequest(Struct, omit_defaults=True):
    """A chat completion as asked. None means: not said by the caller, so the provider's default holds."""

    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = False
    """The caller asked for the usage chunk of a stream."""
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    seed: int | None = None
    n: int = 1
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning: ReasoningOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    user: str | None = None
    prefill: bool = False
    """The last message is the beginning of the answer, which the model is to continue."""
    metadata: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Members of the caller's dialect that have no canonical meaning; only that dialect's upstreams can carry them."""
    dialect: str = "openai"
    """The dialect that `extra` is written in: `openai`, `anthropic` or `responses`."""


# -- reply ------------------------------------------------------------------------------------------------------------


class Choice(Struct, omit_defaults=True):
    index: int
    parts: list[Part]
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    """The upstream's own word, kept when it is not one of the four."""
    stop_sequence: str | None = None
    """Which of the caller's stop texts ended the answer, where the upstream says so."""
    logprobs: Any = None


class ChatReply(Struct, omit_defaults=True):
    """A whole answer. `created` is in Unix seconds; `usage` is None when the upstream did not say."""

    id: str
    model: str
    created: int
    choices: list[Choice]
    usage: Usage | None = None
    extra: dict[str, Any] = field(default_factory=dict)


# -- stream events ----------------------------------------------------------------------------------------------------


class Started(Struct, tag_field="event", tag="started", omit_defaults=True):
    id: str
    model: str
    created: int
    extra: dict[str, Any] = field(default_factory=dict)


class TextDelta(Struct, tag_field="event", tag="text", omit_defaults=True):
    choice: int
    text: str
    logprobs: Any = None
    citations: list[Citation] = field(default_factory=list)


class RefusalDelta(Struct, tag_field="event", tag="refusal", omit_defaults=True):
    choice: int
    text: str
    logprobs: Any = None


class ReasoningDelta(Struct, tag_field="event", tag="reasoning", omit_defaults=True):
    choice: int
    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""
    id: str | None = None


class ToolCallDelta(Struct, tag_field="event", tag="tool_call", omit_defaults=True):
    """A piece of a call. `call` counts the calls of a choice from 0; `id` and `name` come with its first piece only."""

    choice: int
    call: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = None
    origin: str = ""


class Finished(Struct, tag_field="event", tag="finished", omit_defaults=True):
    choice: int
    finish_reason: FinishReason
    native_finish_reason: str | None = None
    stop_sequence: str | None = None


class UsageSeen(Struct, tag_field="event", tag="usage", omit_defaults=True):
    """Usage as known now; a later one replaces it."""

    usage: Usage


class Failed(Struct, tag_field="event", tag="failed", omit_defaults=True):
    """The upstream reported an error inside the stream. `status` is the HTTP status it would have been, if known."""

    message: str
    type: str | None = None
    status: int | None = None
    code: str | None = None
    retry_after: float | None = None


class Ended(Struct, tag_field="event", tag="ended"):
    """The dialect's end mark."""


ChatEvent = Started | TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta | Finished | UsageSeen | Failed | Ended

CONTENT_EVENTS = (TextDelta, RefusalDelta, ReasoningDelta, ToolCallDelta)
"""Events after which an answer has begun: nothing may fail over once one of them was sent (contract section 3)."""
