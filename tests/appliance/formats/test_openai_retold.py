"""Answers of OpenAI-protocol servers on their way to OpenAI's clients: exact form, and nothing lost that was plain."""

from __future__ import annotations

import json
import random
from itertools import count
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from appliance.errors import GatewayError
from appliance.formats import openai_call, openai_stream_calls
from appliance.formats.base import Frame, ReplyHead
from appliance.formats.chat import (
    ChatEvent,
    Ended,
    Failed,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
    UsageSeen,
)
from appliance.formats.openai_reply import decode_reply
from appliance.formats.openai_retold import PassthroughWriter, retold_answer
from appliance.formats.openai_stream import StreamDecoder
from appliance.formats.sse import DONE, SseSplitter, named_event
from support.fixtures import PROVIDERS, needs_fixtures, recorded, recorded_json
from support.sse import ended, events, failure_of
from support.streams import joined, sliced, split_events
from support.upstream import USAGE, chunk, completion, text_stream

ASKED = ReplyHead("chatcmpl-ours", "front", 1_700_000_000, include_usage=True)
NOT_ASKED = ReplyHead("chatcmpl-ours", "front", 1_700_000_000)
USED = Usage(11, 22)
SHOWN = USAGE | {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}

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


def recordings(kind: str) -> list[str]:
    found = [
        f"{speaker}/{file.name}" for speaker in SPEAKERS for file in (PROVIDERS / speaker).glob(f"*.response.{kind}")
    ]
    return sorted(name for name in found if not name.split("/")[1].startswith(("error-", "garbage-")))


@pytest.fixture(autouse=True)
def numbered_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count(1)
    for module in (openai_call, openai_stream_calls):
        monkeypatch.setattr(module, "new_call_id", lambda: f"call_made_{next(numbers)}")


# -- whole answers ----------------------------------------------------------------------------------------------------


def told(body: dict[str, Any]) -> dict[str, Any]:
    out: dict[str, Any] = json.loads(retold_answer(json.dumps(body).encode(), decode_reply(body), ASKED))
    ChatCompletion.model_validate(out, strict=True)
    return out


@needs_fixtures
@pytest.mark.parametrize("name", recordings("json"))
def test_recorded_answers_leave_in_openai_s_exact_form(name: str) -> None:
    body = recorded_json(name)
    reply = decode_reply(body)
    out = json.loads(retold_answer(json.dumps(body).encode(), reply, ASKED))
    ChatCompletion.model_validate(out, strict=True)
    assert set(body) - set(out) <= {"service_tier"}
    again = decode_reply(out)
    said, read = ([(c.index, c.finish_reason, c.logprobs) for c in each.choices] for each in (reply, again))
    assert said == read
    kinds = [[sorted(map(repr, choice.parts)) for choice in each.choices] for each in (reply, again)]
    assert kinds[0] == kinds[1]
    assert again.usage == reply.usage


def test_a_plain_answer_keeps_every_member() -> None:
    body = completion("hi", system_fingerprint="fp", unheard_of=[1], service_tier="flex")
    body["choices"][0] |= {"content_filter_results": {"hate": {}}, "logprobs": None}
    body["choices"][0]["message"] |= {"annotations": [], "unheard_of": {"x": 1}}
    assert told(body) == body | {"model": "front", "usage": SHOWN}


