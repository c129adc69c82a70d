"""`tools` and `tool_choice` of a caller's request in the Responses dialect → Tool, ToolChoice.

Only functions have a canonical form; built-in and custom tools are refused by name. `allowed_tools` becomes the tools
that are allowed: the others may not be called, so nothing else may come of them.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from appliance.errors import invalid
from appliance.formats.chat import Tool, ToolChoice
from appliance.formats.members import Members, kind

_MODES = ("auto", "none", "required")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "allowed_callers": (["direct"],),
    "async": (False,),
    "defer_loading": (False,),
}
"""Members of a function that change who calls it or when, and the values that change nothing."""

_ELSEWHERE = "works only where the target speaks the Responses dialect itself"


def decode_tools(members: Members) -> tuple[list[Tool], ToolChoice | None]:
    tools = [_tool(Members(value, f"tools.{i}")) for i, value in enumerate(members.items("tools"))]
    choice = members.value("tool_choice")
    if choice is None:
        return tools, None
    if isinstance(choice, str):
        return tools, _mode(members, "tool_choice", _MODES)
    named = Members(choice, "tool_choice")
    if named.word("type", ("function", "allowed_tools")) == "function":
        return tools, ToolChoice("tool", named.needed_text("name"))
    allowed = [
        _allowed(Members(value, f"{named.at('tools')}.{i}"), tools) for i, value in enumerate(named.items("tools"))
    ]
    if not allowed:
        raise invalid(named.at("tools"), "must name at least one tool")
    return [tool for tool in tools if tool.name in allowed], _mode(named, "mode", ("auto", "required"))


def _mode(members: Members, name: str, words: tuple[str, ...]) -> ToolChoice:
    return ToolChoice(cast(Literal["auto", "none", "required"], members.word(name, words)))


def _allowed(entry: Members, tools: list[Tool]) -> str:
    entry.word("type", ("function",))
    name = entry.needed_text("name")
    if not any(tool.name == name for tool in tools):
        raise invalid(entry.at("name"), f'"{name}" is none of the tools')
    return name


def _tool(tool: Members) -> Tool:
    said = tool.needed("type")
    if said != "function":
        shown = f'"{said}"' if isinstance(said, str) else kind(said)
        raise invalid(tool.at("type"), f'must be "function", not {shown}: a tool of another type {_ELSEWHERE}')
    for name, neutral in _NEUTRAL.items():
        if tool.value(name) is not None and tool.value(name) not in neutral:
            raise invalid(tool.at(name), _ELSEWHERE)
    return Tool(
        name=tool.needed_text("name"),
        description=tool.text("description"),
        parameters=tool.plain_object("parameters"),
        strict=tool.flag("strict"),
    )
