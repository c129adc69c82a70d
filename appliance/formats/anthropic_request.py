"""Canonical chat request → the body of POST /v1/messages; equal requests give equal bytes, since order is as written.

It must not lose what the caller asked for: what Anthropic has no word for is refused in anthropic_gaps. Two things are
weaker than asked, and meant to be: a tool's `strict` is left out for the models of NO_STRUCTURED_OUTPUT, and the
`strict` of a response format is always on where Anthropic enforces schemas at all.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.anthropic_gaps import refuse_uncarriable
from appliance.formats.anthropic_messages import encode_conversation, with_hint
from appliance.formats.chat import ChatRequest, ResponseFormat, Tool

DEFAULT_MAX_TOKENS = 4096
"""Anthropic insists on a cap; the pipeline normally fills it from the model's max_output_tokens before."""

MIN_THINKING_TOKENS = 1024
MAX_TEMPERATURE = 1.0

JSON_ANSWER_TOOL = "scaigrid_json_answer"
"""The forced tool whose arguments are the answer's JSON text. The decoders know the answer by this reserved name."""

JSON_ANSWER_DESCRIPTION = "Gives the answer. Its arguments are the complete answer, and nothing else is said."

NO_STRUCTURED_OUTPUT = (
    "claude-2",
    "claude-3",
    "claude-instant",
    "claude-opus-4-0",
    "claude-opus-4-2",
    "claude-sonnet-4-0",
    "claude-sonnet-4-2",
)
"""Beginnings of the names of models that take no schema for their answer (…-4-2 are the dated ones of May 2025)."""

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
NO_EFFORT = "none"

TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}


def encode_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    refuse_uncarriable(request)
    system, turns = encode_conversation(request.messages)
    max_tokens = DEFAULT_MAX_TOKENS if request.max_output_tokens is None else request.max_output_tokens
    body: dict[str, Any] = {"model": upstream_model, "max_tokens": max_tokens}
    if system:
        body["system"] = system
    body["messages"] = turns
    if request.stream:
        body["stream"] = True
    body.update(_sampling(request))
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    body.update(_reasoning(request, max_tokens))
    has_schemas = not upstream_model.startswith(NO_STRUCTURED_OUTPUT)
    body.update(_tools(request, has_schemas))
    _add_response_format(body, request, has_schemas)
    return body


def _sampling(request: ChatRequest) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if request.temperature is not None:
        if not 0 <= request.temperature <= MAX_TEMPERATURE:
            raise invalid("temperature", f"this target accepts 0 to 1, got {request.temperature:g}")
        members["temperature"] = request.temperature
    if request.top_p is not None:
        members["top_p"] = request.top_p
    for name in ("top_k", "cache_control"):
        if request.extra.get(name) is not None:
            members[name] = request.extra[name]
    if any(not sequence.strip() for sequence in request.stop):
        raise invalid("stop", "this target refuses stop sequences of nothing but white space; remove them")
    if request.stop:
        members["stop_sequences"] = list(request.stop)
    return members


def _reasoning(request: ChatRequest, max_tokens: int) -> dict[str, Any]:
    """`thinking` from the budget (or the caller's own object), `output_config.effort` from the named effort."""
    members: dict[str, Any] = {}
    options = request.reasoning
    if options is not None and options.effort not in (None, NO_EFFORT, *EFFORTS):
        raise invalid("reasoning_effort", f"{options.effort!r} is none of {', '.join((NO_EFFORT, *EFFORTS))}")
    if options is not None:
        if options.effort == NO_EFFORT or options.budget_tokens == 0:
            members["thinking"] = {"type": "disabled"}
        elif options.budget_tokens is not None:
            members["thinking"] = _thinking(options.budget_tokens, max_tokens)
        if options.effort is not None and options.effort != NO_EFFORT:
            members["output_config"] = {"effort": EFFORTS[options.effort]}
    own = request.extra.get("thinking")
    if own is None:
        return members
    if not isinstance(own, dict):
        raise invalid("thinking", "must be an object such as {'type': 'adaptive'}")
    if "thinking" in members:
        raise invalid("thinking", "the request also says how much to think in another member; remove one of the two")
    return {"thinking": own, **members}


def _thinking(budget_tokens: int, max_tokens: int) -> dict[str, Any]:
    if budget_tokens < MIN_THINKING_TOKENS:
        raise invalid(
            "reasoning.budget_tokens", f"this target thinks with at least {MIN_THINKING_TOKENS}, got {budget_tokens}"
        )
    if budget_tokens >= max_tokens:
        raise invalid(
            "max_tokens",
            f"must be larger than the {budget_tokens} tokens for reasoning, which are part of it, got {max_tokens}",
        )
    return {"type": "enabled", "budget_tokens": budget_tokens}


def _tools(request: ChatRequest, has_schemas: bool) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "tool"):
            raise invalid("tool_choice", "asks for a tool call, but the request has no tools; add them or remove it")
        return {}
    members: dict[str, Any] = {
        "tools": [_tool(tool, f"tools.{index}", has_schemas) for index, tool in enumerate(request.tools)]
    }
    one_by_one = request.parallel_tool_calls is False
    if choice is None and not one_by_one:
        return members
    wire_choice: dict[str, Any] = {"type": TOOL_CHOICES[choice.mode if choice else "auto"]}
    if choice is not None and choice.mode == "tool":
        if not choice.name:
            raise invalid("tool_choice", "asks for one tool without naming it")
        wire_choice["name"] = choice.name
    if one_by_one and wire_choice["type"] != "none":
        wire_choice["disable_parallel_tool_use"] = True
    members["tool_choice"] = wire_choice
    return members


def _tool(tool: Tool, where: str, has_schemas: bool) -> dict[str, Any]:
    if tool.name == JSON_ANSWER_TOOL:
        raise invalid(f"{where}.function.name", f"{JSON_ANSWER_TOOL!r} is reserved; give the tool another name")
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    wire["input_schema"] = _object_schema(tool.parameters)
    if tool.strict and has_schemas:
        wire["strict"] = True
    return with_hint(wire, tool.cache)


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Anthropic insists on a root type; a function without parameters comes as no schema, or as {}."""
    if not schema:
        return {"type": "object", "properties": {}}
    return schema if "type" in schema else {"type": "object", **schema}


def _add_response_format(body: dict[str, Any], request: ChatRequest, has_schemas: bool) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is None:
        raise invalid("response_format", "json_schema needs json_schema.schema")
    if wanted.kind == "json_schema" and has_schemas:
        native = {"type": "json_schema", "schema": wanted.schema}
        body["output_config"] = {**body.get("output_config", {}), "format": native}
        return
    _force_json_answer(body, wanted)


def _force_json_answer(body: dict[str, Any], wanted: ResponseFormat) -> None:
    reach = f"{wanted.kind} is reached through a forced tool call on this target, which"
    if "tools" in body:
        raise invalid("response_format", f"{reach} leaves no room for tools of your own; remove one of the two")
    if body.get("thinking", {}).get("type", "disabled") != "disabled":
        raise invalid("response_format", f"{reach} cannot be combined with thinking; remove one of the two")
    tool = {
        "name": JSON_ANSWER_TOOL,
        "description": wanted.description or JSON_ANSWER_DESCRIPTION,
        "input_schema": {"type": "object", **(wanted.schema or {})},
    }
    body["tools"] = [tool]
    body["tool_choice"] = {"type": "tool", "name": JSON_ANSWER_TOOL, "disable_parallel_tool_use": True}