def test_an_odd_choice_is_told_anew_and_the_rest_stays() -> None:
    body = completion("hi", unheard_of=1, service_tier="on_demand", system_fingerprint=7)
    call = {"id": "", "function": {"name": "f", "arguments": {"x": 1}}}
    body["choices"][0] |= {"finish_reason": "eos", "content_filter_results": {}}
    body["choices"][0]["message"] |= {
        "content": [{"type": "text", "text": "hi"}],
        "reasoning": "why",
        "tool_calls": [call],
        "unheard_of": 2,
    }
    out = told(body)
    assert (out["unheard_of"], "service_tier" in out, "system_fingerprint" in out) == (1, False, False)
    assert out["choices"] == [
        {
            "index": 0,
            "content_filter_results": {},
            "finish_reason": "stop",
            "native_finish_reason": "eos",
            "logprobs": None,
            "message": {
                "role": "assistant",
                "content": "hi",
                "refusal": None,
                "reasoning_content": "why",
                "tool_calls": [
                    {"id": "call_made_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
                ],
                "unheard_of": 2,
            },
        }
    ]


@pytest.mark.parametrize("odd", [{"id": "", "created": 0}, {"id": None, "created": 1.5}, {"object": "text"}, {}])
def test_an_answer_always_has_its_frame(odd: dict[str, Any]) -> None:
    body = completion("hi") | odd
    out = told({name: value for name, value in body.items() if odd or name not in ("id", "created", "object")})
    assert out["object"] == "chat.completion"
    assert out["id"] == ("chatcmpl-ours" if "id" in odd or not odd else body["id"])
    assert out["created"] == (1_700_000_000 if "created" in odd or not odd else body["created"])


def test_usage_that_is_none_does_not_leave() -> None:
    assert "usage" not in told(completion("hi") | {"usage": "free"})


def test_a_legacy_call_is_told_both_ways() -> None:
    body = completion("")
    legacy = {"name": "f", "arguments": "{}"}
    body["choices"][0] |= {"finish_reason": "function_call"}
    body["choices"][0]["message"]["function_call"] = legacy
    (choice,) = told(body)["choices"]
    assert (choice["finish_reason"], choice["message"]["function_call"]) == ("tool_calls", legacy)
    assert [call["function"] for call in choice["message"]["tool_calls"]] == [legacy]


def test_annotations_that_are_no_citations_stay() -> None:
    """OpenRouter's clients send parsed files back, so they need theirs."""
    body = completion("hi")
    file = {"type": "file", "file": {"hash": "x"}}
    body["choices"][0]["message"] |= {"reasoning": "why", "annotations": [file]}
    out = json.loads(retold_answer(json.dumps(body).encode(), decode_reply(body), ASKED))
    assert out["choices"][0]["message"]["annotations"] == [file]


def test_sources_beside_the_choices_become_annotations() -> None:
    body = completion("hi", citations=["http://x"])
    out = told(body)
    assert out["citations"] == ["http://x"]
    assert [entry["url_citation"]["url"] for entry in out["choices"][0]["message"]["annotations"]] == ["http://x"]


# -- streams ----------------------------------------------------------------------------------------------------------


def frames_of(*pieces: bytes) -> list[Frame]:
    splitter, decoder = SseSplitter(), StreamDecoder()
    found = [event for piece in pieces for event in splitter.feed(piece)]
    return [Frame(event, decoder.feed(event)) for event in found]


def written(head: ReplyHead, *pieces: bytes) -> bytes:
    writer = PassthroughWriter(head)
    return b"".join(writer.frames([frame]) for frame in frames_of(*pieces)) + writer.closing(USED, "0.1", False)


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    """The chunks before the end mark, each strict for OpenAI's SDK."""
    found = events(data)
    assert found[-1] == ("", "[DONE]")
    assert [data for _, data in found].count("[DONE]") == 1
    chunks = [data for _, data in found[:-1]]
    for each in chunks:
        ChatCompletionChunk.model_validate(each, strict=True)
    return chunks


def deltas(*pieces: bytes) -> list[dict[str, Any]]:
    return [choice["delta"] for each in chunks_of(written(NOT_ASKED, *pieces)) for choice in each["choices"]]


def said(found: list[ChatEvent]) -> list[dict[str, Any]]:
    """What was said, without whose unsigned reasoning it is and without empty words."""
    kept: list[ChatEvent] = []
    for event in found:
        if isinstance(event, ReasoningDelta) and not event.signature:
            event.origin = ""
        if not isinstance(event, Started | UsageSeen | Ended) and event != TextDelta(0, ""):
            kept.append(event)
    return joined(kept)


@needs_fixtures
@pytest.mark.parametrize("head", [ASKED, NOT_ASKED], ids=["usage", "no usage"])
@pytest.mark.parametrize("name", recordings("sse"))
def test_recorded_streams_leave_in_openai_s_exact_form(name: str, head: ReplyHead) -> None:
    outcomes = []
    for seed in range(3):
        decoder, writer = StreamDecoder(), PassthroughWriter(head)
        frames = [Frame(e, decoder.feed(e)) for e in split_events(sliced(recorded(name), random.Random(seed)))]
        broken = next((i for i, f in enumerate(frames) if any(isinstance(e, Failed) for e in f.meaning)), len(frames))
        meaning = [event for frame in frames[:broken] for event in frame.meaning]
        usage = next((event.usage for event in reversed(meaning) if isinstance(event, UsageSeen)), USED)
        outcomes.append((meaning, usage, writer.frames(frames[:broken]) + writer.closing(usage, "0", False)))
    meaning, usage, data = outcomes[0]
    assert [outcome[2] for outcome in outcomes] == [data] * 3
    chunks = chunks_of(data)
    again = StreamDecoder()
    read = [event for each in split_events([data]) for event in again.feed(each)]
    assert said(read) == said(meaning)
    assert [event.usage for event in read if isinstance(event, UsageSeen)] == ([usage] if head.include_usage else [])
    assert {each["model"] for each in chunks} == {"front"}
    assert len({(each["id"], each["created"]) for each in chunks}) == 1
    assert all(each["id"] and each["created"] for each in chunks)
    check_order(chunks, head)
    state = ChatCompletionStreamState()
    for each in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(each))
    assert {choice.message.role for choice in state.current_completion_snapshot.choices} == {"assistant"}


