"""Canonical chat request → the body of POST /v1/messages; equal requests give equal bytes, since order is as written.

It must not lose what the caller asked for: what Anthropic has no word for is refused in anthropic_gaps, what the model
of this name refuses (anthropic_models) is refused here. A sampling parameter with its neutral value 1 says nothing, and
is left out where the model takes none. Structured output, where the shapes differ:
* A schema goes to `output_config.format` in its enforced form (anthropic_schema). The `strict` of a response format is
  then always on: an object that the caller left open comes back closed, which still fits his schema.
* A schema without such a form, and any schema on models without the member, is reached through a forced tool call,
  where the model follows the schema without being held to it; so a strict schema without an enforced form is refused.
* A tool's `strict` is left out for models that enforce no schemas.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.anthropic_gaps import refuse_uncarriable
from appliance.formats.anthropic_messages import encode_conversation, with_hint
from appliance.formats.anthropic_models import Habits, habits_of
from appliance.formats.anthropic_schema import enforced_schema
from appliance.formats.anthropic_thinking import thinking_members
from appliance.formats.chat import ChatRequest, ReasoningOptions, ResponseFormat, Tool
from appliance.formats.json_answer import JSON_ANSWER_DESCRIPTION, JSON_ANSWER_TOOL

__all__ = ["DEFAULT_MAX_TOKENS", "JSON_ANSWER_TOOL", "encode_request"]

DEFAULT_MAX_TOKENS = 4096
"""Anthropic insists on a cap; the pipeline normally fills it from the model's max_output_tokens before."""

MAX_TEMPERATURE = 1.0
TOOL_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}


def encode_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    refuse_uncarriable(request)
    habits = habits_of(upstream_model)
    _refuse_begun_answer(request, habits)
    system, turns = encode_conversation(request.messages)
    max_tokens = _max_tokens(request)
    body: dict[str, Any] = {"model": upstream_model, "max_tokens": max_tokens}
    if system:
        body["system"] = system
    body["messages"] = turns
    if request.stream:
        body["stream"] = True
    body.update(_sampling(request, habits))
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    body.update(_reasoning(request, habits, max_tokens, turns))
    body.update(_tools(request, habits))
    _add_response_format(body, request, habits)
    _refuse_beside_thinking(body)
    return body


def _refuse_begun_answer(request: ChatRequest, habits: Habits) -> None:
    if request.messages and request.messages[-1].role == "assistant" and not habits.prefill:
        where = f"messages.{len(request.messages) - 1}"
        raise invalid(where, "this model goes on with no begun answer; end with a message of another role")


def _max_tokens(request: ChatRequest) -> int:
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    return DEFAULT_MAX_TOKENS + ((request.reasoning and request.reasoning.budget_tokens) or 0)


def _sampling(request: ChatRequest, habits: Habits) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if request.temperature is not None and not 0 <= request.temperature <= MAX_TEMPERATURE:
        raise invalid("temperature", f"this target accepts 0 to 1, got {request.temperature:g}")
    for name, neutral in (("temperature", 1), ("top_p", 1), ("top_k", None)):
        value = getattr(request, name)
        if value is None:
            continue
        if habits.samples:
            members[name] = value
        elif value != neutral:
            raise invalid(name, "this model takes no sampling parameters; remove it or route to a model that does")
    if request.extra.get("cache_control") is not None:
        members["cache_control"] = request.extra["cache_control"]
    if any(not sequence.strip() for sequence in request.stop):
        raise invalid("stop", "this target refuses stop sequences of nothing but white space; remove them")
    if request.stop:
        members["stop_sequences"] = list(request.stop)
    return members


