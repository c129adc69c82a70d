"""The OpenAI family's part of sdk_story: chat completions as OpenAI itself takes and gives them."""

from __future__ import annotations

import json
from typing import Any

from support import sdk_story as story
from support.sdk_story import demand, demand_members
from support.upstream import Call

IDS = {city: f"call_{city}_0123456789abcdefghij" for city in story.CITIES}
MEMBERS = """audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens max_tokens
messages
metadata modalities model n parallel_tool_calls prediction presence_penalty prompt_cache_key reasoning_effort
response_format safety_identifier seed service_tier stop store stream stream_options temperature tool_choice tools
top_logprobs top_p user verbosity web_search_options"""
MESSAGE_MEMBERS = {
    "system": "role content name",
    "developer": "role content name",
    "user": "role content name",
    "tool": "role content tool_call_id",
    # SDKs send answers back as they came, with what they parsed themselves.
    "assistant": "role content name tool_calls refusal function_call audio annotations parsed",
}


async def answer(call: Call) -> None:
    body = call.json
    demand(call.headers.get("authorization") == "Bearer sk-openai-test", "Incorrect API key provided")
    demand_members(body, MEMBERS, "body")
    for index, message in enumerate(body["messages"]):
        demand_members(message, MESSAGE_MEMBERS[message["role"]], f"messages[{index}]")
    _check_format(body)
    _check_tools(body)
    message, finish = _message(body)
    if body.get("stream"):
        demand(body.get("stream_options") == {"include_usage": True}, "stream_options: usage was not asked for")
        await call.stream(_chunks(body, message, finish))
        return
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1_760_000_000, "model": body["model"]}
    await call.reply(200, {**head, "choices": [choice], "usage": _usage(), "system_fingerprint": "fp_1"})


def _check_tools(body: dict[str, Any]) -> None:
    for tool in body.get("tools", []):
        demand_members(tool, "type function", "tools")
        function = tool["function"]
        demand_members(function, "name description parameters strict", "tools.function")
        demand(tool["type"] == "function" and function["name"] == story.TOOL, "tools: the tool's name")
        demand(function["description"] == story.TOOL_DESCRIPTION, "tools: the tool's description")
        story.demand_parameters(function["parameters"], "tools.parameters")


def _check_format(body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is None or wanted["type"] == "text":
        return
    demand(wanted["type"] == "json_schema", "response_format: no schema")
    demand_members(wanted["json_schema"], "name description schema strict", "response_format.json_schema")
    schema = wanted["json_schema"]["schema"]
    story.demand_report(schema, "response_format")
    if wanted["json_schema"].get("strict"):
        demand(schema.get("additionalProperties") is False, "response_format: additionalProperties must be false")


def _message(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    turns = body["messages"]
    message: dict[str, Any] = {"role": "assistant", "content": story.PLAIN_ANSWER, "refusal": None}
    if turns[-1]["role"] == "tool":
        _check_history(turns)
    elif body.get("tools"):
        return message | {"content": story.LEAD_IN, "tool_calls": [_call(city) for city in story.CITIES]}, "tool_calls"
    if body.get("response_format", {}).get("type") == "json_schema":
        message["content"] = story.REPORT_TEXT
    return message, "stop"


def _call(city: str) -> dict[str, Any]:
    return {
        "id": IDS[city],
        "type": "function",
        "function": {"name": story.TOOL, "arguments": json.dumps({"city": city})},
    }


def _check_history(turns: list[dict[str, Any]]) -> None:
    results = [turn for turn in turns if turn["role"] == "tool"]
    place = turns.index(results[0])
    story.demand_results([(turn["tool_call_id"], _text(turn["content"])) for turn in turns[place:]], IDS)
    said = turns[place - 1]
    demand(said["role"] == "assistant", "messages: tool results must follow the assistant's calls")
    demand(_text(said.get("content")) == story.LEAD_IN, f"messages: the assistant said {said.get('content')!r}")
    calls = [_plain(call) for call in said["tool_calls"]]
    demand(calls == [_plain(_call(city)) for city in story.CITIES], f"messages: tool_calls are {calls}")
    demand(_text(turns[place - 2]["content"]) == story.QUESTION, "messages: the question is another one")


def _plain(call: dict[str, Any]) -> tuple[str, str, str, Any]:
    demand_members(call, "id type function index", "messages.tool_calls")
    demand_members(call["function"], "name arguments parsed_arguments", "messages.tool_calls.function")
    return call["id"], call["type"], call["function"]["name"], json.loads(call["function"]["arguments"])


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return str(content or "")


def _usage() -> dict[str, Any]:
    total = story.INPUT_TOKENS + story.OUTPUT_TOKENS
    return {
        "prompt_tokens": story.INPUT_TOKENS,
        "completion_tokens": story.OUTPUT_TOKENS,
        "total_tokens": total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": story.THOUGHT_TOKENS, "audio_tokens": 0},
    }


def _chunks(body: dict[str, Any], message: dict[str, Any], finish: str) -> list[bytes]:
    """OpenAI's own way: role first, then words, then call by call its head and its arguments in pieces."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
    deltas += [{"content": piece} for piece in story.pieces(message["content"])]
    for index, call in enumerate(message.get("tool_calls", [])):
        head = {**call, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [{"index": index, **head}]})
        for piece in story.pieces(call["function"]["arguments"]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    choices: list[Any] = [[{"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}] for delta in deltas]
    choices.append([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": finish}])
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_760_000_000, "model": body["model"]}
    chunks: list[Any] = [{**head, "choices": choice, "usage": None} for choice in choices]
    chunks.append({**head, "choices": [], "usage": _usage()})
    return [f"data: {json.dumps(chunk)}\n\n".encode() for chunk in chunks] + [b"data: [DONE]\n\n"]
