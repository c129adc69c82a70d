"""Quirks: in what a server that speaks OpenAI's protocol differs from OpenAI, as flat data. The defaults are OpenAI.

Nothing here acts: openai_gaps.py refuses what a server lacks, the writers spell what it has. The rows of the vendors
stand in providers/compatible.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

ANY = re.compile("")

HABITS = {
    "max_completion_tokens": re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9]|gpt-\d\d)(?![a-z\d])", re.IGNORECASE),
    "thought_signature": re.compile(r"gemini", re.IGNORECASE),
    "cache_control": re.compile(r"claude|qwen", re.IGNORECASE),
}
"""Upstream models, behind whatever server, that want or take a member which others refuse."""

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The words for how much to think, in rising order. `none` switches thinking off."""

THINKS_ALWAYS = re.compile(r"(?:^|/)(?:o[1-9]|gpt-5(?![.\d]))", re.IGNORECASE)
"""OpenAI's models that cannot be told not to think."""
WITHOUT_NONE = {word: word for word in EFFORTS if word != "none"}

ThinkingStyle = Literal["effort", "effort_object", "budget", "switch", "switch_and_effort", "template", "prompt_mode"]


class Thinking(Struct, frozen=True):
    """How some models are told how much to think.

    effort             reasoning_effort
    effort_object      reasoning: {effort | max_tokens | enabled, exclude}
    budget             enable_thinking, thinking_budget
    switch             thinking: {type}
    switch_and_effort  thinking: {type}, reasoning_effort
    template           chat_template_kwargs: {<member>}
    prompt_mode        prompt_mode: reasoning
    """

    models: re.Pattern[str]
    style: ThinkingStyle
    words: Mapping[str, str] | None = None
    """Our word → the server's; a word that is not there is refused. None: any word goes as it is."""
    member: str = "enable_thinking"


class Quirks(Struct, frozen=True, kw_only=True):
    """One kind of server. Patterns are looked for in the upstream model's name."""

    # names of members
    long_cap: re.Pattern[str] | None = HABITS["max_completion_tokens"]
    """Models whose output cap is max_completion_tokens; all others have max_tokens."""
    seed: str = "seed"
    required: str = "required"
    """The word of tool_choice for: some tool, whichever."""
    asks_usage: bool = True
    """Usage of a stream is asked for by stream_options; False: it always comes, and the member is refused."""
    metadata: Literal["with_store", "always", "never"] = "with_store"
    user: bool = True

    # messages
    developer: bool = True
    """The role `developer` is known; False: it is sent as `system`."""
    names: bool = True
    """A message may have its author's name; False: the name is left out."""
    refusals: bool = True
    """An earlier refusal has a member of its own; False: it is sent as text."""
    text_lists: bool = True
    """Several texts of a message are sent as a list; False: as one string."""
    call_ids: Literal["any", "nine"] = "any"
    """nine: exactly nine letters and digits, so other ids are mapped."""
    bridge: str = ""
    """What the assistant says between a tool's result and a user's message, where the server insists on a turn."""
    alternates: bool = False
    """The server refuses two messages of one role in a row: they become one."""
    prefill: Mapping[str, Any] | None = None
    """Members of the last message that make the model continue it; None: it cannot."""
    prefill_options: Mapping[str, Any] = {}
    """Members of the request that a prefill needs beside them."""
    reasoning: Literal["", "reasoning", "reasoning_content", "details", "chunks"] = ""
    """Where reasoning of earlier turns goes; empty: nowhere. chunks: into the content list."""
    reasoning_models: re.Pattern[str] = ANY
    """Models that take earlier reasoning; the others refuse it."""
    reasoning_needed: bool = False
    """In a conversation with tools an assistant message without its reasoning is refused: an empty one stands in."""
    opaque: tuple[tuple[re.Pattern[str], str], ...] = ()
    """Models → the origin whose signatures and encrypted reasoning they take back (with `details` only)."""
    signed: re.Pattern[str] | None = HABITS["thought_signature"]
    """Models that take a call's thought signature in extra_content."""
    unsigned: tuple[re.Pattern[str], str] | None = None
    """Models that refuse a first call without its signature, and the word that stands in for it."""
    cache: re.Pattern[str] | None = HABITS["cache_control"]
    """Models that take cache_control."""
    cache_ttl: bool = True
    images: bool = True
    max_images: int | None = None
    audio: Literal["", "object", "text", "data_url"] = "object"
    """Form of input_audio: {data, format}; only the data; {data as a URL, format}. Empty: no audio."""
    files: Literal["", "object", "object_or_url", "document"] = "object"
    tool_images: bool = False
    """A tool's result may hold images; False: text only."""

    # options
    thinking: tuple[Thinking, ...] = (Thinking(THINKS_ALWAYS, "effort", WITHOUT_NONE), Thinking(ANY, "effort"))
    """The first whose models match holds; no match: the model cannot be told how much to think."""
    thinks_in_streams_only: re.Pattern[str] | None = None
    """Models that refuse to think in an answer that is not streamed."""
    forcing_stops_thinking: bool = False
    """A forced tool call is refused while the model thinks."""
    top_k: bool = False
    tool_choices: tuple[str, ...] = ("auto", "none", "required", "tool")
    json_schema: re.Pattern[str] | None = ANY
    """Models that take response_format json_schema."""
    schema_member: str = "json_schema"
    json_object: bool = True
    json_by_tool: bool = False
    """Other structured output is reached by a forced tool call (json_answer.py); False: it is refused."""
    lacks: frozenset[str] = frozenset()
    """Members, by their name in OpenAI's form, that the server refuses or passes over in silence."""
    model_lacks: tuple[tuple[re.Pattern[str], frozenset[str]], ...] = ()
    extras: frozenset[str] | None = None
    """Members without canonical meaning that the server knows; None: it takes, or ignores, any."""
    defaults: tuple[tuple[re.Pattern[str], Mapping[str, Any], tuple[str, ...]], ...] = ()
    """Models, members that they get, and the caller's own members that speak against it."""


OPENAI = Quirks()


def matches(models: re.Pattern[str] | None, upstream_model: str) -> bool:
    return models is not None and models.search(upstream_model) is not None


def thinking_of(quirks: Quirks, upstream_model: str) -> Thinking | None:
    return next((way for way in quirks.thinking if matches(way.models, upstream_model)), None)
