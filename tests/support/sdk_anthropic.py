"""The Anthropic family's part of sdk_story: Messages and count_tokens as Anthropic takes and gives them.

Asked to think, it signs its thought and insists on getting thought and signature back before the calls they led to.
"""

from __future__ import annotations

import json
import re
from typing import Any

from support import sdk_story as story
from support.sdk_story import demand, demand_members
from support.upstream import Call

IDS = {city: f"toolu_01{city}ABCDEFGHIJKLMNOP" for city in story.CITIES}
SIGNATURE = "EqQBCkYIBxgCKkD+/signature=of=anthropic==" * 4
COUNTED = 321
MEMBERS = """cache_control container context_management max_tokens mcp_servers messages metadata model output_config
service_tier stop_sequences stream system temperature thinking tool_choice tools top_k top_p"""
BLOCKS = {
    "text": "type text cache_control citations",
    "thinking": "type thinking signature",
    "redacted_thinking": "type data",
    "tool_use": "type id name input cache_control caller",
    "tool_result": "type tool_use_id content is_error cache_control",
    "image": "type source cache_control",
}
UNSUPPORTED = ("minimum", "maximum", "minLength", "maxLength", "pattern", "multipleOf")
Block = dict[str, Any]


async def answer(call: Call) -> None:
    body = call.json
    demand(call.headers.get("x-api-key") == "sk-ant-test", "invalid x-api-key")
    demand("authorization" not in call.headers, "two credentials")
    demand(call.headers.get("anthropic-version") == "2023-06-01", "anthropic-version: header is required")
    _check_conversation(body)
    if call.path.partition("?")[0] == "/v1/messages/count_tokens":
        demand_members(body, MEMBERS.replace("max_tokens", "").replace("stream ", ""), "body")
        await call.reply(200, {"input_tokens": COUNTED})
        return
    demand(call.path.partition("?")[0] == "/v1/messages", f"no {call.path}")
    demand_members(body, MEMBERS, "body")
    demand(isinstance(body.get("max_tokens"), int), "max_tokens: Field required")
    _check_thinking(body)
    _check_format(body)
    blocks, stop = _blocks(body)
    head = {"id": "msg_01", "type": "message", "role": "assistant", "model": body["model"]}
    if body.get("stream"):
        await call.stream(_events(head, blocks, stop))
        return
    await call.reply(200, {**head, "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": _usage()})


def thinks(body: dict[str, Any]) -> bool:
    return body.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _check_thinking(body: dict[str, Any]) -> None:
    if not thinks(body):
        return
    demand(body.get("temperature", 1) == 1, "temperature may only be set to 1 when thinking is enabled")
    demand(body.get("tool_choice", {}).get("type") not in ("any", "tool"), "thinking: no forced tool use")
    if body["thinking"]["type"] == "enabled":
        demand(1024 <= body["thinking"]["budget_tokens"] < body["max_tokens"], "thinking.budget_tokens: out of range")


def _check_format(body: dict[str, Any]) -> None:
    wanted = body.get("output_config", {}).get("format")
    if wanted is None:
        return
    demand_members(wanted, "type schema", "output_config.format")
    demand(wanted["type"] == "json_schema", "output_config.format.type")
    schema = wanted["schema"]
    story.demand_report(schema, "output_config.format.schema")
    demand(schema.get("additionalProperties") is False, "output_config.format.schema: additionalProperties")
    demand(not any(f'"{word}"' in json.dumps(schema) for word in UNSUPPORTED), "output_config.format.schema: keywords")


def _check_conversation(body: dict[str, Any]) -> None:
    for index, turn in enumerate(body["messages"]):
        where = f"messages.{index}"
        demand(turn["role"] == ("user", "assistant")[index % 2], f"{where}: roles must alternate")
        demand_members(turn, "role content", where)
        for block in _content(turn):
            demand(block["type"] in BLOCKS, f"{where}: block {block['type']}")
            demand_members(block, BLOCKS[block["type"]], f"{where}.{block['type']}")
        if index:
            _check_step(body["messages"][index - 1], turn, where)
    for tool in body.get("tools", []):
        demand_members(tool, "type name description input_schema cache_control strict eager_input_streaming", "tools")
        demand(re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool["name"]), "tools.name")
        if tool["name"] == story.TOOL:
            demand(tool["description"] == story.TOOL_DESCRIPTION, f"tools: description {tool['description']!r}")
            story.demand_parameters(tool["input_schema"], "tools.input_schema")


