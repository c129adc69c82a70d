"""A call's arguments as JSON text ↔ the `input` object of a tool_use block.

Anthropic's clients take objects only. Arguments that are none (a model's broken JSON) are wrapped, so that the caller
sees what was said, and the same text is found again when the call comes back.
"""

from __future__ import annotations

from typing import Any

import msgspec

RAW_ARGUMENTS = "scaigrid_raw_arguments"


def input_of(arguments: str) -> dict[str, Any]:
    if not arguments.strip():
        return {}
    try:
        decoded = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {RAW_ARGUMENTS: arguments}
    if isinstance(decoded, dict):
        return decoded
    return {} if decoded is None else {RAW_ARGUMENTS: arguments}


def arguments_of(value: dict[str, Any]) -> str:
    if value.keys() == {RAW_ARGUMENTS} and isinstance(value[RAW_ARGUMENTS], str):
        return str(value[RAW_ARGUMENTS])
    return msgspec.json.encode(value).decode()