def check_order(chunks: list[dict[str, Any]], head: ReplyHead) -> None:
    """A choice opens with its role and says nothing after its finish reason; usage is in the last chunk or in none."""
    opened: set[int] = set()
    finished: set[int] = set()
    for choice in (choice for each in chunks for choice in each["choices"]):
        assert (choice["index"] in opened) != ("role" in choice["delta"])
        assert choice["index"] not in finished
        opened.add(choice["index"])
        if choice["finish_reason"]:
            finished.add(choice["index"])
    if head.include_usage:
        assert [bool(each["usage"]) for each in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1]["choices"] == []
    else:
        assert not any("usage" in each for each in chunks)


def test_chunks_go_on_as_they_came_under_the_caller_s_model() -> None:
    first = chunk({"role": "assistant", "content": "", "unheard_of": 1}, service_tier="flex")
    out = chunks_of(written(NOT_ASKED, first, *text_stream("a", "b")[1:]))
    assert out[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "unheard_of": 1}
    assert out[0]["service_tier"] == "flex"
    assert {each["model"] for each in out} == {"front"}
    assert {each["id"] for each in out} == {"chatcmpl-1"}


@needs_fixtures
def test_an_unknown_chunk_of_openai_s_own_goes_on() -> None:
    out = chunks_of(written(ASKED, recorded("openai/chat-stream-unknown-member.response.sse")))
    assert [index for index, each in enumerate(out) if "moderation" in each] == [len(out) - 2]
    assert out[1]["obfuscation"] == "EeXxvZr"


@needs_fixtures
def test_what_comes_before_the_first_choice_is_joined_to_it() -> None:
    out = chunks_of(written(NOT_ASKED, recorded("azure/stream-empty-first-chunk.response.sse")))
    assert out[0]["prompt_filter_results"][0]["prompt_index"] == 0
    assert all(each["choices"] for each in out)
    assert out[1]["choices"][0]["content_filter_results"]["hate"] == {"filtered": False, "severity": "safe"}


def test_who_did_not_ask_for_usage_sees_none_and_no_empty_chunk() -> None:
    out = chunks_of(written(NOT_ASKED, *text_stream("a")))
    assert all("usage" not in each and each["choices"] for each in out)


def test_who_asked_gets_it_last_and_once() -> None:
    out = chunks_of(written(ASKED, *text_stream("a")))
    assert [each["usage"] for each in out[:-1]] == [None] * (len(out) - 1)
    assert (out[-1]["choices"], out[-1]["usage"]["prompt_tokens"]) == ([], USED.input_tokens)


