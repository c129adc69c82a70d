"""The requests of a coding agent in Anthropic's dialect: long system with cache marks, many tools, screenshots.

`turn` is its second one: the model thought and called two tools, and their results come back, one of them a picture.
"""

from __future__ import annotations

import base64
from typing import Any

from support import sdk_story as story
from support.sdk_units import PNG

CACHED = {"type": "ephemeral"}
BETAS = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": BETAS,
    "anthropic-dangerous-direct-browser-access": "true",
    "x-app": "cli",
    "user-agent": "agent-cli/2.0 (external, cli)",
    "x-stainless-lang": "js",
    "x-stainless-retry-count": "0",
}
IDS = ("toolu_01AAAAAAAAAAAAAAAAAAAA", "toolu_01BBBBBBBBBBBBBBBBBBBB")
THOUGHT = "First the listing, then the screenshot."
SIGNATURE = "EqQBCkYIBxgCKkD" + "a1B2c3D4+/" * 30 + "=="
LISTING = "main.py\nREADME.md\nGrüße 👋"
ANSWER = "The screenshot shows a lighthouse. 🗼"
IMAGE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}


def tools() -> list[dict[str, Any]]:
    made = [_tool(number) for number in range(20)]
    made[-1]["cache_control"] = CACHED
    return made


def _tool(number: int) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "path": {"type": "string", "description": "an absolute path"},
        "depth": {"type": "integer", "minimum": 0, "maximum": 9, "default": 1},
        "edits": {"type": "array", "items": {"type": "object", "properties": {"old": {"type": "string"}}}},
        "mode": {"anyOf": [{"type": "string", "enum": ["text", "image"]}, {"type": "null"}]},
    }
    schema: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    }
    schema |= {"properties": properties, "required": ["path"], "additionalProperties": False}
    return {"name": f"Tool_{number}", "description": f"Does thing {number}. " * 40, "input_schema": schema}


def turn(model: str) -> dict[str, Any]:
    rules = "You are an agent. " * 800
    system = [{"type": "text", "text": "You are a CLI."}, {"type": "text", "text": rules, "cache_control": CACHED}]
    asked = [
        {"type": "text", "text": "<reminder>Today is a good day.</reminder>"},
        {"type": "text", "text": "What does the page look like?", "cache_control": CACHED},
    ]
    said = [
        {"type": "thinking", "thinking": THOUGHT, "signature": SIGNATURE},
        {"type": "text", "text": "I look at both."},
        {"type": "tool_use", "id": IDS[0], "name": "Tool_1", "input": {"path": "/srv"}},
        {"type": "tool_use", "id": IDS[1], "name": "Tool_2", "input": {"path": "/srv/page.png", "mode": "image"}},
    ]
    told = [
        {"type": "tool_result", "tool_use_id": IDS[0], "content": LISTING},
        {
            "type": "tool_result",
            "tool_use_id": IDS[1],
            "content": [{"type": "text", "text": "a screenshot"}, {"type": "image", "source": IMAGE}],
            "is_error": False,
            "cache_control": CACHED,
        },
    ]
    return {
        "model": model,
        "max_tokens": 8000,
        "system": system,
        "tools": tools(),
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": said},
            {"role": "user", "content": told},
        ],
        "metadata": {"user_id": "user_" + "0123456789abcdef" * 8},
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "medium"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    }


def pieces() -> list[str]:
    return story.pieces(ANSWER, 4)
