"""ChatRequest → the body that an upstream of the Responses dialect gets.

Nothing is kept at the provider (`store` is false), so reasoning is asked for in encrypted form, which can come back.
What the dialect has no word for is refused by the caller's own word, all at once; a member is let go only where the
answer stays the same without it.
"""

from __future__ import annotations

import re
from typing import Any

from appliance.formats.chat import ChatRequest, ReasoningOptions, ResponseFormat, Tool, ToolChoice
from appliance.formats.openai_thinking import effort
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.responses_input_writer import encode_input

TARGET = "a Responses target"

ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"

WITHOUT_REASONING = re.compile(r"(?:^|/)(?:gpt-3|gpt-4|chatgpt|gpt-5-chat)", re.IGNORECASE)
"""Upstream models that answer 400 when they are asked for encrypted reasoning."""

PASSED = (
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "moderation",
    "verbosity",
)
"""Members of OpenAI's chat dialect that mean the same here; `verbosity` stands inside `text`."""

HARMLESS = {
    "cache_control": "a prompt-cache hint; OpenAI finds cached prefixes itself",
    "metadata": "labels for the provider's dashboards",
    "prediction": "may only speed an answer up",
    "service_tier": "chooses among the other provider's capacity classes",
    "store": "asks the provider to keep the answer; the gateway keeps what it must itself",
    "stream_options": "usage is part of every stream here",
}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
}
"""Values that say what would hold anyway; any other value of the same member is refused."""

_WORDS = {"anthropic": {"stop": "stop_sequences", "prefill": "messages"}}
"""Where a dialect's word for a canonical member is another."""


def encode_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    carried = _carried(request)
    refuse_uncarriable([*_canonical_gaps(request), *_gaps(request, carried)], TARGET)
    body: dict[str, Any] = {**carried, "model": upstream_model, "input": encode_input(request.messages)}
    body["store"] = False
    if include := _include(request, upstream_model):
        body["include"] = include
    if request.stream:
        body["stream"] = True
    if request.tools:
        body["tools"] = [_tool(tool, request.dialect) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None:
        body["text"] = {**body.get("text", {}), "format": text_format(request.response_format)}
    if request.reasoning is not None and (reasoning := _reasoning(request.reasoning)):
        body["reasoning"] = reasoning
    for name in _SAME_NAME:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    return body


_SAME_NAME = ("max_output_tokens", "temperature", "top_p", "parallel_tool_calls", "top_logprobs", "user")


def _canonical_gaps(request: ChatRequest) -> list[str]:
    asked = {
        "n": request.n > 1,
        "seed": request.seed is not None,
        "stop": bool(request.stop),
        "top_k": request.top_k is not None,
        "presence_penalty": bool(request.presence_penalty),
        "frequency_penalty": bool(request.frequency_penalty),
        "prefill": request.prefill,
    }
    words = _WORDS.get(request.dialect, {"prefill": "messages"})
    return [words.get(name, name) for name, is_asked in asked.items() if is_asked]


def _carried(request: ChatRequest) -> dict[str, Any]:
    if request.dialect not in ("openai", "responses"):
        return {}
    names = request.extra if request.dialect == "responses" else PASSED
    carried = {name: value for name in names if (value := request.extra.get(name)) is not None}
    verbosity = carried.pop("verbosity", None)
    return carried if verbosity is None else carried | {"text": {"verbosity": verbosity}}


def _gaps(request: ChatRequest, carried: dict[str, Any]) -> list[str]:
    known = {*carried, *HARMLESS, *(("verbosity",) if "text" in carried else ())}
    return [
        name
        for name, value in request.extra.items()
        if value is not None and name not in known and value not in NEUTRAL.get(name, ())
    ]


def _include(request: ChatRequest, upstream_model: str) -> list[str]:
    asked = [] if WITHOUT_REASONING.search(upstream_model) else [ENCRYPTED]
    return [*asked, LOGPROBS] if request.logprobs else asked


def _tool(tool: Tool, dialect: str) -> dict[str, Any]:
    """Left out, `strict` means true here and false in the other dialects: it would change what a schema asks."""
    out: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        out["description"] = tool.description
    out["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    if tool.strict is not None or dialect != "responses":
        out["strict"] = bool(tool.strict)
    return out


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    return {"type": "function", "name": choice.name} if choice.mode == "tool" else choice.mode


def text_format(asked: ResponseFormat) -> dict[str, Any]:
    if asked.kind != "json_schema":
        return {"type": asked.kind}
    schema = {"name": asked.name, "schema": asked.schema, "strict": asked.strict, "description": asked.description}
    return {"type": "json_schema", **{name: value for name, value in schema.items() if value is not None}}


def _reasoning(options: ReasoningOptions) -> dict[str, Any]:
    summary = None if options.summary == "none" else options.summary
    return {name: value for name, value in (("effort", effort(options)), ("summary", summary)) if value}
