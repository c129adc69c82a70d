"""Responses: an earlier answer put before the call, and the new one kept before its last bytes leave."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from appliance.pipeline.run import run
from appliance.state.responses import ConversationTooLarge, StoredResponse
from support.build import FakeUpstream, client_of
from support.operations import Ran, ran, ready
from support.sse import events
from support.upstream import DONE, chunk, completion, text_stream

CALL = {"model": "m", "input": "Hello"}
EARLIER = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "first"}]},
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "second"}]},
]


class FakeResponses:
    """What is kept, and what was asked for. `failing` is a full disk."""

    def __init__(self, *, failing: bool = False) -> None:
        self.kept: list[StoredResponse] = []
        self.asked: list[tuple[str, str]] = []
        self.failing = failing

    async def history(self, tenant_id: str, response_id: str, limit_chars: int) -> list[Any] | None:
        self.asked.append((tenant_id, response_id))
        return list(EARLIER) if response_id == "resp_earlier" else None

    async def keep(self, kept: StoredResponse) -> None:
        if self.failing:
            raise OSError("no space left")
        self.kept.append(kept)


async def responded(responses: Any, *script: Any, **changes: Any) -> Ran:
    return await ran("respond", CALL | changes, *script, surface="responses", responses=responses)


def whole(text: str = "hello") -> FakeUpstream:
    return FakeUpstream(json.dumps(completion(text)).encode())


def last_response(done: Ran) -> dict[str, Any]:
    response: dict[str, Any] = events(done.client.body)[-1][1]["response"]
    return response


# -- kept -------------------------------------------------------------------------------------------------------------


async def test_an_answer_is_kept_for_its_tenant_under_the_id_that_the_caller_has() -> None:
    responses = FakeResponses()
    done = await responded(responses, whole())
    body = done.client.json()
    (kept,) = responses.kept
    assert (kept.id, kept.tenant_id, kept.user_id, kept.previous_id) == (body["id"], "acme", "acme:alice", "")
    assert kept.id == "resp_0123456789abcdef"
    assert kept.response == body
    assert json.dumps(kept.items).count("Hello") == 1
    assert (done.row["operation"], done.row["surface"]) == ("respond", "responses")


async def test_a_streamed_answer_is_kept_as_its_last_event_tells_it() -> None:
    responses = FakeResponses()
    done = await responded(responses, FakeUpstream(*text_stream("hel", "lo")), stream=True)
    (kept,) = responses.kept
    assert kept.response == last_response(done)
    assert kept.response["output"][0]["content"][0]["text"] == "hello"
    assert done.client.ended


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("text", ["data: {", "event: x\n\ndata: [DONE]\n\n", 'data: "x"'])
async def test_an_answer_about_event_streams_is_kept_like_any_other(stream: bool, text: str) -> None:
    responses = FakeResponses()
    done = await responded(responses, FakeUpstream(*text_stream(text)) if stream else whole(text), stream=stream)
    assert (done.exchange.error, done.client.ended) == (None, True)
    assert responses.kept[0].response["output"][0]["content"][0]["text"] == text


@pytest.mark.parametrize("stream", [False, True])
async def test_it_is_kept_before_the_last_bytes_leave(stream: bool) -> None:
    seen: list[bool] = []

    upstream = FakeUpstream(*text_stream("a")) if stream else whole()
    responses = FakeResponses()
    exchange, state = ready("respond", CALL | {"stream": stream}, upstream, surface="responses", responses=responses)
    keep = responses.keep

    async def noting(kept: StoredResponse) -> None:
        seen.append(client_of(exchange).ended)
        await keep(kept)

    responses.keep = noting  # type: ignore[method-assign]
    await run(exchange, state)
    assert seen == [False]
    assert client_of(exchange).ended


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("store", [False, True, None])
async def test_store_false_keeps_nothing(store: bool | None, stream: bool) -> None:
    responses = FakeResponses()
    upstream = FakeUpstream(*text_stream("a")) if stream else whole()
    await responded(responses, upstream, store=store, stream=stream)
    assert len(responses.kept) == (store is not False)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_appliance_that_keeps_nothing_answers_all_the_same(stream: bool) -> None:
    done = await responded(None, FakeUpstream(*text_stream("a")) if stream else whole(), stream=stream)
    assert (done.client.status, done.client.ended) == (200, True)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_cannot_be_kept_is_given_out_and_logged(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It was made and booked: the caller has paid for it."""
    upstream = FakeUpstream(*text_stream("a")) if stream else whole()
    with caplog.at_level(logging.ERROR, "scaigrid"):
        done = await responded(FakeResponses(failing=True), upstream, stream=stream)
    assert (done.client.status, done.client.ended) == (200, True)
    assert "no space left" in caplog.text


