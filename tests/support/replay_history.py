"""An answer of the gateway as the next turn's history, the way each dialect's clients send it back."""

from __future__ import annotations

import json
from typing import Any

from support.replay_dialects import ANTHROPIC, NATIVE, RESPONSES, Dialect
from support.replay_read import events

_JOINED = ("content", "refusal", "reasoning", "reasoning_content")


def history(dialect: Dialect, body: bytes, *, stream: bool) -> list[Any]:
    """The conversation so far and the next question: `messages`, or `input` of Responses."""
    if dialect is RESPONSES:
        items = (events(body)[-1][1]["response"] if stream else json.loads(body))["output"]
        calls = [item["call_id"] for item in items if item["type"] == "function_call"]
        results = [{"type": "function_call_output", "call_id": call_id, "output": "done"} for call_id in calls]
        return [_user("hi"), *items, *results, _user("and now?")]
    if dialect is ANTHROPIC:
        blocks = _blocks(body) if stream else json.loads(body)["content"]
        results = [_result(block["id"]) for block in blocks if block["type"] == "tool_use"]
        question = [*results, {"type": "text", "text": "and now?"}]
        return [_user("hi"), {"role": "assistant", "content": blocks}, {"role": "user", "content": question}]
    message = _message(body) if stream else _whole(dialect, body)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in message.get("tool_calls") or []
    ]
    return [_user("hi"), message, *results, _user("and now?")]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _result(call_id: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": "done"}


def _whole(dialect: Dialect, body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    choices = (answer["data"] if dialect is NATIVE else answer)["choices"]
    message: dict[str, Any] = choices[0]["message"]
    return message


def _message(body: bytes) -> dict[str, Any]:
    """The deltas of the first choice, joined as OpenAI's clients do."""
    message: dict[str, Any] = {"role": "assistant", "content": None}
    calls: dict[int, dict[str, Any]] = {}
    for _, chunk in events(body):
        choices = chunk["choices"] if isinstance(chunk, dict) else []
        for delta in (choice["delta"] for choice in choices if choice["index"] == 0):
            for name in _JOINED:
                if delta.get(name):
                    message[name] = (message.get(name) or "") + delta[name]
            for entry in delta.get("reasoning_details") or []:
                message.setdefault("reasoning_details", []).append(entry)
            for piece in delta.get("tool_calls") or []:
                _grow(calls, piece)
    if calls:
        message["tool_calls"] = list(calls.values())
    return message


def _grow(calls: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    rest = {name: value for name, value in piece.items() if name not in ("index", "function")}
    call = calls.setdefault(piece["index"], rest | {"function": {"name": "", "arguments": ""}})
    for name in ("name", "arguments"):
        call["function"][name] += piece["function"].get(name) or ""


def _blocks(body: bytes) -> list[dict[str, Any]]:
    """The blocks, joined as Anthropic's clients do."""
    blocks: list[dict[str, Any]] = []
    inputs: list[str] = []
    for _, event in events(body):
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
            inputs.append("")
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            inputs[event["index"]] += delta.get("partial_json", "")
            for name in ("text", "thinking", "signature", "content"):
                if name in delta:
                    block[name] = (block.get(name) or "") + delta[name]
            if "citation" in delta:
                block["citations"] = [*(block.get("citations") or []), delta["citation"]]
    for block, text in zip(blocks, inputs, strict=True):
        if text:
            block["input"] = json.loads(text)
    return blocks
