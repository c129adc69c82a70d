"""A caller's `input` as the list of a response's input items shows it: with id, type and status, its text in parts.

Must not change what is kept: the next call goes on from what the caller sent.
"""

from __future__ import annotations

from typing import Any

_WITHOUT_STATUS = ("mcp_approval_request", "mcp_approval_response", "mcp_list_tools", "item_reference", "compaction")


def shown_items(items: list[Any], response_id: str) -> list[dict[str, Any]]:
    """Ids that the caller did not give are made of the response's own: the same at every look."""
    return [_shown(item, f"item_{response_id.removeprefix('resp_')}_{place}") for place, item in enumerate(items)]


def _shown(item: dict[str, Any], made_id: str) -> dict[str, Any]:
    kind = item.get("type") or "message"
    shown = {"id": made_id, "type": kind, **{name: value for name, value in item.items() if value is not None}}
    if kind not in _WITHOUT_STATUS:
        shown.setdefault("status", "completed")
    if kind == "message" and isinstance(shown.get("content"), str):
        shown["content"] = [_part(shown["content"], shown.get("role"))]
    return shown


def _part(text: str, role: Any) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}