async def test_a_stream_that_breaks_is_not_kept() -> None:
    responses = FakeResponses()
    done = await responded(responses, FakeUpstream(chunk({"content": "half"}), b"data: {broken\n\n", DONE), stream=True)
    assert done.exchange.error
    assert responses.kept == []


# -- gone on from -----------------------------------------------------------------------------------------------------


async def test_the_earlier_turns_stand_before_the_new_one() -> None:
    responses = FakeResponses()
    done = await responded(responses, whole(), previous_response_id="resp_earlier")
    said = [message["content"] for message in done.bodies[0]["messages"]]
    assert json.dumps(said).index("first") < json.dumps(said).index("second") < json.dumps(said).index("Hello")
    assert "previous_response_id" not in done.bodies[0]
    assert responses.asked == [("acme", "resp_earlier")]
    assert done.client.json()["previous_response_id"] == "resp_earlier"


async def test_of_a_conversation_only_the_new_turn_is_kept_again() -> None:
    responses = FakeResponses()
    await responded(responses, whole(), previous_response_id="resp_earlier")
    (kept,) = responses.kept
    assert kept.previous_id == "resp_earlier"
    assert "first" not in json.dumps(kept.items)
    assert "Hello" in json.dumps(kept.items)


async def test_the_earlier_turns_count_in_the_bound() -> None:
    alone = await responded(FakeResponses(), whole())
    longer = await responded(FakeResponses(), whole(), previous_response_id="resp_earlier")
    assert longer.exchange.input_bound > alone.exchange.input_bound + 100


@pytest.mark.parametrize("responses", [FakeResponses(), None], ids=["unknown", "nothing is kept"])
async def test_an_answer_that_is_not_there_is_named(responses: Any) -> None:
    done = await responded(responses, previous_response_id="resp_gone")
    assert (done.client.status, done.error.code, done.error.param) == (404, "NOT_FOUND", "previous_response_id")
    assert done.pools.opened == []


@pytest.mark.parametrize("wrong", [7, "", ["resp_1"], {}])
async def test_what_is_no_id_is_refused(wrong: Any) -> None:
    done = await responded(FakeResponses(), previous_response_id=wrong)
    assert (done.error.code, done.error.param) == ("VALIDATION_ERROR", "previous_response_id")


@pytest.mark.parametrize("changes", [{"input": 7}, {"input": None}, {"model": None}])
async def test_what_is_no_request_is_refused(changes: dict[str, Any]) -> None:
    done = await responded(FakeResponses(), **changes)
    assert done.error.code == "VALIDATION_ERROR"


async def test_the_answer_tells_back_what_was_asked() -> None:
    done = await responded(FakeResponses(), whole(), instructions="Be kind.", temperature=0.5)
    body = done.client.json()
    assert (body["instructions"], body["temperature"], body["previous_response_id"]) == ("Be kind.", 0.5, None)


async def test_a_conversation_larger_than_a_body_may_be_is_refused() -> None:
    class Huge(FakeResponses):
        async def history(self, tenant_id: str, response_id: str, limit_chars: int) -> list[Any] | None:
            raise ConversationTooLarge(f"more than {limit_chars} characters")

    done = await responded(Huge(), previous_response_id="resp_earlier")
    assert done.client.status == 413
    assert done.client.json()["error"]["param"] == "previous_response_id"
    assert done.exchange.attempts == []
