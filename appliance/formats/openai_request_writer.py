"""ChatRequest → the body that an OpenAI-protocol upstream gets, in the words of its Quirks.

It must not lose what the caller asked for: what a server has no word for is refused in openai_gaps.py. Equal requests
give equal bytes, since order is as written.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import invalid
from appliance.formats.chat import ChatRequest, ResponseFormat, Tool
from appliance.formats.json_answer import by_forced_tool
from appliance.formats.openai_gaps import has_format, is_only_tool, kept_extra, lacks, refuse_uncarriable
from appliance.formats.openai_messages_writer import encode_messages, takes_hints, with_hint
from appliance.formats.openai_quirks import OPENAI, Quirks, matches, thinking_of
from appliance.formats.openai_thinking import OFF, effort, thinking_members


def encode_request(request: ChatRequest, upstream_model: str, quirks: Quirks = OPENAI) -> dict[str, Any]:
    refuse_uncarriable(request, quirks, upstream_model)
    request = _with_forced_answer(request, quirks, upstream_model)
    extra = kept_extra(request, quirks, upstream_model)
    body: dict[str, Any] = {**_defaults(request, quirks, upstream_model), **extra, "model": upstream_model}
    body["messages"] = encode_messages(request, quirks, upstream_model)
    body.pop("stream_options", None)
    if request.stream:
        body["stream"] = True
        if quirks.asks_usage:
            body["stream_options"] = {**extra.get("stream_options", {}), "include_usage": True}
    if request.max_output_tokens is not None:
        body[output_cap(quirks, upstream_model)] = request.max_output_tokens
    if request.stop:
        body["stop"] = request.stop
    if request.n != 1:
        body["n"] = request.n
    body |= _tools(request, quirks, upstream_model)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format, quirks)
    body |= _thinking(request, extra, quirks, upstream_model)
    if request.metadata is not None and _takes_metadata(quirks, extra):
        body["metadata"] = request.metadata
    body |= _sampling(request, quirks, upstream_model)
    if request.prefill:
        body |= quirks.prefill_options
    return body


def output_cap(quirks: Quirks, upstream_model: str) -> str:
    """The name of the member that caps the output."""
    return "max_completion_tokens" if matches(quirks.long_cap, upstream_model) else "max_tokens"


def _defaults(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for models, values, against in quirks.defaults:
        if matches(models, upstream_model) and not any(name in request.extra for name in against):
            members |= values
    return members


def _takes_metadata(quirks: Quirks, extra: dict[str, Any]) -> bool:
    """OpenAI refuses it without `store`."""
    return quirks.metadata == "always" or (quirks.metadata == "with_store" and bool(extra.get("store")))


_SAME_NAME = ("temperature", "top_p", "top_k", "logprobs", "top_logprobs", "presence_penalty", "frequency_penalty")


def _sampling(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, Any]:
    """What a server lacks and the caller did not need (a penalty of 0, logprobs: false) is left out."""
    lacking = lacks(quirks, upstream_model)
    members = {name: getattr(request, name) for name in _SAME_NAME if name not in lacking}
    members[quirks.seed] = request.seed
    if quirks.user:
        members["user"] = request.user
    return _present(members)


# -- tools and structured output --------------------------------------------------------------------------------------


def _with_forced_answer(request: ChatRequest, quirks: Quirks, upstream_model: str) -> ChatRequest:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text" or has_format(wanted.kind, quirks, upstream_model):
        return request
    return by_forced_tool(request)


def _tools(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, Any]:
    mode = request.tool_choice.mode if request.tool_choice else "auto"
    # A server that cannot be told to leave its tools alone must not see them.
    if not request.tools or (mode == "none" and "none" not in quirks.tool_choices):
        return {}
    hints = takes_hints(quirks, upstream_model)
    members: dict[str, Any] = {"tools": [_tool(tool, hints, quirks) for tool in request.tools]}
    if request.tool_choice is not None:
        members["tool_choice"] = _tool_choice(request, quirks)
    if request.parallel_tool_calls is not None and "parallel_tool_calls" not in quirks.lacks:
        members["parallel_tool_calls"] = request.parallel_tool_calls
    return members


def _tool(tool: Tool, hints: bool, quirks: Quirks) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": None if "strict" in quirks.lacks else tool.strict,
    }
    out: dict[str, Any] = {"type": "function", "function": _present(function)}
    return with_hint(out, tool.cache, quirks) if hints else out


def _tool_choice(request: ChatRequest, quirks: Quirks) -> str | dict[str, Any]:
    choice = request.tool_choice
    assert choice is not None
    if choice.mode == "tool":
        return _named(choice.name)
    if choice.mode != "required":
        return choice.mode
    if "required" not in quirks.tool_choices and is_only_tool(request, quirks):
        return _named(request.tools[0].name)
    return quirks.required


def _named(name: str | None) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def _response_format(asked: ResponseFormat, quirks: Quirks) -> dict[str, Any]:
    if asked.kind != "json_schema":
        return {"type": asked.kind}
    schema = {"name": asked.name, "description": asked.description, "schema": asked.schema, "strict": asked.strict}
    return {"type": "json_schema", quirks.schema_member: _present(schema)}


# -- thinking ---------------------------------------------------------------------------------------------------------


def _thinking(request: ChatRequest, extra: dict[str, Any], quirks: Quirks, upstream_model: str) -> dict[str, Any]:
    options = request.reasoning
    if _must_not_think(request, quirks, upstream_model):
        if options is not None and effort(options) not in (None, "none"):
            raise invalid("reasoning_effort", "this target cannot think when a tool is forced; remove one of the two")
        options = OFF
    elif not request.stream and matches(quirks.thinks_in_streams_only, upstream_model):
        options = options or (None if "enable_thinking" in extra else OFF)
    return thinking_members(options, extra, quirks, upstream_model)


def _must_not_think(request: ChatRequest, quirks: Quirks, upstream_model: str) -> bool:
    forces = request.tool_choice is not None and request.tool_choice.mode in ("required", "tool")
    return forces and quirks.forcing_stops_thinking and thinking_of(quirks, upstream_model) is not None


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
