from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import ChatRequest, Message, TextPart, Tool
from appliance.formats.google_gaps import HARMLESS, NEUTRAL, own_members, refuse_gaps

HELLO = [Message("user", [TextPart("hello")])]


def _refused(model: str = "gemini-2.5-flash", **members: Any) -> list[str]:
    members = {"messages": HELLO} | members
    try:
        refuse_gaps(ChatRequest("front", **members), model)
    except GatewayError as error:
        return [str(detail["field"]) for detail in error.details or []]
    return []


def test_one_call_at_a_time_is_refused_where_there_are_tools() -> None:
    assert _refused(parallel_tool_calls=False, tools=[Tool("f")]) == ["parallel_tool_calls"]
    assert _refused(parallel_tool_calls=True, tools=[Tool("f")]) == []
    assert _refused(parallel_tool_calls=False) == []


def test_a_begun_answer_cannot_be_continued() -> None:
    begun = [*HELLO, Message("assistant", [TextPart("Once")])]
    assert _refused(messages=begun, prefill=True) == ["messages.1.prefix"]
    assert _refused(messages=begun) == []


def test_a_model_that_makes_images_does_not_stream() -> None:
    assert _refused("gemini-2.5-flash-image", stream=True) == ["stream"]
    assert _refused("gemini-2.5-flash-image") == []
    assert _refused(stream=True) == []


def test_all_gaps_are_named_at_once() -> None:
    extra = {"logit_bias": {"50256": -100}, "web_search_options": {}, "store": True, "verbosity": "low"}
    refused = _refused(parallel_tool_calls=False, tools=[Tool("f")], extra=extra)
    assert refused == ["parallel_tool_calls", "logit_bias", "web_search_options", "verbosity"]


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_member_is_let_go(name: str) -> None:
    assert _refused(extra={name: "anything"}) == []


@pytest.mark.parametrize("name", NEUTRAL)
def test_a_neutral_value_is_let_go_and_another_one_is_not(name: str) -> None:
    assert _refused(extra={name: NEUTRAL[name][0]}) == []
    assert _refused(extra={name: "other"}) == [name]
    assert _refused(extra={name: None}) == []


def test_what_cannot_be_carried_is_accepted_in_neither_spelling_but_googles_own_members_are() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    for name in ("safety_settings", "safetySettings"):
        assert _refused(extra={name: settings}) == []
        assert own_members({name: settings, "store": True}) == {"safetySettings": settings}
    for name in ("cached_content", "cachedContent"):
        assert own_members({name: "cachedContents/1"}) == {"cachedContent": "cachedContents/1"}
    assert own_members({"cached_content": None}) == {}
