"""What a Gemini model's name tells of its abilities; a name that tells nothing is trusted with everything.

Must hold no more than what changes a request's or an answer's form: prices and limits stand in the configuration.
"""

from __future__ import annotations

import re

LATEST = 3.0
"""The generation that the aliases (gemini-flash-latest) have reached."""

_NUMBERED = re.compile(r"gemini-(\d+(?:\.\d+)?)")
_ALIAS = re.compile(r"gemini-[a-z-]*latest")


def generation(upstream_model: str) -> float | None:
    """2.5 for gemini-2.5-flash; None for names that do not say, such as those of tuned models."""
    numbered = _NUMBERED.search(upstream_model)
    if numbered:
        return float(numbered[1])
    return LATEST if _ALIAS.search(upstream_model) else None


def is_older_than(upstream_model: str, wanted: float) -> bool:
    """Certainly older: a name that does not say is not."""
    known = generation(upstream_model)
    return known is not None and known < wanted


def is_since(upstream_model: str, wanted: float) -> bool:
    """Certainly that generation or a later one."""
    known = generation(upstream_model)
    return known is not None and known >= wanted


def is_pro(upstream_model: str) -> bool:
    """A model of the large line, which cannot answer without thinking."""
    return "pro" in upstream_model and "flash" not in upstream_model


def makes_images(upstream_model: str) -> bool:
    return "-image" in upstream_model
