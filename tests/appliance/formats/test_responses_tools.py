from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Tool, ToolChoice
from appliance.formats.members import Members
from appliance.formats.responses_tools import decode_tools


def function(name: str, **members: Any) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": {"type": "object"}, **members}


def decoded(**body: Any) -> tuple[list[Tool], ToolChoice | None]:
    return decode_tools(Members(body))


def test_functions_keep_what_they_say() -> None:
    tool = function("f", description="d", strict=True, defer_loading=False, allowed_callers=["direct"])
    assert decoded(tools=[tool, function("g", parameters=None)]) == (
        [Tool("f", "d", {"type": "object"}, True), Tool("g")],
        None,
    )


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, None),
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "name": "f"}, ToolChoice("tool", "f")),
    ],
)
def test_choices(choice: Any, expected: ToolChoice | None) -> None:
    assert decoded(tools=[function("f")], tool_choice=choice)[1] == expected


def test_tools_that_are_not_allowed_are_not_there() -> None:
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    tools, choice = decoded(tools=[function("f"), function("g")], tool_choice=allowed)
    assert ([tool.name for tool in tools], choice) == (["g"], ToolChoice("required"))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [function("f"), {"type": "custom", "name": "patch"}]}, "tools.1.type"),
        ({"tools": [{"name": "f"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [function("f", defer_loading=True)]}, "tools.0.defer_loading"),
        ({"tools": [function("f", **{"async": True})]}, "tools.0.async"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice.tools"),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "x"}]}},
            "tool_choice.tools.0.name",
        ),
        (
            {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}},
            "tool_choice.tools.0.type",
        ),
        (
            {
                "tools": [function("f")],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "none",
                    "tools": [{"type": "function", "name": "f"}],
                },
            },
            "tool_choice.mode",
        ),
    ],
)
def test_what_cannot_be_carried_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decoded(**body)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)
