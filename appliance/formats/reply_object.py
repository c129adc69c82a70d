"""What every upstream's JSON reply must be before its modality reads it: JSON, an object, and no error in disguise.

Must not know any modality.
"""

from __future__ import annotations

from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.formats.openai_error import error_in


def reply_object(body: bytes) -> dict[str, Any]:
    """The reply as an object; a 200 that tells of an error is none."""
    value = reply_value(body)
    if not isinstance(value, dict):
        raise mismatch("is no JSON object")
    if value.get("error"):
        raise mismatch(f"is an error with status 200: {error_in(value).message}")
    return value


def reply_value(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise mismatch("is no JSON") from fault


def mismatch(what: str) -> GatewayError:
    return GatewayError("UPSTREAM_SHAPE_MISMATCH", f"the upstream's answer {what}")


def count(value: Any) -> int | None:
    """A count of tokens or the like; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < 2**53 and value == value // 1 else None


def object_in(value: Any) -> dict[str, Any]:
    """A member that should be an object; an empty one where it is something else."""
    return value if isinstance(value, dict) else {}
