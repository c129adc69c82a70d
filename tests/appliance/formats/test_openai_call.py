"""Whole tool calls: ids that are missing, arguments of odd types, thought signatures."""

from __future__ import annotations

import re
from typing import Any

import pytest

from appliance.formats.chat import ToolCallPart
from appliance.formats.openai_call import arguments_text, call_object, call_part, call_signature, new_call_id


def test_a_call_goes_out_and_comes_back() -> None:
    part = ToolCallPart("call_1", "look", '{"a": 1}', signature="sig", origin="google")
    assert call_object(part)["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert call_part(call_object(part)) == part
    assert "extra_content" not in call_object(ToolCallPart("call_1", "look"))


@pytest.mark.parametrize("call_id", ["", None, 7])
def test_a_call_without_an_id_gets_one(call_id: Any) -> None:
    part = call_part({"id": call_id, "function": {"name": "look", "arguments": ""}})
    assert part is not None
    assert re.fullmatch(r"call_[0-9a-f]{24}", part.id)
    assert part.arguments == "{}"
    assert new_call_id() != new_call_id()


@pytest.mark.parametrize("call", [None, "x", {}, {"function": None}, {"function": {}}, {"function": {"name": ""}}])
def test_what_names_no_function_is_no_call(call: Any) -> None:
    assert call_part(call) is None


def test_a_custom_tool_s_call_has_its_input_for_arguments() -> None:
    part = call_part({"id": "c", "type": "custom", "custom": {"name": "sh", "input": "ls"}})
    assert part == ToolCallPart("c", "sh", "ls")


def test_arguments_are_text() -> None:
    assert arguments_text(None) == ""
    assert arguments_text(" {} ") == " {} "
    assert arguments_text({"a": [1]}) == '{"a":[1]}'


@pytest.mark.parametrize("extra", [None, {}, {"google": None}, {"google": {}}, {"google": {"thought_signature": ""}}])
def test_no_signature(extra: Any) -> None:
    assert call_signature(extra) is None
