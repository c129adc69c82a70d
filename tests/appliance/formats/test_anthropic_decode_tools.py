from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_decode_tools import decode_tool, decode_tool_choice
from appliance.formats.chat import Tool, ToolChoice
from appliance.formats.members import Members

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}


def test_a_tool_of_the_callers_own() -> None:
    small = {"name": "find", "input_schema": SCHEMA}
    full = small | {
        "type": "custom",
        "description": "Finds.",
        "strict": True,
        "cache_control": {"type": "ephemeral"},
        "eager_input_streaming": True,
        "defer_loading": False,
        "allowed_callers": ["direct"],
    }
    assert decode_tool(small, "tools.0") == Tool("find", parameters=SCHEMA)
    assert decode_tool(full, "tools.0") == Tool("find", "Finds.", SCHEMA, True, {"type": "ephemeral"})


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "web_search_20250305", "name": "web_search"}, "type"),
        ({"type": "bash_20250124", "name": "bash"}, "type"),
        ({"type": 5}, "type"),
        ({"name": "find"}, "input_schema"),
        ({"input_schema": SCHEMA}, "name"),
        ({"name": "find", "input_schema": []}, "input_schema"),
        ({"name": "find", "input_schema": SCHEMA, "defer_loading": True}, "defer_loading"),
        ({"name": "find", "input_schema": SCHEMA, "input_examples": [{}]}, "input_examples"),
        ({"name": "find", "input_schema": SCHEMA, "allowed_callers": ["code_execution_20250825"]}, "allowed_callers"),
    ],
)
def test_what_reaches_anthropic_only_or_is_wrong_is_named(tool: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_tool(tool, "tools.3")
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", f"tools.3.{param}")


@pytest.mark.parametrize(
    ("choice", "decoded"),
    [
        ({"type": "auto"}, (ToolChoice("auto"), None)),
        ({"type": "auto", "disable_parallel_tool_use": True}, (ToolChoice("auto"), False)),
        ({"type": "any", "disable_parallel_tool_use": False}, (ToolChoice("required"), None)),
        ({"type": "none"}, (ToolChoice("none"), None)),
        ({"type": "tool", "name": "find"}, (ToolChoice("tool", "find"), None)),
    ],
)
def test_choices(choice: dict[str, Any], decoded: tuple[ToolChoice, bool | None]) -> None:
    assert decode_tool_choice(Members(choice, "tool_choice")) == decoded


def test_a_wrong_choice_is_named() -> None:
    assert decode_tool_choice(None) == (None, None)
    for choice, param in (({"type": "required"}, "type"), ({"type": "tool"}, "name"), ({}, "type")):
        with pytest.raises(GatewayError) as caught:
            decode_tool_choice(Members(choice, "tool_choice"))
        assert caught.value.param == f"tool_choice.{param}"
