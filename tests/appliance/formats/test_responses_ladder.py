from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Ended,
    Finished,
    FinishReason,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageSeen,
)
from appliance.formats.responses_ladder import OutputLadder


def said(*events: ChatEvent, reason: FinishReason | None = "stop") -> list[dict[str, Any]]:
    ladder = OutputLadder("s")
    for event in events:
        ladder.climb(event)
    ladder.finish(reason)
    return ladder.output()


def brief(items: list[dict[str, Any]]) -> list[Any]:
    """What each item says, without ids: its text, its reasoning with what is encrypted, or its call."""
    out: list[Any] = []
    for item in items:
        if item["type"] == "message":
            out.append([part.get("text", part.get("refusal")) for part in item["content"]])
        elif item["type"] == "reasoning":
            out.append(("".join(part["text"] for part in item["summary"]), item.get("encrypted_content")))
        else:
            out.append((item["call_id"], item["name"], item["arguments"]))
    return out


def test_a_new_kind_of_content_is_a_new_item() -> None:
    events: list[ChatEvent] = [
        ReasoningDelta(0, "th"),
        ReasoningDelta(0, "ink"),
        TextDelta(0, "a"),
        TextDelta(0, "b"),
        RefusalDelta(0, "no"),
        ToolCallDelta(0, 0, "call_1", "f", "{}"),
        TextDelta(0, "c"),
    ]
    items = said(*events)
    assert brief(items) == [("think", None), ["ab", "no"], ("call_1", "f", "{}"), ["c"]]
    assert [item["id"] for item in items] == [
        "rs_scaigrid_s_0",
        "msg_scaigrid_s_1",
        "fc_scaigrid_s_2",
        "msg_scaigrid_s_3",
    ]


def test_a_signature_ends_its_reasoning() -> None:
    events = [
        ReasoningDelta(0, "a"),
        ReasoningDelta(0, signature="s1", origin="anthropic"),
        ReasoningDelta(0, "b", "s2", origin="anthropic"),
        ReasoningDelta(0, redacted="opaque", origin="anthropic"),
        ReasoningDelta(0, "c"),
    ]
    assert brief(said(*events)) == [
        ("a", "scaigrid.anthropic.s1"),
        ("b", "scaigrid.anthropic.s2"),
        ("", "scaigrid.anthropic-redacted.opaque"),
        ("c", None),
    ]


def test_the_signature_of_a_google_text_is_no_thoughts() -> None:
    events = [ReasoningDelta(0, "thought", origin="google"), ReasoningDelta(0, signature="s", origin="google")]
    assert brief(said(*events)) == [("thought", None), ("", "scaigrid.google.s")]


def test_the_signature_of_a_call_stands_before_it() -> None:
    events = [
        ToolCallDelta(0, 0, "call_1", "f", "{}", "s1", "google"),
        ToolCallDelta(0, 1, "call_2", "g", "{}"),
    ]
    assert brief(said(*events)) == [("", "scaigrid.google-call.s1"), ("call_1", "f", "{}"), ("call_2", "g", "{}")]


def test_ids_that_encrypted_content_is_bound_to_are_kept() -> None:
    events = [
        ReasoningDelta(0, "a", origin="responses", id="rs_1"),
        ReasoningDelta(0, signature="x", origin="responses", id="rs_1"),
        ReasoningDelta(0, "b", origin="responses", id="rs_2"),
        ReasoningDelta(0, "c", origin="responses", id="rs_3"),
        ReasoningDelta(0, redacted="y", origin="responses", id="rs_3"),
        ReasoningDelta(0, "d", origin="responses", id="rs_1"),
    ]
    items = said(*events)
    assert brief(items) == [("a", "x"), ("b", None), ("c", "y"), ("d", None)]
    assert [item["id"] for item in items] == ["rs_1", "rs_2", "rs_3", "rs_scaigrid_s_3"]


def test_pieces_of_calls_may_come_in_turns() -> None:
    events = [
        ToolCallDelta(0, 0, "call_1", "f", '{"a"'),
        ToolCallDelta(0, 1, "call_2", "g", '{"b"'),
        ToolCallDelta(0, 0, arguments=":1}"),
        ToolCallDelta(0, 1, arguments=":2}"),
    ]
    assert brief(said(*events)) == [("call_1", "f", '{"a":1}'), ("call_2", "g", '{"b":2}')]


def test_a_call_without_an_id_gets_one() -> None:
    (call,) = said(ToolCallDelta(0, 0, None, "f", "{}"))
    assert call["call_id"].startswith("call_")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_what_was_being_said_when_the_answer_was_cut_is_incomplete(reason: FinishReason) -> None:
    calls = [ToolCallDelta(0, 0, "call_1", "f", "{}"), ToolCallDelta(0, 1, "call_2", "g", '{"')]
    assert [item["status"] for item in said(*calls, reason=reason)] == ["completed", "incomplete"]
    spoken = said(*calls, TextDelta(0, "a"), reason=reason)
    assert [item["status"] for item in spoken] == ["completed", "completed", "incomplete"]
    assert [item["status"] for item in said(*calls, reason="tool_calls")] == ["completed", "completed"]


def test_places_of_citations_count_from_their_own_text() -> None:
    cited = [Citation("https://a.example", "A", start=3, end=4), Citation("https://b.example", "B")]
    events: list[ChatEvent] = [TextDelta(0, "abc"), ReasoningDelta(0, "x"), TextDelta(0, "de", citations=cited)]
    annotations = said(*events)[2]["content"][0]["annotations"]
    assert [(note["start_index"], note["end_index"]) for note in annotations] == [(0, 1), (2, 2)]


def test_what_says_nothing_makes_no_item() -> None:
    others: list[ChatEvent] = [
        TextDelta(0, ""),
        RefusalDelta(0, ""),
        ReasoningDelta(0, ""),
        TextDelta(1, "another choice"),
        ReasoningDelta(1, "another choice"),
        UsageSeen(Usage()),
        Ended(),
    ]
    assert said(*others) == []


def test_a_finish_ends_all_items_and_later_text_is_a_new_one() -> None:
    ladder = OutputLadder("s")
    ladder.climb(TextDelta(0, "a"))
    assert ladder.output() == []
    ladder.climb(Finished(0, "stop"))
    assert brief(ladder.output()) == [["a"]]
    ladder.climb(TextDelta(0, "b"))
    ladder.finish("stop")
    assert brief(ladder.output()) == [["a"], ["b"]]
