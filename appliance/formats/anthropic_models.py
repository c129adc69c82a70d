"""What Claude models take and refuse, by name: the rows below are all the gateway knows of it.

Rows are applied in order, so a later one overrides an earlier one. A name that no row knows (another vendor's model
behind this dialect) has the defaults of Habits: a request wrongly let through is answered by the provider. The names
are found anywhere in the upstream model's name, since other hosts put a prefix before it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

LOW_TO_HIGH = ("low", "medium", "high")
ALL_EFFORTS = (*LOW_TO_HIGH, "xhigh", "max")


class Habits(Struct, frozen=True):
    """`efforts`: words that `output_config.effort` takes; none: the model does not know the member.

    `effort_thinks`: what an asked effort means for `thinking`: the adaptive kind, a budget, or nothing.
    `off`: the type of `thinking` that switches it off; None: it cannot be switched off.
    """

    thinks: bool = True
    adaptive: bool = False
    budgets: bool = True
    thinks_unasked: bool = False
    hides_thoughts: bool = False
    off: str | None = "disabled"
    efforts: tuple[str, ...] = ALL_EFFORTS
    effort_thinks: Literal["adaptive", "budget", ""] = ""
    samples: bool = True
    forced_tools: bool = True
    prefill: bool = True
    schemas: bool = True


_ROWS: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"claude-", {"efforts": (), "effort_thinks": "budget"}),
    (r"claude-(?:2|instant|3-(?:opus|sonnet|haiku)|3[-.]5)", {"thinks": False, "effort_thinks": ""}),
    # …-4-2 are the dated names of May 2025.
    (r"claude-(?:2|3|instant|(?:opus|sonnet)-4(?:-[02]|@|$))", {"schemas": False}),
    (r"claude-opus-4[-.]5", {"efforts": LOW_TO_HIGH}),
    (
        r"claude-(?:opus|sonnet)-4[-.]6",
        {"efforts": (*LOW_TO_HIGH, "max"), "adaptive": True, "effort_thinks": "adaptive", "prefill": False},
    ),
    (
        r"claude-(?:(?:opus|sonnet|haiku)-(?:4[-.][7-9]|[5-9])|fable|mythos)",
        {
            "efforts": ALL_EFFORTS,
            "adaptive": True,
            "effort_thinks": "adaptive",
            "budgets": False,
            "hides_thoughts": True,
            "samples": False,
            "prefill": False,
        },
    ),
    (r"claude-(?:(?:opus|sonnet|haiku)-[5-9]|fable|mythos)", {"thinks_unasked": True}),
    (r"claude-mythos-preview", {"budgets": True}),
    (r"claude-(?:opus-5[-.]5|fable|mythos)", {"off": None}),
    (r"claude-sonnet-5[-.]5", {"off": "between_tools"}),
    (r"claude-(?:(?:opus|sonnet)-5[-.]5|(?:fable|mythos)-5[-.][1-9])", {"forced_tools": False}),
)
"""Part of a model's name (a regular expression) → where it differs from the defaults and the rows above."""


@lru_cache(maxsize=1024)
def habits_of(upstream_model: str) -> Habits:
    name = upstream_model.lower()
    differences: dict[str, Any] = {}
    for pattern, row in _ROWS:
        if re.search(pattern, name):
            differences |= row
    return Habits(**differences)
