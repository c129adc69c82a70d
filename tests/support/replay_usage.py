"""The same usage told by a whole answer and by a stream, in the upstream's own words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from support.replay import Case
from support.replay_read import events
from support.upstream import DONE

MEMBERS = {"chat": "usage", "messages": "usage", "generate": "usageMetadata", "responses": "usage"}


def told_usage(case: Case) -> dict[str, Any] | None:
    """The recording's own usage object, the last that it has; None when it has none."""
    found: dict[str, Any] = {}
    for _, event in events(case.body) if case.stream else [("", json.loads(case.body))]:
        holders = [event, event.get("message"), event.get("response")] if isinstance(event, dict) else []
        for holder in (each for each in holders if isinstance(each, dict)):
            found |= holder.get(MEMBERS[case.api]) or {}
    return found or None


def with_usage(case: Case, usage: dict[str, Any], *, stream: bool) -> Case:
    """The case, but its answer is «hi» with this usage."""
    make = {"chat": _chat, "messages": _messages, "generate": _generate, "responses": _responses}[case.api]
    told = make(case.upstream_model, usage)
    body = told[1] if stream else json.dumps(told[0]).encode()
    kind = "text/event-stream" if stream else "application/json"
    return replace(case, body=body, stream=stream, content_type=kind)


def _chat(model: str, usage: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    frame: dict[str, Any] = {"id": "answer-1", "created": 1, "model": model}
    end = {"index": 0, "finish_reason": "stop"}
    message = {"role": "assistant", "content": "hi"}
    whole = frame | {"object": "chat.completion", "choices": [end | {"message": message}], "usage": usage}
    chunk = frame | {"object": "chat.completion.chunk"}
    first = chunk | {"choices": [{"index": 0, "delta": message, "finish_reason": None}]}
    last = [chunk | {"choices": [end | {"delta": {}}]}, chunk | {"choices": [], "usage": usage}]
    return whole, _lines([first, *last]) + DONE


def _messages(model: str, usage: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    ended = {"stop_reason": "end_turn", "stop_sequence": None}
    block = {"type": "text", "text": "hi"}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "content": [block]}
    opening: dict[str, Any] = {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    return message | ended | {"usage": usage}, _lines(
        [
            {"type": "message_start", "message": message | ended | opening},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ended, "usage": usage},
            {"type": "message_stop"},
        ]
    )


def _generate(model: str, usage: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    said = {"content": {"role": "model", "parts": [{"text": "hi"}]}, "index": 0}
    first = {"candidates": [said], "modelVersion": model, "usageMetadata": {"promptTokenCount": 1}}
    whole = {"candidates": [said | {"finishReason": "STOP"}], "modelVersion": model, "usageMetadata": usage}
    over = {"content": {"role": "model", "parts": [{"text": ""}]}, "finishReason": "STOP", "index": 0}
    return whole, _lines([first, whole | {"candidates": [over]}])


def _responses(model: str, usage: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    part = {"type": "output_text", "text": "hi", "annotations": []}
    item: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed"}
    opened = {"id": "resp_1", "object": "response", "created_at": 1, "model": model, "status": "in_progress"}
    whole = opened | {"status": "completed", "output": [item | {"content": [part]}], "usage": usage}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    ladder: list[dict[str, Any]] = [
        {"type": "response.created", "response": opened | {"output": []}},
        {"type": "response.in_progress", "response": opened | {"output": []}},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": item | {"status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": part | {"text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "hi"},
        {"type": "response.output_text.done", **place, "text": "hi"},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item | {"content": [part]}},
        {"type": "response.completed", "response": whole},
    ]
    return whole, _lines([event | {"sequence_number": number} for number, event in enumerate(ladder)])


def _lines(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        (f"event: {event['type']}\n" if "type" in event else "").encode()
        + b"data: "
        + json.dumps(event).encode()
        + b"\n\n"
        for event in events
    )
