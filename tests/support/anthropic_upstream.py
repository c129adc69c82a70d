"""A small server of Anthropic's Messages dialect for support.upstream: refuses what Anthropic would, answers the rest.

It says `You said: …`, calls the first tool when one is offered and the last turn holds no result, and fills an
`output_config.format` schema with {"city": "Paris", "degrees": 21}.
"""

from __future__ import annotations

import json
from typing import Any

from support.upstream import Call

ANSWER = {"city": "Paris", "degrees": 21}


async def answer(call: Call) -> None:
    problem = _problem(call)
    if problem:
        status, kind, message = problem
        await call.reply(status, {"type": "error", "error": {"type": kind, "message": message}})
        return
    blocks = _blocks(call.json)
    stop = "tool_use" if blocks[-1]["type"] == "tool_use" else "end_turn"
    usage = {"input_tokens": 11, "output_tokens": 5, "cache_read_input_tokens": 2, "cache_creation_input_tokens": 1}
    reply: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": call.json["model"]}
    if not call.json.get("stream"):
        body = reply | {"content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": usage}
        await call.reply(200, body)
        return
    await call.stream(_events(reply, blocks, stop, usage))


def _problem(call: Call) -> tuple[int, str, str] | None:
    if call.path != "/v1/messages":
        return 404, "not_found_error", f"no {call.path}"
    if call.headers.get("x-api-key") != "sk-ant-test":
        return 401, "authentication_error", "invalid x-api-key"
    if "anthropic-version" not in call.headers:
        return 400, "invalid_request_error", "anthropic-version: header is required"
    body = call.json
    if not isinstance(body.get("max_tokens"), int):
        return 400, "invalid_request_error", "max_tokens: Field required"
    turns = body["messages"]
    for place, turn in enumerate(turns):
        if turn["role"] != ("user" if place % 2 == 0 else "assistant"):
            return 400, "invalid_request_error", f"messages.{place}: roles must alternate"
    if body["model"] == "claude-busy":
        return 529, "overloaded_error", "Overloaded"
    return None


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    last = body["messages"][-1]["content"]
    results = [block for block in last if isinstance(block, dict) and block["type"] == "tool_result"]
    text = " ".join(block["text"] for block in last if isinstance(block, dict) and block["type"] == "text")
    if body.get("output_config", {}).get("format"):
        return [{"type": "text", "text": json.dumps(ANSWER)}]
    if body.get("tools") and not results:
        name = body["tools"][0]["name"]
        arguments = {"city": "Paris"}
        return [
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": name, "input": arguments},
        ]
    if results:
        return [{"type": "text", "text": f"The tool said: {results[0]['content']}"}]
    return [{"type": "text", "text": f"You said: {text}"}]


def _events(message: dict[str, Any], blocks: list[dict[str, Any]], stop: str, usage: dict[str, int]) -> list[bytes]:
    start = message | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": start}, {"type": "ping"}]
    for index, block in enumerate(blocks):
        if block["type"] == "text":
            opening: dict[str, Any] = {"type": "text", "text": ""}
            pieces = [{"type": "text_delta", "text": piece} for piece in _pieces(block["text"])]
        else:
            opening = block | {"input": {}}
            text = json.dumps(block["input"])
            pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in _pieces(text)]
        events.append({"type": "content_block_start", "index": index, "content_block": opening})
        events += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        events.append({"type": "content_block_stop", "index": index})
    delta = {"stop_reason": stop, "stop_sequence": None}
    events.append({"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}})
    events.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def _pieces(text: str) -> list[str]:
    return [text[place : place + 5] for place in range(0, len(text), 5)]