def test_usage_beside_the_last_choice_becomes_a_chunk_of_its_own() -> None:
    pieces = [chunk({"content": "a"}), chunk({}, "stop", usage=USAGE)]
    out = chunks_of(written(ASKED, *pieces))
    assert out[-2]["choices"][0]["finish_reason"] == "stop"
    assert not out[-2].get("usage")
    assert (out[-1]["choices"], out[-1]["id"]) == ([], "chatcmpl-1")
    assert all("usage" not in each for each in chunks_of(written(NOT_ASKED, *pieces)))


def test_usage_keeps_its_further_counts() -> None:
    own = USAGE | {"completion_tokens_details": {"audio_tokens": 4}, "cost": 0.1}
    (*_, last) = chunks_of(written(ASKED, *text_stream("a")[:-2], chunk(choices=[], usage=own, obfuscation="x")))
    assert last["usage"]["completion_tokens_details"] == {"audio_tokens": 4, "reasoning_tokens": 0}
    assert ("cost" in last["usage"], last["obfuscation"]) == (False, "x")


def test_an_upstream_that_keeps_its_usage_is_made_up_for() -> None:
    out = chunks_of(written(ASKED, chunk({"content": "a"}), chunk({}, "stop")))
    assert out[-1]["choices"] == []
    assert (out[-1]["usage"]["prompt_tokens"], out[-1]["usage"]["completion_tokens"]) == (11, 22)
    assert out[-1]["usage"]["total_tokens"] == 33


