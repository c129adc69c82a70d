"""ChatRequest → the body that an OpenAI-protocol upstream gets.

Not sent, because OpenAI's form has no request member for it: reasoning of earlier turns (OpenAI's own SDK has none, and
the server refuses unknown ones), the error mark of a tool result, citations. Metadata is sent only with `store`, since
OpenAI refuses it otherwise. What only some upstreams understand is asked of HABITS, by the upstream model's name.
"""

from __future__ import annotations

import re
from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningOptions,
    ReasoningPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from appliance.formats.openai_call import call_object

HABITS = {
    "max_completion_tokens": re.compile(r"(?:^|/)(?:o[1-9]|gpt-[5-9]|gpt-\d\d)(?![a-z\d])", re.IGNORECASE),
    "thought_signature": re.compile(r"gemini", re.IGNORECASE),
    "cache_control": re.compile(r"claude|qwen", re.IGNORECASE),
}
"""Upstream models that want or take a member which others refuse."""

EFFORT_OF_BUDGET = ((0, "none"), (4096, "low"), (16384, "medium"))
"""Most thinking tokens for each effort: OpenAI's form has words, no numbers. Above the last it is `high`."""


def encode_request(request: ChatRequest, upstream_model: str) -> dict[str, Any]:
    body: dict[str, Any] = {**request.extra, "model": upstream_model}
    hints = _has_habit("cache_control", upstream_model)
    signed = _has_habit("thought_signature", upstream_model)
    body["messages"] = [out for message in request.messages for out in _messages(message, hints, signed)]
    body.pop("stream_options", None)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {**request.extra.get("stream_options", {}), "include_usage": True}
    if request.max_output_tokens is not None:
        long_name = _has_habit("max_completion_tokens", upstream_model)
        body["max_completion_tokens" if long_name else "max_tokens"] = request.max_output_tokens
    if request.stop:
        body["stop"] = request.stop
    if request.n != 1:
        body["n"] = request.n
    if request.tools:
        body["tools"] = [_tool(tool, hints) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    if request.reasoning is not None and (effort := _effort(request.reasoning)):
        body["reasoning_effort"] = effort
    if request.metadata is not None and request.extra.get("store"):
        body["metadata"] = request.metadata
    for name in _SAME_NAME:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    return body


_SAME_NAME = (
    "temperature",
    "top_p",
    "seed",
    "parallel_tool_calls",
    "logprobs",
    "top_logprobs",
    "presence_penalty",
    "frequency_penalty",
    "user",
)


def _has_habit(habit: str, upstream_model: str) -> bool:
    return HABITS[habit].search(upstream_model) is not None


# -- messages ---------------------------------------------------------------------------------------------------------


def _messages(message: Message, hints: bool, signed: bool) -> list[dict[str, Any]]:
    if message.role == "tool":
        return [_tool_result(part) for part in message.parts]
    out: dict[str, Any] = {"role": message.role}
    if message.role == "assistant":
        out |= _assistant(message.parts, hints, signed)
    else:
        out["content"] = _content(message.parts, hints)
    if message.name:
        out["name"] = message.name
    return [out]


def _assistant(parts: list[Part], hints: bool, signed: bool) -> dict[str, Any]:
    said: list[Part] = [part for part in parts if not isinstance(part, ReasoningPart | RefusalPart | ToolCallPart)]
    refusal = "".join(part.text for part in parts if isinstance(part, RefusalPart))
    calls = [_call(part, hints, signed) for part in parts if isinstance(part, ToolCallPart)]
    out: dict[str, Any] = {"content": _content(said, hints) if said else None if calls or refusal else ""}
    if refusal:
        out["refusal"] = refusal
    if calls:
        out["tool_calls"] = calls
    return out


def _call(part: ToolCallPart, hints: bool, signed: bool) -> dict[str, Any]:
    call = call_object(part)
    if not signed:
        call.pop("extra_content", None)
    if hints and part.cache:
        call["cache_control"] = part.cache
    return call


def _tool_result(part: Part) -> dict[str, Any]:
    if not isinstance(part, ToolResultPart):
        raise _cannot_carry(part, "in a message of role tool")
    for inner in part.parts:
        if not isinstance(inner, TextPart):
            raise _cannot_carry(inner, "in a tool result; it takes text only")
    content = "\n".join(inner.text for inner in part.parts if isinstance(inner, TextPart))
    return {"role": "tool", "tool_call_id": part.call_id, "content": content}


def _content(parts: list[Part], hints: bool) -> str | list[dict[str, Any]]:
    if len(parts) == 1 and isinstance(only := parts[0], TextPart) and not (hints and only.cache):
        return only.text
    return [_content_part(part, hints) for part in parts]


def _content_part(part: Part, hints: bool) -> dict[str, Any]:
    match part:
        case TextPart():
            out: dict[str, Any] = {"type": "text", "text": part.text}
        case ImagePart():
            image = {"url": part.url or f"data:{part.media_type};base64,{part.data}"}
            out = {"type": "image_url", "image_url": image | {"detail": part.detail} if part.detail else image}
        case AudioPart():
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case FilePart():
            out = {"type": "file", "file": _file(part)}
        case _:
            raise _cannot_carry(part, "in a message's content")
    return out | {"cache_control": part.cache} if hints and part.cache else out


def _file(part: FilePart) -> dict[str, str]:
    if part.file_id:
        return {"file_id": part.file_id} | ({"filename": part.filename} if part.filename else {})
    if part.data is None:
        raise invalid("messages", "a file given by URL cannot be sent to an OpenAI-protocol upstream; send its data")
    return {"filename": part.filename or "document", "file_data": f"data:{part.media_type};base64,{part.data}"}


def _cannot_carry(part: Part, where: str) -> GatewayError:
    name = type(part).__struct_config__.tag
    return invalid("messages", f"a part of type {name} cannot be sent to an OpenAI-protocol upstream {where}")


# -- options ----------------------------------------------------------------------------------------------------------


def _tool(tool: Tool, hints: bool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    out: dict[str, Any] = {"type": "function", "function": _present(function)}
    return out | {"cache_control": tool.cache} if hints and tool.cache else out


def _tool_choice(choice: ToolChoice) -> str | dict[str, Any]:
    if choice.mode == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode


def _response_format(asked: ResponseFormat) -> dict[str, Any]:
    if asked.kind != "json_schema":
        return {"type": asked.kind}
    schema = {"name": asked.name, "description": asked.description, "schema": asked.schema, "strict": asked.strict}
    return {"type": "json_schema", "json_schema": _present(schema)}


def _effort(reasoning: ReasoningOptions) -> str | None:
    if reasoning.effort or reasoning.budget_tokens is None:
        return reasoning.effort
    return next((word for most, word in EFFORT_OF_BUDGET if reasoning.budget_tokens <= most), "high")


def _present(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