def _reasoning(request: ChatRequest, habits: Habits, max_tokens: int, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """From the canonical options, or the caller's own `thinking` object, which goes on as it came."""
    own = request.extra.get("thinking")
    options = request.reasoning or ReasoningOptions()
    if own is None:
        members = thinking_members(options, habits, max_tokens, _has_room(request, habits))
        if members.get("thinking", {}).get("type") == "enabled" and _resumes_without_thought(turns):
            del members["thinking"]
        return members
    if not isinstance(own, dict):
        raise invalid("thinking", "must be an object such as {'type': 'adaptive'}")
    members = thinking_members(options, habits, max_tokens, has_room=False)
    if "thinking" in members:
        raise invalid("thinking", "the request also says how much to think in another member; remove one of the two")
    return {"thinking": own, **members}


def _resumes_without_thought(turns: list[dict[str, Any]]) -> bool:
    """Results come back, but not the thought that led to their calls: its client dropped it, or another provider's
    model had it. Anthropic refuses to think on with a budget then, and this step has to do without."""
    if len(turns) < 2 or not any(block["type"] == "tool_result" for block in turns[-1]["content"]):
        return False
    return turns[-2]["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _has_room(request: ChatRequest, habits: Habits) -> bool:
    """Nothing stands in the request that Anthropic refuses beside thinking."""
    choice = request.tool_choice
    wanted = request.response_format.kind if request.response_format else "text"
    return not (
        (choice is not None and choice.mode in ("required", "tool"))
        or wanted == "json_object"
        or (wanted == "json_schema" and not habits.schemas)
        or request.temperature not in (None, 1)
        or request.top_k is not None
        or request.messages[-1].role == "assistant"
    )


def _refuse_beside_thinking(body: dict[str, Any]) -> None:
    """Anthropic would refuse these too, but in words about members that the caller never wrote."""
    if body.get("thinking", {}).get("type") not in ("enabled", "adaptive"):
        return
    if body.get("temperature", 1) != 1:
        raise invalid("temperature", "this target thinks at temperature 1 only; remove it, or the reasoning")
    if "top_k" in body:
        raise invalid("top_k", "this target cannot combine it with reasoning; remove one of the two")
    if body.get("tool_choice", {}).get("type") in ("any", "tool"):
        raise invalid("tool_choice", "this target forces no tool call while it thinks; remove one of the two")


def _tools(request: ChatRequest, habits: Habits) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "tool"):
            raise invalid("tool_choice", "asks for a tool call, but the request has no tools; add them or remove it")
        return {}
    if choice is not None and choice.mode in ("required", "tool") and not habits.forced_tools:
        raise invalid("tool_choice", "this model cannot be made to call a tool; use auto or another model")
    members: dict[str, Any] = {
        "tools": [_tool(tool, f"tools.{index}", habits) for index, tool in enumerate(request.tools)]
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


def _tool(tool: Tool, where: str, habits: Habits) -> dict[str, Any]:
    if tool.name == JSON_ANSWER_TOOL:
        raise invalid(f"{where}.function.name", f"{JSON_ANSWER_TOOL!r} is reserved; give the tool another name")
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    wire["input_schema"] = _object_schema(tool.parameters)
    if tool.strict and habits.schemas:
        # Without an enforced form the schema goes as it is: whether it is strict enough is then Anthropic's word.
        wire["input_schema"] = enforced_schema(wire["input_schema"]) or wire["input_schema"]
        wire["strict"] = True
    return with_hint(wire, tool.cache)


def _object_schema(schema: dict[str, Any] | None) -> dict[str, Any]:
    """Anthropic insists on a root type; a function without parameters comes as no schema, or as {}."""
    if not schema:
        return {"type": "object", "properties": {}}
    return schema if "type" in schema else {"type": "object", **schema}


def _add_response_format(body: dict[str, Any], request: ChatRequest, habits: Habits) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if wanted.kind == "json_schema" and wanted.schema is None:
        raise invalid("response_format", "json_schema needs json_schema.schema")
    if wanted.schema is not None and wanted.kind == "json_schema" and habits.schemas:
        schema = enforced_schema(wanted.schema)
        if schema is not None:
            native = {"type": "json_schema", "schema": schema}
            body["output_config"] = {**body.get("output_config", {}), "format": native}
            return
        if wanted.strict:
            raise invalid(
                "response_format",
                "this target cannot enforce the schema: objects must name their properties and allow no others, and "
                "allOf, not, if and patternProperties have no form; change the schema or send strict: false",
            )
    _force_json_answer(body, wanted, habits)


def _force_json_answer(body: dict[str, Any], wanted: ResponseFormat, habits: Habits) -> None:
    reach = f"{wanted.kind} is reached through a forced tool call on this target, which"
    if not habits.forced_tools:
        raise invalid("response_format", f"{reach} this model refuses; use a json_schema with closed objects")
    if "tools" in body:
        raise invalid("response_format", f"{reach} leaves no room for tools of your own; remove one of the two")
    if body.get("thinking", {}).get("type") in ("enabled", "adaptive"):
        raise invalid("response_format", f"{reach} cannot be combined with thinking; remove one of the two")
    tool = {
        "name": JSON_ANSWER_TOOL,
        "description": wanted.description or JSON_ANSWER_DESCRIPTION,
        "input_schema": {"type": "object", **(wanted.schema or {})},
    }
    body["tools"] = [tool]
    body["tool_choice"] = {"type": "tool", "name": JSON_ANSWER_TOOL, "disable_parallel_tool_use": True}
