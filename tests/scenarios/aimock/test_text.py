"""Text through the whole appliance: an answer reads the same whichever dialect the upstream speaks."""

from __future__ import annotations

import openai
import pytest

from support.aimock import Aimock
from support.aimock_gateway import COMPAT, NATIVE, TARGETS, chat_body, user
from support.appliance import Gateway
from support.sse import events, text_of

HELLO = "Hello from aimock. Grüße, 你好 👋"
STORY = "A lighthouse keeper counted ships for forty years, and on the last evening one of them counted back."
THOUGHT = "Two and two were four yesterday too."
both_dialects = pytest.mark.parametrize("model", ["gpt", "claude"])


@both_dialects
def test_the_sdk_reads_a_whole_answer(sdk: openai.OpenAI, model: str) -> None:
    answer = sdk.chat.completions.create(model=model, messages=user("Say hello"))
    assert answer.model == model
    assert answer.choices[0].message.content == HELLO
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (11, 9, 20)


@both_dialects
def test_the_sdk_reads_a_stream_piece_by_piece(sdk: openai.OpenAI, model: str) -> None:
    with sdk.chat.completions.create(
        model=model, messages=user("Tell a story"), stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    pieces = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]
    assert "".join(pieces) == STORY
    assert len(pieces) > 10
    assert {chunk.model for chunk in chunks} == {model}
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert [(c.usage.prompt_tokens, c.usage.completion_tokens) for c in chunks if c.usage] == [(21, 23)]
    assert chunks[-1].choices == []


@both_dialects
def test_no_usage_comes_into_a_compat_stream_unasked(sdk: openai.OpenAI, model: str) -> None:
    with sdk.chat.completions.create(model=model, messages=user("Tell a story"), stream=True) as stream:
        chunks = list(stream)
    assert len(chunks) > 10
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@both_dialects
def test_a_native_answer_has_usage_cost_and_backend(gateway: Gateway, model: str) -> None:
    answer = gateway.post(NATIVE, chat_body(model, "Say hello"))
    assert answer.status == 200, answer.body
    data, meta = answer.json()["data"], answer.json()["meta"]
    assert data["model"] == model
    assert data["choices"][0]["message"]["content"] == HELLO
    assert data["choices"][0]["finish_reason"] == "stop"
    usage = data["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (11, 9, 20)
    assert usage["estimated"] is False
    assert float(usage["cost"]) == pytest.approx((11 * 1.00 + 9 * 2.00) / 1_000_000)
    assert meta["backend"] == TARGETS[model] == answer.headers["X-Scaigrid-Backend"]


@both_dialects
def test_a_native_stream_says_and_costs_what_the_whole_answer_does(gateway: Gateway, model: str) -> None:
    whole = gateway.post(NATIVE, chat_body(model, "Tell a story")).json()["data"]
    body = gateway.post(NATIVE, chat_body(model, "Tell a story", stream=True)).body
    assert text_of(body) == whole["choices"][0]["message"]["content"] == STORY
    *_, (_, last), (_, end) = events(body)
    assert last["choices"] == []
    assert last["usage"] == whole["usage"]
    assert end == "[DONE]"


@both_dialects
def test_an_answer_cut_at_the_cap_says_length(gateway: Gateway, model: str) -> None:
    whole = gateway.post(COMPAT, chat_body(model, "Run out of room")).json()
    assert whole["choices"][0]["finish_reason"] == "length"
    body = gateway.post(COMPAT, chat_body(model, "Run out of room", stream=True)).body
    choices = [choice for _, data in events(body)[:-1] for choice in data["choices"]]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["length"]


@pytest.mark.parametrize("model", ["gpt-thinker", "claude"])
def test_reasoning_comes_apart_from_the_answer(gateway: Gateway, model: str) -> None:
    message = gateway.post(NATIVE, chat_body(model, "Think first")).json()["data"]["choices"][0]["message"]
    assert (message["reasoning"], message["content"]) == (THOUGHT, "Four.")
    body = gateway.post(COMPAT, chat_body(model, "Think first", stream=True)).body
    deltas = [choice["delta"] for _, data in events(body)[:-1] for choice in data["choices"]]
    assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == THOUGHT
    assert text_of(body) == "Four."


@both_dialects
def test_the_upstream_is_asked_for_its_own_model_with_the_callers_parameters(
    sdk: openai.OpenAI, upstream: Aimock, model: str
) -> None:
    upstream.forget()
    sdk.chat.completions.create(model=model, messages=user("Say hello"), max_tokens=50, temperature=0.5)
    [request] = upstream.requests()
    assert request["path"] == {"gpt": "/v1/chat/completions", "claude": "/v1/messages"}[model]
    assert request["body"]["model"] == TARGETS[model].partition(":")[2]
    assert (request["body"]["max_tokens"], request["body"]["temperature"]) == (50, 0.5)


def test_an_unknown_parameter_reaches_an_upstream_of_the_same_dialect(sdk: openai.OpenAI, upstream: Aimock) -> None:
    upstream.forget()
    sdk.chat.completions.create(model="gpt", messages=user("Say hello"), extra_body={"vendor_knob": {"depth": 3}})
    [request] = upstream.requests()
    assert request["body"]["vendor_knob"] == {"depth": 3}


def test_an_unknown_parameter_is_refused_by_name_where_the_dialect_has_no_place_for_it(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="vendor_knob"):
        sdk.chat.completions.create(model="claude", messages=user("Say hello"), extra_body={"vendor_knob": 3})
