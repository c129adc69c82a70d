"""Whole answers: every recorded one as canonical parts, and what OpenAI's SDK accepts of ours."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from openai.types.chat import ChatCompletion

from appliance.errors import GatewayError
from appliance.formats import openai_call
from appliance.formats.base import ReplyHead
from appliance.formats.chat import (
    ChatReply,
    Choice,
    Citation,
    FinishReason,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    Usage,
)
from appliance.formats.openai_reply import decode_reply, encode_reply
from support.fixtures import PROVIDERS, needs_fixtures, recorded, recorded_json
from support.golden import check_golden

HEAD = ReplyHead("chatcmpl-1", "front", 1700000000)
SPEAKERS = (
    "azure",
    "deepseek",
    "gemini-compatible",
    "groq",
    "mistral",
    "openai",
    "openrouter",
    "qwen",
    "self-hosted",
    "xai",
)
REPLIES = sorted(
    f"{speaker}/{file.name.removesuffix('.response.json')}"
    for speaker in SPEAKERS
    for file in (PROVIDERS / speaker).glob("*.response.json")
    if not file.name.startswith(("error-", "garbage-"))
)


@pytest.fixture
def numbered_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count(1)
    monkeypatch.setattr(openai_call, "new_call_id", lambda: f"call_made_{next(numbers)}")


@needs_fixtures
@pytest.mark.usefixtures("numbered_ids")
@pytest.mark.parametrize("name", REPLIES)
def test_recorded_replies(name: str) -> None:
    reply = decode_reply(recorded_json(f"{name}.response.json"))
    check_golden(Path("replies") / f"{name}.json", msgspec.to_builtins(reply))


@needs_fixtures
@pytest.mark.parametrize("name", REPLIES)
def test_recorded_replies_leave_in_openai_form(name: str) -> None:
    reply = decode_reply(recorded_json(f"{name}.response.json"))
    body = encode_reply(reply, HEAD)
    ChatCompletion.model_validate(body, strict=True)
    again = decode_reply(body)
    assert [choice.parts for choice in again.choices] == [in_openai_order(choice.parts) for choice in reply.choices]
    assert again.usage == reply.usage


def in_openai_order(parts: list[Part]) -> list[Part]:
    """Members have no order among each other: reasoning, text, refusal, calls."""
    kinds = (ReasoningPart, TextPart, RefusalPart, ToolCallPart)
    return sorted(parts, key=lambda part: kinds.index(type(part)))


@needs_fixtures
def test_recorded_garbage_is_no_answer() -> None:
    for body in (
        recorded_json("openai/garbage-200-no-choices.response.json"),
        recorded("openai/garbage-200-text.response.txt"),
    ):
        with pytest.raises(GatewayError) as caught:
            decode_reply(body)
        assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


def whole(message: Any = None, **members: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    return {"id": "x", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice | members]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "is no JSON object"),
        ("hello", "is no JSON object"),
        (None, "is no JSON object"),
        ({}, "has no choices"),
        ({"choices": None}, "has no choices"),
        ({"choices": []}, "has no choices"),
        ({"choices": {}}, "has no choices"),
        ({"choices": ["x"]}, "has no message in choice 0"),
        ({"choices": [{"text": "x"}]}, "has no message in choice 0"),
        (whole({"content": 7}), "has content of another type than text in choice 0"),
        ({"error": {"message": "over quota", "code": 429}}, "is an error with status 200: over quota"),
        (whole() | {"error": "broken"}, "is an error with status 200: broken"),
    ],
)
def test_what_is_no_chat_completion(body: Any, words: str) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert (caught.value.code, caught.value.message) == ("UPSTREAM_SHAPE_MISMATCH", f"the upstream's answer {words}")


def test_odd_values_inside_an_answer_do_no_harm() -> None:
    odd = whole({"content": "hi", "tool_calls": "none", "refusal": 3, "reasoning": []}, index=None, logprobs=7)
    odd |= {"id": 7, "model": None, "created": "now", "usage": "free", "system_fingerprint": "", "error": None}
    assert decode_reply(odd) == ChatReply("", "", 0, [Choice(0, [TextPart("hi")], "stop")])


def test_a_finish_reason_is_not_invented() -> None:
    reply = decode_reply(whole(finish_reason=None))
    assert reply.choices[0].finish_reason is None
    assert encode_reply(reply, HEAD)["choices"][0]["finish_reason"] is None


def test_an_unknown_finish_reason_is_a_stop_that_says_where_it_came_from() -> None:
    (choice,) = decode_reply(whole(finish_reason="bored")).choices
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", "bored")


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"stop_reason": "END"}, "END"),
        ({"matched_stop": "END"}, "END"),
        ({"stop_reason": 128001}, None),
        ({"stop_reason": "END", "finish_reason": "length"}, None),
    ],
)
def test_the_stop_text_that_ended_a_choice(members: dict[str, Any], expected: str | None) -> None:
    assert decode_reply(whole(**members)).choices[0].stop_sequence == expected


def test_citations_stand_with_the_last_text() -> None:
    own = {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 2, "title": "X", "url": "http://x"}}
    said = {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "annotations": [own]}
    body = whole(said) | {"citations": ["http://y"]}
    citation = Citation("http://x", "X", None, 0, 2)
    assert decode_reply(body).choices[0].parts == [TextPart("a"), TextPart("b", citations=[citation])]
    beside = whole() | {"citations": ["http://y"]}
    assert decode_reply(beside).choices[0].parts == [TextPart("hi", citations=[Citation("http://y")])]
    refused = whole({"content": None, "refusal": "no"}) | {"citations": ["http://y"]}
    assert decode_reply(refused).choices[0].parts == [RefusalPart("no")]


def test_a_legacy_function_call_is_a_call() -> None:
    (choice,) = decode_reply(whole({"content": None, "function_call": {"name": "f", "arguments": "{}"}})).choices
    (part,) = choice.parts
    assert isinstance(part, ToolCallPart)
    assert (part.name, part.id[:5]) == ("f", "call_")


@pytest.mark.parametrize("created", [True, -1, float("nan"), float("inf"), 2**60, None])
def test_a_time_that_is_none_is_zero(created: Any) -> None:
    assert decode_reply(whole() | {"created": created}).created == 0


# -- to the client ----------------------------------------------------------------------------------------------------


def reply(*parts: Part, finish_reason: FinishReason = "stop", **members: Any) -> ChatReply:
    return ChatReply("up", "upstream", 1, [Choice(0, list(parts), finish_reason)], **members)


LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}], "refusal": None}
KINDS: dict[str, tuple[ChatReply, dict[str, Any]]] = {
    "text": (reply(TextPart("a"), TextPart("b")), {"content": "ab"}),
    "nothing": (reply(), {"content": ""}),
    "calls": (
        reply(ToolCallPart("c", "f", "{}"), finish_reason="tool_calls"),
        {
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
    ),
    "text and a signed call": (
        reply(TextPart("a"), ToolCallPart("c", "f", "{}", signature="g"), finish_reason="tool_calls"),
        {
            "content": "a",
            "tool_calls": [
                {
                    "id": "c",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                    "extra_content": {"google": {"thought_signature": "g"}},
                }
            ],
        },
    ),
    "refusal": (reply(RefusalPart("no")), {"content": None, "refusal": "no"}),
    "reasoning": (reply(ReasoningPart("why"), TextPart("a")), {"content": "a", "reasoning_content": "why"}),
    "citations, of which OpenAI's form holds those with an address": (
        reply(TextPart("a", citations=[Citation(url="http://x", title="X"), Citation(title="a.pdf")])),
        {
            "content": "a",
            "annotations": [
                {
                    "type": "url_citation",
                    "url_citation": {"start_index": 0, "end_index": 0, "title": "X", "url": "http://x"},
                }
            ],
        },
    ),
    "cut off while thinking": (
        reply(ReasoningPart("why"), finish_reason="length"),
        {"content": "", "reasoning_content": "why"},
    ),
    "signed and hidden reasoning": (
        reply(ReasoningPart("why", "sig"), ReasoningPart(redacted="blob"), TextPart("a")),
        {
            "content": "a",
            "reasoning_content": "why",
            "reasoning_details": [
                {"type": "reasoning.text", "text": "why", "signature": "sig"},
                {"type": "reasoning.encrypted", "data": "blob"},
            ],
        },
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_messages_have_exactly_these_members(kind: str) -> None:
    canonical, message = KINDS[kind]
    body = encode_reply(canonical, HEAD)
    ChatCompletion.model_validate(body, strict=True)
    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "front",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None} | message,
                "logprobs": None,
                "finish_reason": canonical.choices[0].finish_reason,
            }
        ],
    }


def test_usage_logprobs_and_what_is_known_of_the_server() -> None:
    canonical = reply(
        TextPart("a"),
        usage=Usage(10, 5, 4, 2, 3),
        extra={"system_fingerprint": "fp", "service_tier": "default", "other": "hidden"},
    )
    canonical.choices[0].logprobs = LOGPROBS
    canonical.choices.append(Choice(1, [TextPart("b")], "content_filter", "safety"))
    body = encode_reply(canonical, HEAD)
    completion = ChatCompletion.model_validate(body, strict=True)
    assert completion.choices[0].logprobs is not None
    assert [choice.finish_reason for choice in completion.choices] == ["stop", "content_filter"]
    assert (body["system_fingerprint"], body["service_tier"], "other" in body) == ("fp", "default", False)
    assert body["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def test_a_word_of_the_upstream_s_own_stands_beside_the_finish_reason() -> None:
    canonical = reply(TextPart("a"))
    canonical.choices[0].native_finish_reason = "bored"
    (choice,) = encode_reply(canonical, HEAD)["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "bored")


def test_another_server_tier_is_left_out_for_strict_clients() -> None:
    body = encode_reply(reply(TextPart("a"), extra={"service_tier": "on_demand"}), HEAD)
    assert "service_tier" not in body
