"""Small upstreams of the four chat dialects that tell what they were told, and calls' conversations in one plain form.

A model whose name ends in `calls` calls the first tool until a result is there.
"""

from __future__ import annotations

import json
from typing import Any

from support.upstream import DONE, Call, chunk, completion

Turn = tuple[str, str]
"""Role and text; a call is ("call", NAME), a result ("result", TEXT)."""
TOOL = "get_weather"
ARGUMENTS = {"city": "Paris"}
SPENT = {"openai": (7, 3), "responses": (8, 4), "anthropic": (9, 5), "google": (10, 6)}
"""Input and output tokens that each reports."""


def dialect_of(call: Call) -> str:
    ends = {"/chat/completions": "openai", "/responses": "responses", "/messages": "anthropic"}
    return next((dialect for end, dialect in ends.items() if call.path.endswith(end)), "google")


async def play(call: Call) -> None:
    turns = turns_of(call)
    dialect = dialect_of(call)
    name = call.path if dialect == "google" else call.model
    calls = "calls" in name and not any(role == "result" for role, _ in turns)
    text = f"{dialect} heard {len(turns)}"
    is_stream = "streamGenerate" in call.path if dialect == "google" else bool(call.json.get("stream"))
    answer = {"openai": _openai, "responses": _responses, "anthropic": _anthropic, "google": _google}[dialect]
    body, pieces = answer(text, calls, call.number)
    if is_stream:
        await call.stream(pieces)
    else:
        await call.reply(200, body)


# -- what was told ----------------------------------------------------------------------------------------------------


def turns_of(call: Call) -> list[Turn]:
    body = call.json
    match dialect_of(call):
        case "openai":
            return [turn for message in body["messages"] for turn in _openai_turns(message)]
        case "responses":
            said = body["input"]
            items = [{"role": "user", "content": said}] if isinstance(said, str) else said
            return [turn for item in items for turn in _responses_turns(item)]
        case "anthropic":
            system = [("system", text_in(body["system"]))] if body.get("system") else []
            return system + [turn for message in body["messages"] for turn in _anthropic_turns(message)]
    system = body.get("systemInstruction") or body.get("system_instruction")
    shown = [("system", text_in(system["parts"]))] if system else []
    return shown + [turn for content in body["contents"] for turn in _google_turns(content)]


def text_in(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())


def _openai_turns(message: dict[str, Any]) -> list[Turn]:
    if message["role"] == "tool":
        return [("result", text_in(message["content"]))]
    calls = [("call", each["function"]["name"]) for each in message.get("tool_calls") or ()]
    text = text_in(message.get("content"))
    role = "system" if message["role"] == "developer" else message["role"]
    return ([(role, text)] if text else []) + calls


def _responses_turns(item: dict[str, Any]) -> list[Turn]:
    if item.get("type") == "function_call":
        return [("call", item["name"])]
    if item.get("type") == "function_call_output":
        return [("result", text_in(item["output"]))]
    return [(item["role"], text_in(item["content"]))] if "role" in item else []


def _anthropic_turns(message: dict[str, Any]) -> list[Turn]:
    turns: list[Turn] = []
    content = message["content"]
    for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
        if block["type"] == "text":
            turns.append((message["role"], block["text"]))
        elif block["type"] == "tool_use":
            turns.append(("call", block["name"]))
        elif block["type"] == "tool_result":
            turns.append(("result", text_in(block["content"])))
    return turns


def _google_turns(content: dict[str, Any]) -> list[Turn]:
    role = {"model": "assistant"}.get(content["role"], content["role"])
    turns: list[Turn] = []
    for part in content["parts"]:
        if "functionCall" in part:
            turns.append(("call", part["functionCall"]["name"]))
        elif "functionResponse" in part:
            result = part["functionResponse"]["response"]
            turns.append(("result", str(next(iter(result.values())))))
        elif "text" in part:
            turns.append((role, part["text"]))
    return turns


# -- answers: whole, and as the pieces of a stream --------------------------------------------------------------------


def _openai(text: str, calls: bool, number: int) -> tuple[Any, list[bytes]]:
    spent = _openai_usage("openai", "prompt_tokens", "completion_tokens")
    if not calls:
        words = [chunk({"content": word}) for word in (text[:4], text[4:])]
        pieces = [
            chunk({"role": "assistant", "content": ""}),
            *words,
            chunk({}, "stop"),
            chunk(None, usage=spent),
            DONE,
        ]
        return completion(text, usage=spent), pieces
    function = {"name": TOOL, "arguments": json.dumps(ARGUMENTS)}
    made = {"id": f"call_{number}", "type": "function", "function": function}
    message = {"role": "assistant", "content": None, "tool_calls": [made]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    delta = {"role": "assistant", "tool_calls": [{"index": 0, **made}]}
    pieces = [chunk(delta), chunk({}, "tool_calls"), chunk(None, usage=spent), DONE]
    return completion("", choices=[choice], usage=spent), pieces


def _openai_usage(dialect: str, entered: str, made: str) -> dict[str, int]:
    counts = SPENT[dialect]
    return {entered: counts[0], made: counts[1], "total_tokens": sum(counts)}


def _responses(text: str, calls: bool, number: int) -> tuple[Any, list[bytes]]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    item: dict[str, Any] = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed"}
    item |= {"content": content}
    if calls:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": TOOL}
        item |= {"arguments": json.dumps(ARGUMENTS), "status": "completed"}
    usage = _openai_usage("responses", "input_tokens", "output_tokens") | {
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    body = {
        "id": "resp_the_same_each_time",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": "up",
        "output": [item],
        "usage": usage,
        "error": None,
        "incomplete_details": None,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
    }
    return body, []


def _anthropic(text: str, calls: bool, number: int) -> tuple[Any, list[bytes]]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if calls:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": TOOL, "input": ARGUMENTS}
    stop = "tool_use" if calls else "end_turn"
    entered, made = SPENT["anthropic"]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "stop_sequence": None}
    whole = message | {"content": [block], "stop_reason": stop}
    usage = {"input_tokens": entered, "output_tokens": made}
    delta = {"type": "input_json_delta", "partial_json": json.dumps(ARGUMENTS)}
    empty: dict[str, Any] = {"input": {}} if calls else {"text": ""}
    begun = block | empty
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message | {"content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": delta if calls else {"type": "text_delta", "text": text},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return whole | {"usage": usage}, [f"event: {e['type']}\ndata: {json.dumps(e)}\n\n".encode() for e in events]


def _google(text: str, calls: bool, number: int) -> tuple[Any, list[bytes]]:
    part: dict[str, Any] = {"text": text}
    if calls:
        part = {"functionCall": {"name": TOOL, "args": ARGUMENTS}, "thoughtSignature": "c2lnbmF0dXJl"}
    candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
    entered, made = SPENT["google"]
    usage = {"promptTokenCount": entered, "candidatesTokenCount": made, "totalTokenCount": entered + made}
    body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "up", "responseId": f"g{number}"}
    return body, [b"data: " + json.dumps(body).encode() + b"\r\n\r\n"]
