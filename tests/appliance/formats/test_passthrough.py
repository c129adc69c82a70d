"""OpenAI's dialect on both sides: what is changed is changed on purpose, everything else is carried as it came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.exchange import Frame
from appliance.formats import native, openai
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.passthrough import PassthroughWriter, TranslatedWriter, reply, reply_members, request
from appliance.formats.sse import SseSplitter
from support.sse import ended, events, failure_of, text_of
from support.upstream import USAGE, chunk, completion, text_stream

ASKED = ReplyHead("chatcmpl-ours", "front", 1_700_000_000, include_usage=True)
NOT_ASKED = ReplyHead("chatcmpl-ours", "front", 1_700_000_000)
USED = Usage(11, 22)


def sent(body: dict[str, Any] | bytes, **settings: Any) -> dict[str, Any]:
    """The upstream's body for a caller's one."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    defaults: dict[str, Any] = {
        "stream": False,
        "default_params": {},
        "system_prompt": None,
        "max_output_tokens": None,
    }
    upstream_model = settings.pop("upstream_model", "up")
    out = request(msgspec.json.decode(data, type=dict[str, Raw]), upstream_model, **(defaults | settings))
    decoded: dict[str, Any] = json.loads(out)
    return decoded


BODY = {"model": "front", "messages": [{"role": "user", "content": "Hi"}]}

# -- requests ---------------------------------------------------------------------------------------------------------


def test_only_the_model_s_name_is_changed() -> None:
    body = BODY | {"temperature": 0.1, "stream": False, "unheard_of": {"deep": [1, {"x": None}]}, "n": 2}
    assert sent(body) == body | {"model": "up"}


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(), max_size=6))
def test_unknown_members_survive(members: dict[str, Any]) -> None:
    assert sent(members | BODY) == members | BODY | {"model": "up"}


def test_numbers_keep_their_digits() -> None:
    members = msgspec.json.decode(b'{"model":"front","seed":123456789012345678901234567890}', type=dict[str, Raw])
    out = request(members, "up", stream=False, default_params={}, system_prompt=None, max_output_tokens=None)
    assert b"123456789012345678901234567890" in out


def test_a_name_with_quotes_is_quoted() -> None:
    assert sent(BODY, upstream_model='a"b\\c')["model"] == 'a"b\\c'


