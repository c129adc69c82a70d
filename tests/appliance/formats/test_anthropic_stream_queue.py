from __future__ import annotations

from typing import Any

from appliance.formats.anthropic_stream_queue import BlockQueue
from appliance.formats.chat import ReasoningDelta, RefusalDelta, TextDelta, ToolCallDelta

Event = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta


def _said(told: Any) -> list[str]:
    """Short words for stream events: +0 text, 0 "said", -0."""
    out = []
    for event in told:
        match event["type"]:
            case "content_block_start":
                out.append(f"+{event['index']} {event['content_block']['type']}")
            case "content_block_stop":
                out.append(f"-{event['index']}")
            case _:
                delta = {name: value for name, value in event["delta"].items() if name != "type"}
                out.append(f"{event['index']} {next(iter(delta.values()))}")
    return out


def _fed(*events: Event) -> list[list[str]]:
    """What goes out after each event, and at the end."""
    queue = BlockQueue()
    return [*(_said(queue.add(event)) for event in events), _said(queue.end())]


def _call(call: int, arguments: str = "", **members: Any) -> ToolCallDelta:
    return ToolCallDelta(0, call, arguments=arguments, **members)


A, B, C = ({"id": name, "name": "f"} for name in "abc")


def test_kinds_follow_each_other() -> None:
    assert _fed(
        ReasoningDelta(0, "hm"),
        ReasoningDelta(0, signature="s", origin="anthropic"),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        RefusalDelta(0, "no"),
        _call(0, "{}", **A),
    ) == [
        ["+0 thinking", "0 hm"],
        [],
        ["0 s", "-0", "+1 text", "1 a"],
        ["1 b"],
        ["-1", "+2 text", "2 no"],
        ["-2", "+3 tool_use", "3 {}"],
        ["-3"],
    ]


def test_calls_that_speak_by_turns_are_told_one_after_the_other() -> None:
    assert _fed(
        _call(0, '{"a":', **A),
        _call(1, '{"b":', **B),
        _call(0, "1"),
        _call(2, "{}", **C),
        _call(1, "2}"),
        _call(0, "}"),
    ) == [
        ["+0 tool_use", '0 {"a":'],
        [],
        ["0 1"],
        [],
        [],
        ["0 }", "-0", "+1 tool_use", '1 {"b":', "1 2}", "-1", "+2 tool_use", "2 {}"],
        ["-2"],
    ]


def test_a_call_that_is_never_whole_holds_the_others_until_the_end() -> None:
    assert _fed(_call(0, "", **A), _call(1, "{}", **B), TextDelta(0, "so")) == [
        ["+0 tool_use"],
        [],
        [],
        ["-0", "+1 tool_use", "1 {}", "-1", "+2 text", "2 so", "-2"],
    ]


def test_signatures_stand_before_their_call_and_late_ones_behind_it() -> None:
    signed: dict[str, Any] = {"signature": "s", "origin": "google"}
    before = ["+0 thinking", "0 scaigrid.google-call.s", "-0", "+1 tool_use", "1 {}"]
    assert _fed(_call(0, "{}", **A, **signed)) == [before, ["-1"]]
    assert _fed(_call(0, "{}", **A), _call(0, **signed)) == [
        ["+0 tool_use", "0 {}"],
        ["-0", "+1 thinking"],
        ['1 scaigrid.google-called.["a","s"]', "-1"],
    ]
    waiting = _fed(_call(0, "{", **A), _call(1, "{}", **B), _call(1, **signed))
    assert waiting[-1] == ["-0", "+1 thinking", "1 scaigrid.google-call.s", "-1", "+2 tool_use", "2 {}", "-2"]
    closed = _fed(_call(0, "{}", **A), TextDelta(0, "x"), _call(0, **signed))
    assert closed[-2:] == [["-1", "+2 thinking"], ['2 scaigrid.google-called.["a","s"]', "-2"]]


def test_what_says_nothing_opens_nothing() -> None:
    assert _fed(TextDelta(0, ""), RefusalDelta(0, ""), ReasoningDelta(0)) == [[], [], [], []]


def test_an_end_may_be_followed_by_more() -> None:
    queue = BlockQueue()
    assert _said(queue.add(TextDelta(0, "a"))) == ["+0 text", "0 a"]
    assert _said(queue.end()) == ["-0"]
    assert _said(queue.add(TextDelta(0, "b"))) == ["+1 text", "1 b"]
    assert not queue.has_calls
