"""`previous_response_id` resolved: the items of earlier turns put before the caller's `input`.

Must not find the items; the gateway does.
"""

from __future__ import annotations

from typing import Any


def expanded(body: dict[str, Any], history_items: list[Any]) -> dict[str, Any]:
    """The body as if the caller had sent the whole conversation. Earlier `instructions` do not come back: the dialect
    lets each turn have its own."""
    rest = {name: value for name, value in body.items() if name != "previous_response_id"}
    return rest | {"input": [*history_items, *items_of_input(body.get("input"))]}


def items_of_input(value: Any) -> list[Any]:
    """`input` as items; text is a user's message. What is neither is left for the request's own checks to name."""
    if value is None:
        return []
    return value if isinstance(value, list) else [{"type": "message", "role": "user", "content": value}]
