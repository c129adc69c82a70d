"""Tool calls in OpenAI's chat form, whole: JSON object ↔ ToolCallPart.

Google's thought signature of a call travels where Google's own OpenAI-compatible API puts it:
`tool_calls[].extra_content.google.thought_signature`. A custom tool's call is read as a call whose arguments are its
input, so that it is counted; it is never written, since only OpenAI's own dialect has such tools.
"""

from __future__ import annotations

import uuid
from typing import Any

import msgspec

from appliance.formats.chat import ToolCallPart


def new_call_id() -> str:
    """An id for a call whose upstream gave none; without one the caller could not answer it."""
    return f"call_{uuid.uuid4().hex[:24]}"


def call_part(call: Any) -> ToolCallPart | None:
    """A call of an answer; None for what names no function."""
    if not isinstance(call, dict):
        return None
    function, custom = call.get("function"), call.get("custom")
    if not isinstance(function, dict):
        function = {"name": custom.get("name"), "arguments": custom.get("input")} if isinstance(custom, dict) else {}
    name = function.get("name")
    if not isinstance(name, str) or not name:
        return None
    call_id, signature = call.get("id"), call_signature(call.get("extra_content"))
    return ToolCallPart(
        id=call_id if isinstance(call_id, str) and call_id else new_call_id(),
        name=name,
        arguments=arguments_text(function.get("arguments")) or "{}",
        signature=signature,
        origin="google" if signature else "",
    )


def arguments_text(arguments: Any) -> str:
    """Arguments as JSON text; some servers send the object itself."""
    if arguments is None:
        return ""
    return arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()


def call_signature(extra_content: Any) -> str | None:
    google = extra_content.get("google") if isinstance(extra_content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None


def signature_member(signature: str) -> dict[str, Any]:
    return {"google": {"thought_signature": signature}}


def call_object(part: ToolCallPart) -> dict[str, Any]:
    call: dict[str, Any] = {
        "id": part.id,
        "type": "function",
        "function": {"name": part.name, "arguments": part.arguments},
    }
    if part.signature:
        call["extra_content"] = signature_member(part.signature)
    return call