def _content(turn: dict[str, Any]) -> list[Block]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _check_step(before: dict[str, Any], turn: dict[str, Any], where: str) -> None:
    """Every call is answered in the very next turn, before anything else that is said there."""
    called = [block["id"] for block in _content(before) if block["type"] == "tool_use"]
    answered = [block["tool_use_id"] for block in _content(turn) if block["type"] == "tool_result"]
    demand(sorted(called) == sorted(answered), f"{where}: tool_use {called} against tool_result {answered}")
    kinds = [block["type"] for block in _content(turn)]
    demand("tool_result" not in kinds[len(answered) :], f"{where}: tool_result must come first")


def _blocks(body: dict[str, Any]) -> tuple[list[Block], str]:
    last = _content(body["messages"][-1])
    if any(block["type"] == "tool_result" for block in last):
        _check_history(body)
    elif body.get("tools"):
        thought = [{"type": "thinking", "thinking": story.THOUGHT, "signature": SIGNATURE}] if thinks(body) else []
        return [*thought, {"type": "text", "text": story.LEAD_IN}, *map(_call, story.CITIES)], "tool_use"
    wants_report = "format" in body.get("output_config", {})
    return [{"type": "text", "text": story.REPORT_TEXT if wants_report else story.PLAIN_ANSWER}], "end_turn"


def _call(city: str) -> Block:
    return {"type": "tool_use", "id": IDS[city], "name": story.TOOL, "input": {"city": city}}


def _check_history(body: dict[str, Any]) -> None:
    demand(len(body["messages"]) >= 3, "messages: a result without a question and a call before it")
    asked, said, told = body["messages"][-3:]
    demand(_content(asked)[-1]["text"] == story.QUESTION, "messages: the question is another one")
    blocks = [{name: value for name, value in block.items() if name != "cache_control"} for block in _content(said)]
    thoughts = [block for block in blocks if "thinking" in block["type"]]
    if thinks(body):
        expected = [{"type": "thinking", "thinking": story.THOUGHT, "signature": SIGNATURE}]
        demand(thoughts == expected, f"messages: Invalid `signature` in `thinking` block: {thoughts}")
        demand(blocks[0] == expected[0], "messages: a turn with thinking must begin with it")
    rest = [block for block in blocks if block not in thoughts]
    demand([block.get("text") for block in rest[:1]] == [story.LEAD_IN], f"messages: the assistant said {rest}")
    calls = [{name: block.get(name) for name in ("type", "id", "name", "input")} for block in rest[1:]]
    demand(calls == [_call(city) for city in story.CITIES], f"messages: the calls are {calls}")
    results = [(block["tool_use_id"], _text(block.get("content"))) for block in _content(told)]
    story.demand_results(results, IDS)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content or [])


def _usage(output: int = story.OUTPUT_TOKENS) -> dict[str, Any]:
    cache = {"cache_creation_input_tokens": 10, "cache_read_input_tokens": 30}
    return {"input_tokens": story.INPUT_TOKENS - 40, **cache, "output_tokens": output, "service_tier": "standard"}


def _events(head: dict[str, Any], blocks: list[Block], stop: str) -> list[bytes]:
    message = {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": _usage(1)}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    for index, block in enumerate(blocks):
        opening, deltas = _opened(block)
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "ping"}] if index == 0 else []
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    usage = {"output_tokens": story.OUTPUT_TOKENS}
    events.append({"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage})
    events.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def _opened(block: Block) -> tuple[Block, list[Block]]:
    """A block's start, and the deltas that fill it."""
    if block["type"] == "thinking":
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in story.pieces(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
        return {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [
            {"type": "text_delta", "text": piece} for piece in story.pieces(block["text"])
        ]
    arguments = story.pieces(json.dumps(block["input"]))
    return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *arguments)]