@pytest.mark.parametrize("said", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_a_stream_always_asks_for_usage(said: dict[str, Any]) -> None:
    assert sent(BODY | {"stream": True} | said, stream=True)["stream_options"] == {"include_usage": True}


def test_without_a_stream_nothing_is_asked() -> None:
    assert "stream_options" not in sent(BODY)


@pytest.mark.parametrize(
    ("upstream_model", "name"),
    [("gpt-4.1-mini", "max_tokens"), ("gpt-5", "max_completion_tokens"), ("o3", "max_completion_tokens")],
)
def test_a_default_cap_has_the_name_that_the_upstream_model_takes(upstream_model: str, name: str) -> None:
    out = sent(BODY, upstream_model=upstream_model, default_params={"max_tokens": 9})
    assert {cap: out[cap] for cap in ("max_tokens", "max_completion_tokens") if cap in out} == {name: 9}


@pytest.mark.parametrize("said", ["max_tokens", "max_completion_tokens"])
def test_a_default_cap_does_not_stand_beside_the_caller_s(said: str) -> None:
    for upstream_model in ("gpt-4.1-mini", "gpt-5"):
        out = sent(BODY | {said: 5}, upstream_model=upstream_model, default_params={"max_tokens": 9})
        assert {cap: out[cap] for cap in ("max_tokens", "max_completion_tokens") if cap in out} == {said: 5}


def test_defaults_fill_what_is_absent_or_null() -> None:
    out = sent(BODY | {"temperature": None, "top_p": 0}, default_params={"temperature": 1, "top_p": 0.5, "seed": 3})
    assert (out["temperature"], out["top_p"], out["seed"]) == (1, 0, 3)


@pytest.mark.parametrize(("said", "most"), [(5, 5), (50, 10)])
def test_the_model_s_limit_caps_both_names(said: int, most: int) -> None:
    out = sent(BODY | {"max_tokens": said, "max_completion_tokens": said}, max_output_tokens=10)
    assert (out["max_tokens"], out["max_completion_tokens"]) == (most, most)


def caps_of(out: dict[str, Any]) -> dict[str, Any]:
    return {name: out[name] for name in ("max_tokens", "max_completion_tokens") if name in out}


@pytest.mark.parametrize(
    ("upstream_model", "name"),
    [("gpt-4.1-mini", "max_tokens"), ("gpt-5", "max_completion_tokens"), ("o3", "max_completion_tokens")],
)
@pytest.mark.parametrize("said", [{}, {"max_tokens": None}, {"max_completion_tokens": None}])
def test_a_budget_s_cap_is_sent_where_the_caller_left_it_open(
    upstream_model: str, name: str, said: dict[str, Any]
) -> None:
    out = sent(BODY | said, upstream_model=upstream_model, output_cap=77)
    assert {cap: value for cap, value in caps_of(out).items() if value is not None} == {name: 77}


@pytest.mark.parametrize("said", [("max_tokens",), ("max_completion_tokens",), ("max_tokens", "max_completion_tokens")])
def test_a_budget_s_cap_stands_in_every_name_that_the_caller_used(said: tuple[str, ...]) -> None:
    """Upstreams differ in which of the two they look at: one that was left larger would be a way round the budget."""
    for upstream_model in ("gpt-4.1-mini", "gpt-5"):
        out = sent(BODY | dict.fromkeys(said, 5000), upstream_model=upstream_model, output_cap=77)
        assert caps_of(out) == dict.fromkeys(said, 77)


def test_a_budget_s_cap_goes_before_the_operator_s_default() -> None:
    assert caps_of(sent(BODY, default_params={"max_tokens": 5000}, output_cap=77)) == {"max_tokens": 77}


@pytest.mark.parametrize(("cap", "most"), [(7, 7), (70, 50)])
def test_a_budget_s_cap_never_lifts_the_model_s_limit(cap: int, most: int) -> None:
    assert caps_of(sent(BODY, max_output_tokens=50, output_cap=cap)) == {"max_tokens": most}


def test_without_a_budget_no_cap_is_made_up() -> None:
    assert caps_of(sent(BODY)) == {}


@pytest.mark.parametrize("messages", [b'[{"role":"user","content":"x"}]', b' [ {"role":"user","content":"x"} ] '])
def test_the_operator_s_prompt_is_put_first_and_the_rest_is_not_decoded(messages: bytes) -> None:
    out = sent(b'{"model":"front","messages":' + messages + b"}", system_prompt='Say "é".')
    assert out["messages"] == [{"role": "system", "content": 'Say "é".'}, {"role": "user", "content": "x"}]


# -- whole answers ----------------------------------------------------------------------------------------------------


def test_an_answer_goes_back_under_the_name_that_was_asked_for() -> None:
    body = completion("hi", system_fingerprint="fp", unheard_of=[1])
    assert json.loads(reply(reply_members(json.dumps(body).encode()), ASKED)) == body | {"model": "front"}


# -- streams ----------------------------------------------------------------------------------------------------------


def frames_of(*pieces: bytes) -> list[Frame]:
    splitter, decoder = SseSplitter(), openai.stream_decoder()
    found = [event for piece in pieces for event in splitter.feed(piece)]
    return [Frame(event, decoder.feed(event)) for event in found]


def written(head: ReplyHead, *pieces: bytes) -> bytes:
    writer = PassthroughWriter(head)
    return b"".join(writer.frames([frame]) for frame in frames_of(*pieces)) + writer.closing(USED, "0.1", False)


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    found = events(data)
    assert found[-1] == ("", "[DONE]")
    assert [data for _, data in found].count("[DONE]") == 1
    return [data for _, data in found[:-1]]


def test_chunks_go_on_as_they_came_under_the_caller_s_model() -> None:
    first = chunk({"role": "assistant", "content": "", "unheard_of": 1}, service_tier="flex")
    out = chunks_of(written(NOT_ASKED, first, *text_stream("a", "b")[1:]))
    assert out[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "unheard_of": 1}
    assert out[0]["service_tier"] == "flex"
    assert {each["model"] for each in out} == {"front"}
    assert {each["id"] for each in out} == {"chatcmpl-1"}


def test_who_did_not_ask_for_usage_sees_none_and_no_empty_chunk() -> None:
    out = chunks_of(written(NOT_ASKED, *text_stream("a")))
    assert all("usage" not in each and each["choices"] for each in out)


def test_who_asked_gets_it_last_and_once() -> None:
    out = chunks_of(written(ASKED, *text_stream("a")))
    assert [each["usage"] for each in out if each.get("usage")] == [USAGE]
    assert out[-1]["choices"] == []
    assert out[-1]["usage"] == USAGE


def test_usage_beside_the_last_choice_becomes_a_chunk_of_its_own() -> None:
    pieces = [chunk({"content": "a"}), chunk({}, "stop", usage=USAGE)]
    out = chunks_of(written(ASKED, *pieces))
    assert out[-2]["choices"][0]["finish_reason"] == "stop"
    assert not out[-2].get("usage")
    assert (out[-1]["choices"], out[-1]["usage"], out[-1]["id"]) == ([], USAGE, "chatcmpl-1")
    assert all("usage" not in each for each in chunks_of(written(NOT_ASKED, *pieces)))


def test_usage_that_grows_with_each_chunk_is_told_once_at_its_last() -> None:
    grown = USAGE | {"completion_tokens": 9, "total_tokens": 16}
    pieces = [chunk({"content": "a"}, usage=USAGE), chunk({}, "stop", usage=grown)]
    out = chunks_of(written(ASKED, *pieces))
    assert [each["usage"] for each in out if each.get("usage")] == [grown]


def test_an_upstream_that_keeps_its_usage_is_made_up_for() -> None:
    out = chunks_of(written(ASKED, chunk({"content": "a"}), chunk({}, "stop")))
    assert out[-1]["choices"] == []
    assert (out[-1]["usage"]["prompt_tokens"], out[-1]["usage"]["completion_tokens"]) == (11, 22)
    assert out[-1]["usage"]["total_tokens"] == 33


def test_done_is_ours_and_comes_after_the_row_is_written() -> None:
    writer = PassthroughWriter(NOT_ASKED)
    before = writer.frames(frames_of(*text_stream("a")))
    assert b"[DONE]" not in before
    assert writer.closing(USED, "0.1", False).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("head", [ASKED, NOT_ASKED])
def test_a_stream_that_breaks_ends_with_openai_s_error(head: ReplyHead) -> None:
    writer = PassthroughWriter(head)
    data = writer.frames(frames_of(chunk({"content": "half"})))
    data += writer.failure(GatewayError("BACKEND_ERROR", "cut short"))
    told = failure_of(data)
    assert told
    assert (told["message"], told["code"]) == ("cut short", "backend_error")
    assert ended(data)


def test_the_translated_writer_speaks_the_client_s_dialect() -> None:
    writer = TranslatedWriter(native.stream_encoder(NOT_ASKED))
    data = b"".join(writer.frames([frame]) for frame in frames_of(*text_stream("hello ", "world")))
    data += writer.closing(USED, "0.5", True)
    assert text_of(data) == "hello world"
    last = chunks_of(data)[-1]
    assert (last["usage"]["cost"], last["usage"]["estimated"], last["model"]) == ("0.5", True, "front")
    failed = writer.failure(GatewayError("BACKEND_TIMEOUT", "too slow"))
    assert (failure_of(failed) or {})["code"] == "BACKEND_TIMEOUT"
    assert ended(failed)


def test_frames_without_meaning_are_nothing_in_another_dialect() -> None:
    writer = TranslatedWriter(native.stream_encoder(NOT_ASKED))
    assert writer.frames([Frame(frame.event, []) for frame in frames_of(chunk({"content": "x"}))]) == b""
