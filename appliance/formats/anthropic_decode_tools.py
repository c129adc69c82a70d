"""A caller's tools and tool choice → Tool, ToolChoice. Tools that Anthropic defines or runs are refused by name."""

from __future__ import annotations

from typing import Any, Literal

from appliance.errors import invalid
from appliance.formats.anthropic_decode_blocks import ELSEWHERE
from appliance.formats.chat import Tool, ToolChoice
from appliance.formats.members import Members, kind

_MODES: dict[str, Literal["auto", "none", "required", "tool"]] = {
    "auto": "auto",
    "any": "required",
    "tool": "tool",
    "none": "none",
}
_MATTERS = ("defer_loading", "input_examples")
"""Members that change what the model reads, and that no other dialect has."""


def decode_tool(value: Any, path: str) -> Tool:
    tool = Members(value, path)
    own = tool.value("type")
    if own not in (None, "custom"):
        said = f'"{own}" is Anthropic\'s own tool and {ELSEWHERE}' if isinstance(own, str) else f"is {kind(own)}"
        raise invalid(tool.at("type"), said)
    for name in _MATTERS:
        if tool.value(name):
            raise invalid(tool.at(name), ELSEWHERE)
    if (callers := tool.value("allowed_callers")) not in (None, ["direct"]):
        raise invalid(tool.at("allowed_callers"), f"{callers!r} {ELSEWHERE}")
    tool.needed_members("input_schema")
    return Tool(
        name=tool.needed_text("name"),
        description=tool.text("description"),
        parameters=tool.plain_object("input_schema"),
        strict=tool.flag("strict"),
        cache=tool.plain_object("cache_control"),
    )


def decode_tool_choice(choice: Members | None) -> tuple[ToolChoice | None, bool | None]:
    """The choice, and False where only one call at a time is wanted."""
    if choice is None:
        return None, None
    mode = _MODES[choice.word("type", tuple(_MODES))]
    name = choice.needed_text("name") if mode == "tool" else None
    parallel = False if choice.flag("disable_parallel_tool_use") else None
    return ToolChoice(mode, name), parallel
