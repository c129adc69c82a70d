"""Google's `usageMetadata` → Usage. Its candidates leave the thoughts out, and its prompt what Google's tools brought.

Must not guess: without a count of the prompt or the whole there is no usage, and the caller of this file estimates.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from appliance.formats.reply_object import count


def decode_usage(usage: Any) -> Usage | None:
    """A count that is zero is left out by Google, so a missing one among others is zero."""
    if not isinstance(usage, dict):
        return None
    if count(usage.get("promptTokenCount")) is None and count(usage.get("totalTokenCount")) is None:
        return None
    prompt = _count(usage, "promptTokenCount") + _count(usage, "toolUsePromptTokenCount")
    thoughts = _count(usage, "thoughtsTokenCount")
    return Usage(
        input_tokens=prompt,
        output_tokens=_count(usage, "candidatesTokenCount") + thoughts,
        # The part may not outgrow the whole: prices are taken from the difference.
        cached_input_tokens=min(_count(usage, "cachedContentTokenCount"), prompt),
        reasoning_tokens=thoughts,
    )


def _count(usage: dict[str, Any], name: str) -> int:
    return count(usage.get(name)) or 0
