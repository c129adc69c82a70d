"""A caller's chat request in OpenAI's form → ChatRequest, checked member by member.

A known member with a wrong value is a VALIDATION_ERROR that names it; null means that an optional member is absent;
a member that is not known goes to `extra` unchanged. Beyond OpenAI's members it knows `reasoning`, an object with
`effort`, `max_tokens` (also written `budget_tokens`), `enabled`, `exclude` and `summary`; `top_k`; `cache_control` on
tools; and the marks of a last assistant message that the model is to continue: `prefix` or `partial` in it (Mistral,
DeepSeek, Qwen), `continue_final_message` beside it (vLLM).
"""

from __future__ import annotations

from typing import Any, Literal, cast

from appliance.errors import invalid
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, ResponseFormat, Tool, ToolChoice
from appliance.formats.members import Members, items, kind, text
from appliance.formats.openai_message import decode_message

MAX_STOPS = 16
MAX_CHOICES = 128
MAX_TOP_LOGPROBS = 20
SUMMARIES = ("auto", "concise", "detailed", "none")


def decode_request(body: dict[str, Any]) -> ChatRequest:
    members = Members(body)
    stream_options = members.members("stream_options")
    top_logprobs = members.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    logprobs = members.flag("logprobs")
    if top_logprobs is not None and not logprobs:
        raise invalid("top_logprobs", "needs logprobs: true")
    request = ChatRequest(
        model=members.needed_text("model"),
        messages=_messages(members),
        stream=bool(members.flag("stream")),
        include_usage=bool(stream_options and stream_options.flag("include_usage")),
        max_output_tokens=_max_output_tokens(members),
        temperature=members.number("temperature", 0, 2),
        top_p=members.number("top_p", 0, 1),
        top_k=_top_k(members),
        stop=_stop(members),
        seed=members.integer("seed"),
        n=members.integer("n", 1, MAX_CHOICES) or 1,
        tools=[_tool(tool, f"tools.{i}") for i, tool in enumerate(members.items("tools"))],
        tool_choice=_tool_choice(members),
        parallel_tool_calls=members.flag("parallel_tool_calls"),
        response_format=_response_format(members),
        reasoning=_reasoning(members),
        logprobs=logprobs,
        top_logprobs=top_logprobs,
        presence_penalty=members.number("presence_penalty", -2, 2),
        frequency_penalty=members.number("frequency_penalty", -2, 2),
        user=members.text("user"),
        prefill=_prefill(members),
        metadata=_metadata(members),
    )
    request.extra = members.rest()
    if stream_options and (others := stream_options.rest()):
        request.extra["stream_options"] = others
    return request


def _messages(members: Members) -> list[Message]:
    messages = items(members.needed("messages"), "messages")
    if not messages:
        raise invalid("messages", "must hold at least one message")
    return [decode_message(message, f"messages.{i}") for i, message in enumerate(messages)]


def _prefill(members: Members) -> bool:
    messages = items(members.needed("messages"), "messages")
    last = Members(messages[-1], f"messages.{len(messages) - 1}")
    marks = [last.flag("prefix"), last.flag("partial"), members.flag("continue_final_message")]
    return last.value("role") == "assistant" and any(marks)


def _top_k(members: Members) -> int | None:
    """Servers that know it switch it off by 0 or -1."""
    top_k = members.integer("top_k", -1)
    return top_k if top_k and top_k > 0 else None


def _max_output_tokens(members: Members) -> int | None:
    """Both spellings may be there; the smaller holds (contract section 5)."""
    said = (members.integer("max_tokens", 1), members.integer("max_completion_tokens", 1))
    return min((tokens for tokens in said if tokens is not None), default=None)


def _stop(members: Members) -> list[str]:
    stop = members.value("stop")
    if stop is None:
        return []
    if isinstance(stop, str):
        return [stop]
    if not isinstance(stop, list):
        raise invalid("stop", f"must be a string or a list of strings, not {kind(stop)}")
    if len(stop) > MAX_STOPS:
        raise invalid("stop", f"must hold at most {MAX_STOPS} strings, not {len(stop)}")
    return [text(word, f"stop.{i}") for i, word in enumerate(stop)]


def _tool(value: Any, path: str) -> Tool:
    tool = Members(value, path)
    tool.word("type", ("function",))
    function = tool.needed_members("function")
    return Tool(
        name=function.needed_text("name"),
        description=function.text("description"),
        parameters=function.plain_object("parameters"),
        strict=function.flag("strict"),
        cache=tool.plain_object("cache_control"),
    )


def _tool_choice(members: Members) -> ToolChoice | None:
    choice = members.value("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        words = ("auto", "none", "required")
        return ToolChoice(cast(Literal["auto", "none", "required"], members.word("tool_choice", words)))
    named = Members(choice, "tool_choice")
    named.word("type", ("function",))
    return ToolChoice("tool", named.needed_members("function").needed_text("name"))


def _response_format(members: Members) -> ResponseFormat | None:
    asked = members.members("response_format")
    if asked is None:
        return None
    kind_asked = cast(
        Literal["text", "json_object", "json_schema"], asked.word("type", ("text", "json_object", "json_schema"))
    )
    if kind_asked != "json_schema":
        return ResponseFormat(kind_asked)
    schema = asked.needed_members("json_schema")
    return ResponseFormat(
        kind_asked,
        name=schema.needed_text("name"),
        schema=schema.plain_object("schema"),
        strict=schema.flag("strict"),
        description=schema.text("description"),
    )


def _reasoning(members: Members) -> ReasoningOptions | None:
    effort = members.text("reasoning_effort")
    options = members.members("reasoning")
    if options is None:
        return ReasoningOptions(effort) if effort else None
    effort = effort or options.text("effort")
    budgets = (options.integer("max_tokens", 0), options.integer("budget_tokens", 0))
    budget = next((tokens for tokens in budgets if tokens is not None), None)
    enabled, summary = options.flag("enabled"), _summary(options)
    for name in options.rest():
        if name != "effort":
            raise invalid(options.at(name), f"is not known; reasoning takes {REASONING_MEMBERS}")
    if enabled is False:
        return ReasoningOptions(budget_tokens=0, summary=summary)
    if enabled and not effort and budget is None:
        effort = "medium"
    return ReasoningOptions(effort, budget, summary) if effort or summary or budget is not None else None


REASONING_MEMBERS = "effort, max_tokens, enabled, exclude and summary"


def _summary(options: Members) -> str | None:
    exclude = options.flag("exclude")
    summary = None if options.value("summary") is None else options.word("summary", SUMMARIES)
    return "none" if exclude else summary


def _metadata(members: Members) -> dict[str, Any] | None:
    metadata = members.plain_object("metadata")
    for name, value in (metadata or {}).items():
        if value is None or isinstance(value, list | dict):
            raise invalid(f"metadata.{name}", f"must be a string, a number or a boolean, not {kind(value)}")
    return metadata
