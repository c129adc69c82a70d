"""A caller's Messages request → ChatRequest, checked member by member, for targets that speak another dialect.

A known member with a wrong value is a VALIDATION_ERROR that names it; one that is not known goes to `extra`. What only
Anthropic's own servers act on, and what leaves the answer as it is, is let go here: nobody else has a word for it.
"""

from __future__ import annotations

import hashlib
from typing import Any

from appliance.errors import invalid
from appliance.formats.anthropic_decode_messages import decode_messages, system_messages
from appliance.formats.anthropic_decode_tools import decode_tool, decode_tool_choice
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, ResponseFormat
from appliance.formats.members import Members, text

HARMLESS = {
    "context_management": "clears old tool results and thoughts at Anthropic's; others read the whole conversation",
    "diagnostics": "asks why a cache was missed",
    "service_tier": "chooses among Anthropic's capacity classes",
}
"""Members without which the answer stays the same, and why."""

NEUTRAL: dict[str, tuple[Any, ...]] = {"mcp_servers": ([],), "speed": ("standard",)}
"""Values that say what would hold anyway."""

EFFORTS = ("low", "medium", "high", "xhigh", "max")
MIN_THINKING_TOKENS = 1024

MAX_USER = 64
"""OpenAI refuses a longer label of the end user; a hash of it labels him as well."""


def decode_request(body: dict[str, Any]) -> ChatRequest:
    members = Members(body)
    max_tokens = members.integer("max_tokens", 1)
    if max_tokens is None:
        raise invalid("max_tokens", "is required")
    stream = bool(members.flag("stream"))
    request = _decoded(members, max_tokens)
    request.stream, request.include_usage, request.max_output_tokens = stream, True, max_tokens
    return request


def decode_count_request(body: dict[str, Any]) -> ChatRequest:
    """A request to count tokens: the same without an output."""
    return _decoded(Members(body), None)


def _decoded(members: Members, max_tokens: int | None) -> ChatRequest:
    conversation = decode_messages(members.needed("messages"))
    _hint_at_the_end(conversation, members)
    config = members.members("output_config")
    choice, parallel = decode_tool_choice(members.members("tool_choice"))
    request = ChatRequest(
        model=members.needed_text("model"),
        messages=[*system_messages(members.value("system")), *conversation],
        temperature=members.number("temperature", 0, 1),
        top_p=members.number("top_p", 0, 1),
        top_k=members.integer("top_k", 0),
        stop=[text(each, f"stop_sequences.{i}") for i, each in enumerate(members.items("stop_sequences"))],
        tools=[decode_tool(tool, f"tools.{i}") for i, tool in enumerate(members.items("tools"))],
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(members, config),
        reasoning=_reasoning(members, config, max_tokens),
        user=_user(members),
        prefill=bool(conversation) and conversation[-1].role == "assistant",
        dialect="anthropic",
    )
    request.extra = _extra(members, config)
    return request


def _hint_at_the_end(conversation: list[Message], members: Members) -> None:
    """A hint beside the messages stands for one on their last block."""
    cache = members.plain_object("cache_control")
    part = conversation[-1].parts[-1] if conversation and conversation[-1].parts else None
    if cache is not None and part is not None and hasattr(part, "cache") and part.cache is None:
        part.cache = cache


def _response_format(members: Members, config: Members | None) -> ResponseFormat | None:
    asked = (config.members("format") if config else None) or members.members("output_format")
    if asked is None:
        return None
    asked.word("type", ("json_schema",))
    asked.needed_members("schema")
    return ResponseFormat("json_schema", schema=asked.plain_object("schema"), strict=True)


def _reasoning(members: Members, config: Members | None, max_tokens: int | None) -> ReasoningOptions | None:
    """`adaptive` leaves it to the model, as every provider does that is told nothing. Where thinking is switched off an
    effort would only say how long the answer may be, and nobody else has a word for that."""
    effort = config.word("effort", EFFORTS) if config and config.value("effort") is not None else None
    thinking = members.members("thinking")
    kind = thinking.word("type", ("enabled", "adaptive", "disabled", "between_tools")) if thinking else "adaptive"
    if kind in ("disabled", "between_tools"):
        # In this dialect nobody thinks unasked, so tools say it to every model.
        return ReasoningOptions(budget_tokens=0, if_possible=True)
    budget = _budget(thinking, max_tokens) if thinking and kind == "enabled" else None
    display = thinking.word("display", ("summarized", "omitted")) if thinking and thinking.value("display") else None
    summary = {"summarized": "auto", "omitted": "none"}[display] if display else None
    options = ReasoningOptions(effort, budget, summary)
    return None if options == ReasoningOptions() else options


def _budget(thinking: Members, max_tokens: int | None) -> int:
    thinking.needed("budget_tokens")
    budget = thinking.integer("budget_tokens", MIN_THINKING_TOKENS)
    assert budget is not None
    if max_tokens is not None and budget >= max_tokens:
        raise invalid(thinking.at("budget_tokens"), f"must be less than max_tokens, which is {max_tokens}")
    return budget


def _user(members: Members) -> str | None:
    metadata = members.members("metadata")
    if metadata is None:
        return None
    user_id = metadata.text("user_id")
    for name in metadata.rest():
        raise invalid(metadata.at(name), "is not known here; metadata takes user_id")
    if user_id is None or len(user_id) <= MAX_USER:
        return user_id
    return hashlib.sha256(user_id.encode("utf-8", "replace")).hexdigest()


def _extra(members: Members, config: Members | None) -> dict[str, Any]:
    for name in ("max_tokens", "stream"):
        members.value(name)
    extra = {
        name: value
        for name, value in members.rest().items()
        if value is not None and name not in HARMLESS and value not in NEUTRAL.get(name, ())
    }
    others = {name: value for name, value in config.rest().items() if value is not None} if config else {}
    return extra | {"output_config": others} if others else extra
