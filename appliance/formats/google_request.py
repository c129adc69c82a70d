"""Canonical chat request → the body of generateContent, and of countTokens; equal requests give equal bytes.

The model's name and the choice between a whole answer and a stream are in the URL. It must not lose what the caller
asked for: what Google has no word for is refused in google_gaps.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.chat import ChatRequest, Tool
from appliance.formats.google_contents import encode_contents
from appliance.formats.google_gaps import own_members, refuse_gaps
from appliance.formats.google_models import is_older_than, is_since
from appliance.formats.google_schema import parameters_schema, reduced_schema
from appliance.formats.google_thinking import thinking_config
from appliance.formats.reply_object import count, mismatch

MAX_STOPS = 5
MAX_SEED = 2**31 - 1
JSON_TYPE = "application/json"

TOOLS_WITH_JSON_SINCE = 3.0
"""The first generation that takes functions beside a JSON answer."""

VALIDATED_SINCE = 2.5
"""The first generation that can be held to the schemas of its functions without being made to call one."""

MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY", "tool": "ANY"}


def encode_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    refuse_gaps(request, upstream_model)
    system, contents = encode_contents(request.messages, upstream_model)
    body: dict[str, Any] = {} if system is None else {"systemInstruction": system}
    body["contents"] = contents
    body.update(_tools(request, upstream_model))
    config = {**_sampling(request), **_answer_format(request, upstream_model)}
    if thinking := thinking_config(request.reasoning, upstream_model):
        config["thinkingConfig"] = thinking
    if config:
        body["generationConfig"] = config
    return body | own_members(request.extra)


def encode_count(request: ChatRequest, upstream_model: str, *, on_vertex: bool = False) -> dict[str, Any]:
    """The body of countTokens: what is input of the same request. Vertex takes it plain, the Gemini API wrapped."""
    system, contents = encode_contents(request.messages, upstream_model)
    counted: dict[str, Any] = {} if system is None else {"systemInstruction": system}
    counted["contents"] = contents
    counted.update(_tools(request, upstream_model))
    if answer := _answer_format(request, upstream_model):
        counted["generationConfig"] = answer
    if on_vertex:
        counted.pop("toolConfig", None)  # its countTokens has no such member, and no token stands for it
        return counted
    name = upstream_model if upstream_model.startswith(("models/", "tunedModels/")) else f"models/{upstream_model}"
    return {"generateContentRequest": {"model": name, **counted}}


def decode_count(body: Any) -> int:
    total = count(body.get("totalTokens")) if isinstance(body, dict) else None
    if total is None:
        raise mismatch("has no totalTokens")
    return total


def _sampling(request: ChatRequest) -> dict[str, Any]:
    if len(request.stop) > MAX_STOPS:
        raise invalid("stop", f"this target takes at most {MAX_STOPS} stop sequences, got {len(request.stop)}")
    if request.seed is not None and abs(request.seed) > MAX_SEED:
        raise invalid("seed", f"this target takes seeds from -{MAX_SEED} to {MAX_SEED}, got {request.seed}")
    said = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "maxOutputTokens": request.max_output_tokens,
        "stopSequences": list(request.stop) or None,
        "candidateCount": request.n if request.n > 1 else None,
        "seed": request.seed,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "responseLogprobs": request.logprobs or None,
        "logprobs": request.top_logprobs if request.logprobs else None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _answer_format(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return {}
    if request.tools and is_older_than(upstream_model, TOOLS_WITH_JSON_SINCE):
        raise invalid(
            "response_format", f"this target's model takes no {wanted.kind} beside tools; remove one of the two"
        )
    if wanted.kind == "json_object":
        return {"responseMimeType": JSON_TYPE}
    if wanted.schema is None:
        raise invalid("response_format", "json_schema needs json_schema.schema")
    schema = reduced_schema(wanted.schema, "response_format.json_schema.schema", bool(wanted.strict))
    if wanted.description:
        schema.setdefault("description", wanted.description)
    return {"responseMimeType": JSON_TYPE, "responseJsonSchema": schema}


# -- tools ------------------------------------------------------------------------------------------------------------


def _tools(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    choice = request.tool_choice
    if not request.tools:
        if choice is not None and choice.mode in ("required", "tool"):
            raise invalid("tool_choice", "asks for a tool call, but the request has no tools; add them or remove it")
        return {}
    declared = [_declaration(tool, f"tools.{index}") for index, tool in enumerate(request.tools)]
    members: dict[str, Any] = {"tools": [{"functionDeclarations": declared}]}
    if calling := _calling(request, upstream_model):
        members["toolConfig"] = {"functionCallingConfig": calling}
    return members


def _declaration(tool: Tool, where: str) -> dict[str, Any]:
    declared: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        declared["description"] = tool.description
    schema = parameters_schema(tool.parameters, f"{where}.function.parameters", bool(tool.strict))
    if schema is not None:
        declared["parametersJsonSchema"] = schema
    return declared


def _calling(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    choice = request.tool_choice
    mode = MODES[choice.mode] if choice else "AUTO"
    if choice is not None and choice.mode == "tool":
        if not choice.name:
            raise invalid("tool_choice", "asks for one tool without naming it")
        return {"mode": mode, "allowedFunctionNames": [choice.name]}
    if mode == "AUTO" and any(tool.strict for tool in request.tools) and is_since(upstream_model, VALIDATED_SINCE):
        return {"mode": "VALIDATED"}
    return {"mode": mode} if choice else {}
