"""OpenAI's dialect on both sides: of a request, only what the gateway sets is changed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from appliance.formats.base import OperatorSettings, Passthrough, ReplyHead
from appliance.formats.openai_passthrough import PASSTHROUGH, OpenAIPassthrough
from appliance.formats.openai_quirks import Quirks
from appliance.formats.openai_reply import decode_reply
from appliance.formats.openai_retold import PassthroughWriter
from support.upstream import completion

_IS_A_PASSTHROUGH: Passthrough = PASSTHROUGH
HEAD = ReplyHead("chatcmpl-ours", "front", 1_700_000_000)


def sent(
    body: dict[str, Any] | bytes,
    upstream_model: str = "up",
    passthrough: OpenAIPassthrough = PASSTHROUGH,
    **settings: Any,
) -> dict[str, Any]:
    """The upstream's body for a caller's one."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    members = msgspec.json.decode(data, type=dict[str, Raw])
    decoded: dict[str, Any] = json.loads(passthrough.request(members, upstream_model, OperatorSettings(**settings)))
    return decoded


BODY = {"model": "front", "messages": [{"role": "user", "content": "Hi"}]}


def test_only_the_model_s_name_is_changed() -> None:
    body = BODY | {"temperature": 0.1, "stream": False, "unheard_of": {"deep": [1, {"x": None}]}, "n": 2}
    assert sent(body) == body | {"model": "up"}


@given(st.dictionaries(st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(), max_size=6))
def test_unknown_members_survive(members: dict[str, Any]) -> None:
    assert sent(members | BODY) == members | BODY | {"model": "up"}


def test_numbers_keep_their_digits() -> None:
    members = msgspec.json.decode(b'{"model":"front","seed":123456789012345678901234567890}', type=dict[str, Raw])
    out = PASSTHROUGH.request(members, "up", OperatorSettings())
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


def test_a_server_that_always_tells_its_usage_is_not_asked() -> None:
    unasked = OpenAIPassthrough(Quirks(asks_usage=False))
    assert "stream_options" not in sent(BODY | {"stream": True}, passthrough=unasked, stream=True)


def test_a_server_that_knows_one_name_of_the_cap_gets_that() -> None:
    assert caps_of(sent(BODY, "gpt-5", OpenAIPassthrough(Quirks(long_cap=None)), output_cap=7)) == {"max_tokens": 7}


def test_answers_go_on_under_the_name_that_was_asked_for() -> None:
    body = completion("hi", unheard_of=[1])
    out = json.loads(PASSTHROUGH.reply(json.dumps(body).encode(), decode_reply(body), HEAD))
    assert (out["model"], out["unheard_of"], out["choices"]) == ("front", [1], body["choices"])
    assert isinstance(PASSTHROUGH.writer(HEAD), PassthroughWriter)
