"""What both text-completion surfaces read and show alike."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.base import RequestHead
from appliance.formats.chat import (
    ChatEvent,
    ChatRequest,
    Choice,
    Finished,
    Message,
    ReasoningDelta,
    ReasoningPart,
    RefusalDelta,
    RefusalPart,
    Started,
    TextDelta,
    TextPart,
    Usage,
    UsageSeen,
)
from appliance.formats.members import Members
from appliance.formats.text_completion import Piece, body_object, head_of, piece, read_request, text_of


def read(**members: Any) -> ChatRequest:
    return read_request(Members({"model": "m", "prompt": "Once", **members}))


def test_a_prompt_is_one_user_message() -> None:
    expected = [Message("user", [TextPart("Once")])]
    assert read().messages == read(prompt=["Once"]).messages == expected


def test_all_members() -> None:
    request = read(stream=True, max_tokens=5, temperature=1, top_p=0.5, stop=["a", "b"], seed=7)
    assert (request.stream, request.max_output_tokens, request.temperature) == (True, 5, 1.0)
    assert (request.top_p, request.stop, request.seed) == (0.5, ["a", "b"], 7)
    assert (read(stop="x").stop, read().stop) == (["x"], [])


@pytest.mark.parametrize(
    ("member", "value", "field"),
    [
        ("prompt", None, "prompt"),
        ("prompt", 5, "prompt"),
        ("prompt", [1, 2], "prompt"),
        ("prompt", [], "prompt"),
        ("prompt", [[1]], "prompt"),
        ("prompt", ["a", "b"], "prompt"),
        ("max_tokens", 0, "max_tokens"),
        ("stop", 5, "stop"),
        ("stop", ["x"] * 17, "stop"),
        ("stop", ["x", 5], "stop.1"),
    ],
)
def test_wrong_members_are_named(member: str, value: Any, field: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(**{member: value})
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", field)


def test_several_prompts_are_told_how_to_go_on() -> None:
    with pytest.raises(GatewayError, match="send a request for each"):
        read(prompt=["a", "b"])
    with pytest.raises(GatewayError, match="send no tokens"):
        read(prompt=[1, 2])


def test_the_head_carries_the_request() -> None:
    request = ChatRequest("m", [], True, True, 9, n=2, metadata={"a": 1})
    assert head_of(request) == RequestHead("m", True, True, 9, 2, {"a": 1}, request)


@pytest.mark.parametrize("body", [b"[1]", b'"x"', b"\xff", b"[" * 5000])
def test_a_body_that_is_no_object(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        body_object(body)
    assert caught.value.code == "VALIDATION_ERROR"


def test_a_body() -> None:
    assert body_object(b'{"a": 1}') == {"a": 1}


def test_the_text_of_a_choice_is_what_was_said() -> None:
    choice = Choice(0, [ReasoningPart("why"), TextPart("a"), RefusalPart("b"), TextPart("c")])
    assert text_of(choice) == "abc"


def test_events_that_show() -> None:
    assert piece(TextDelta(1, "a")) == Piece(1, "a")
    assert piece(RefusalDelta(0, "no")) == Piece(0, "no")
    assert piece(Finished(0, "stop", "bored")) == Piece(0, "", "stop", "bored")


def test_events_that_do_not_show() -> None:
    hidden: list[ChatEvent] = [Started("i", "m", 1), ReasoningDelta(0, "why"), TextDelta(0, ""), UsageSeen(Usage())]
    assert [piece(event) for event in hidden] == [None] * 4