@pytest.mark.parametrize(
    "late",
    [
        chunk({"role": "assistant", "content": ""}, usage=USAGE, provider="x"),
        chunk({"content": None, "reasoning_details": []}, "stop"),
        chunk(
            choices=[{"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "stop"}]
        ),
    ],
)
def test_a_choice_that_has_ended_and_says_nothing_more_is_left_out(late: bytes) -> None:
    out = chunks_of(written(NOT_ASKED, chunk({"content": "a"}), chunk({}, "stop"), late))
    assert [choice["finish_reason"] for each in out for choice in each["choices"]] == [None, "stop"]


def test_what_is_found_out_about_an_ended_choice_goes_on() -> None:
    """Azure's filter may be asked to judge behind the words."""
    late = chunk(choices=[{"index": 0, "finish_reason": None, "content_filter_results": {"hate": {"filtered": False}}}])
    (*_, last) = chunks_of(written(NOT_ASKED, chunk({"content": "a"}), chunk({}, "stop"), late))
    assert last["choices"][0]["content_filter_results"] == {"hate": {"filtered": False}}


def test_an_id_that_comes_late_or_changes_is_one_for_the_whole_stream() -> None:
    pieces = [
        chunk(choices=[], id="", created=0, object=""),
        chunk({"content": "a"}, id="", created=0),
        chunk({"content": "b"}, id="other", created=5),
    ]
    out = chunks_of(written(ASKED, *pieces))
    assert {(each["id"], each["created"]) for each in out} == {("chatcmpl-ours", 1_700_000_000)}
    early = chunks_of(written(ASKED, chunk(choices=[], id="early"), *pieces[1:]))
    assert {each["id"] for each in early} == {"early"}


def test_the_role_stands_in_the_first_delta_only() -> None:
    pieces = [chunk({"role": "assistant", "content": "a"}), chunk({"role": "assistant", "content": "b"})]
    assert deltas(*pieces) == [{"role": "assistant", "content": "a"}, {"content": "b"}]
    assert deltas(chunk({"content": "a"})) == [{"role": "assistant", "content": "a"}]


def test_calls_are_told_anew_and_keep_one_id() -> None:
    def piece(**call: Any) -> bytes:
        return chunk({"tool_calls": [call]})

    out = deltas(
        chunk({"role": "assistant"}),
        piece(index=1, id="", type="function", function={"name": "f", "arguments": ""}),
        piece(index=1, id="", function={"name": "", "arguments": "{}"}),
        piece(index=2, id="b", type="function", function={"name": "g", "arguments": ""}),
        chunk({}, "tool_calls"),
    )
    assert out[1:] == [
        {
            "tool_calls": [
                {"index": 0, "id": "call_made_1", "type": "function", "function": {"name": "f", "arguments": ""}}
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
    ]


def test_a_custom_tool_s_call_goes_on_as_it_is() -> None:
    call = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sh", "input": ""}}
    more = {"index": 0, "custom": {"input": "ls"}}
    data = written(
        NOT_ASKED,
        chunk({"role": "assistant", "tool_calls": [call]}),
        chunk({"tool_calls": [more]}),
        chunk({}, "tool_calls"),
    )
    found = [data["choices"][0]["delta"] for _, data in events(data)[:-1]]
    assert [delta.get("tool_calls") for delta in found] == [[call], [more], None]


def test_spoken_answers_go_on_as_they_are() -> None:
    audio = {"id": "audio_1", "transcript": "hi", "data": "AAAA"}
    assert deltas(chunk({"role": "assistant", "content": None, "audio": audio}))[0]["audio"] == audio
    assert any(isinstance(event, TextDelta) for frame in frames_of(chunk({"audio": audio})) for event in frame.meaning)


def test_a_signature_covers_the_words_that_went_on_as_they_came() -> None:
    details = [{"type": "reasoning.text", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}]
    out = deltas(
        chunk({"role": "assistant", "reasoning_content": "wh"}),
        chunk({"reasoning_content": "y"}),
        chunk({"reasoning_details": details, "channel": "analysis"}),
    )
    assert out[2] == {
        "channel": "analysis",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "why", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}
        ],
    }


def test_an_odd_end_says_its_own_word_beside() -> None:
    (*_, last) = chunks_of(written(NOT_ASKED, chunk({"content": "a"}), chunk({}, "eos", service_tier="on_demand")))
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["native_finish_reason"]) == ("stop", "eos")
    assert "service_tier" not in last


@pytest.mark.parametrize(
    "notice",
    [
        b"data:\n\n",
        named_event("ping", b'{"type": "ping"}'),
        named_event("ping", b"alive"),
        named_event("ping", b"{alive"),
        chunk(choices=[]),
        chunk(choices=None),
    ],
)
def test_what_says_nothing_does_not_go_on(notice: bytes) -> None:
    assert len(chunks_of(written(NOT_ASKED, notice, chunk({"content": "a"}), notice, chunk({}, "stop"), notice))) == 2


def test_named_chunks_are_chunks() -> None:
    data = chunk({"role": "assistant", "content": "a"})[6:].strip()
    assert deltas(named_event("chunk", data)) == [{"role": "assistant", "content": "a"}]


def test_words_that_a_decoder_kept_till_the_end_are_told() -> None:
    writer = PassthroughWriter(NOT_ASKED)
    (frame,) = frames_of(DONE)
    data = writer.frames([Frame(frame.event, [TextDelta(0, "last"), *frame.meaning])])
    ((_, told_last),) = events(data)
    assert told_last["choices"][0]["delta"] == {"role": "assistant", "content": "last"}
    assert told_last["id"] == "chatcmpl-ours"


def test_done_is_ours_and_comes_after_the_row_is_written() -> None:
    writer = PassthroughWriter(NOT_ASKED)
    before = writer.frames(frames_of(*text_stream("a")))
    assert b"[DONE]" not in before
    assert writer.closing(USED, "0.1", False) == DONE


@pytest.mark.parametrize("head", [ASKED, NOT_ASKED])
def test_a_stream_that_breaks_ends_with_openai_s_error(head: ReplyHead) -> None:
    writer = PassthroughWriter(head)
    data = writer.frames(frames_of(chunk({"content": "half"})))
    data += writer.failure(GatewayError("BACKEND_ERROR", "cut short"))
    failure = failure_of(data)
    assert failure
    assert (failure["message"], failure["code"]) == ("cut short", "backend_error")
    assert ended(data)
