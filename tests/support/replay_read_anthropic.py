"""Anthropic's messages, whole and streamed → Answer. Blocks of server tools are neither text nor the caller's calls."""

from __future__ import annotations

import json
from typing import Any

from appliance.formats.chat import Usage
from support.grammar import Answer, Call, Problem

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_GROWING = ("text", "thinking", "signature")


def whole(body: dict[str, Any]) -> Answer:
    answer = Answer(id=body["id"], model=body["model"])
    said = answer.choice()
    for block in body["content"]:
        if block["type"] == "text":
            said.text += block["text"]
            said.citations += block.get("citations") or []
        elif block["type"] == "thinking":
            said.reasoning += block["thinking"]
            said.opaque += [block["signature"]] if block["signature"] else []
        elif block["type"] == "redacted_thinking":
            said.opaque.append(block["data"])
        elif block["type"] == "tool_use":
            said.calls.append(Call(block["id"], block["name"], json.dumps(block["input"])))
    _stop(body, answer)
    answer.usage = usage(body["usage"])
    answer.complete = True
    return answer


def stream(events: list[tuple[str, Any]]) -> Answer:
    """The blocks are put together, and read like a whole answer's."""
    message: dict[str, Any] = {}
    blocks: list[dict[str, Any]] = []
    for _, event in events:
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                blocks.append(event["content_block"] | {"json": ""})
            case "content_block_delta":
                _grow(blocks[event["index"]], event["delta"])
            case "message_delta":
                message |= event["delta"]
                message["usage"] = message["usage"] | event["usage"]
            case "error":
                answer = whole(message | {"content": blocks})
                answer.error, answer.complete = Problem(event["error"]["message"]), False
                return answer
    for block in blocks:
        if block["json"]:
            block["input"] = json.loads(block["json"])
    answer = whole(message | {"content": blocks})
    answer.complete = events[-1][1]["type"] == "message_stop"
    return answer


def _grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    for name in _GROWING:
        block[name] = block.get(name, "") + delta.get(name, "")
    block["json"] += delta.get("partial_json", "")
    if "citation" in delta:
        block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def _stop(message: dict[str, Any], answer: Answer) -> None:
    said = answer.choice()
    said.native_finish, said.stop_sequence = message["stop_reason"], message["stop_sequence"]
    said.finish_reason = None if said.native_finish is None else FINISH[said.native_finish]
    said.refusal = (message.get("stop_details") or {}).get("explanation") or ""


def usage(counts: dict[str, Any]) -> Usage:
    """Where the server went through several rounds, `iterations` has them all and the top level the last."""
    rounds = counts.get("iterations") or [counts]
    cached = sum(each.get("cache_read_input_tokens") or 0 for each in rounds)
    written = sum(each.get("cache_creation_input_tokens") or 0 for each in rounds)
    return Usage(
        input_tokens=sum(each["input_tokens"] for each in rounds) + cached + written,
        output_tokens=sum(each["output_tokens"] for each in rounds),
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=(counts.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )
