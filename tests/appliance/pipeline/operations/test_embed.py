"""Embeddings: lists in batches, in order again; one batch that fails ends them all, and nothing stays open."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from appliance.exchange import UpstreamCut
from appliance.pipeline.operations.embed import AT_A_TIME
from appliance.pipeline.run import run
from support.build import FakePools, FakeUpstream, journal_of
from support.operations import FOR_EVER, answer, ran, ready, vectors

LONG = [f"text {number}" for number in range(35)]
"""Four batches for a target that takes ten at once."""


def batches(tokens: int | None = 5) -> list[FakeUpstream]:
    return [vectors(count, tokens, 10 * place) for place, count in enumerate((10, 10, 10, 5))]


def places(body: dict[str, Any]) -> list[tuple[int, float]]:
    return [(item["index"], item["embedding"][0]) for item in body["data"]]


async def test_one_text_is_one_call() -> None:
    done = await ran("embed", {"model": "vectors", "input": "hello", "user": "u"}, vectors(1))
    assert done.bodies == [{"model": "e1", "input": ["hello"], "user": "u"}]
    body = done.client.json()
    assert (body["object"], body["model"]) == ("list", "vectors")
    assert body["data"] == [{"object": "embedding", "index": 0, "embedding": [0, 0.5]}]
    assert body["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (done.row["input_tokens"], done.row["cost_nano"], done.row["estimated"]) == (5, 5000, False)


async def test_the_native_surface_has_notes_and_numbers() -> None:
    body = {"model": "vectors", "input": ["a", "b"], "metadata": {"ticket": 1}}
    done = await ran("embed", body, vectors(2), surface="native")
    assert [item["index"] for item in done.client.json()["data"]["data"]] == [0, 1]
    assert done.client.json()["data"]["usage"]["input_tokens"] == 5
    assert json.loads(done.row["metadata"]) == {"ticket": 1}
    assert "metadata" not in done.bodies[0]


async def test_a_long_list_goes_in_batches_and_comes_back_in_order() -> None:
    upstreams = batches()
    done = await ran("embed", {"model": "batched", "input": LONG}, *upstreams)
    assert [body["input"] for body in done.bodies] == [LONG[0:10], LONG[10:20], LONG[20:30], LONG[30:]]
    assert places(done.client.json()) == [(place, place) for place in range(35)]
    assert done.row["input_tokens"] == 20
    assert len(journal_of(done.state).begun) == 1
    assert len(json.loads(done.row["attempts"])) == 1
    assert [upstream.closed for upstream in upstreams] == [1] * 4


async def test_batches_that_answer_in_another_order_are_joined_in_the_first() -> None:
    late = FakeUpstream(0.05, json.dumps({"data": [{"index": i, "embedding": [i]} for i in range(10)]}).encode())
    done = await ran("embed", {"model": "batched", "input": LONG}, late, *batches()[1:])
    assert places(done.client.json()) == [(place, place) for place in range(35)]


async def test_only_so_many_batches_run_at_once() -> None:
    class Counting(FakePools):
        now = most = 0

        async def open(self, *_: Any, **__: Any) -> Any:
            Counting.now += 1
            Counting.most = max(Counting.most, Counting.now)
            await asyncio.sleep(0.002)
            Counting.now -= 1
            return vectors(10)

    exchange, state = ready("embed", {"model": "batched", "input": ["x"] * 200})
    state.pools = Counting()  # type: ignore[assignment]
    await run(exchange, state)
    assert exchange.error is None
    assert 1 < Counting.most <= AT_A_TIME


@pytest.mark.parametrize(
    "bad",
    [
        lambda: answer({"error": {"message": "down"}}, 503),
        lambda: FakeUpstream(b'{"data":', UpstreamCut("reset")),
        lambda: answer({"data": "nothing"}),
    ],
    ids=["503", "cut", "no answer"],
)
@pytest.mark.parametrize("place", [0, 2, 3])
async def test_a_batch_that_fails_ends_the_others_and_the_next_target_takes_all(bad: Any, place: int) -> None:
    upstreams: list[Any] = [FakeUpstream(FOR_EVER) for _ in range(4)]
    upstreams[place] = bad()
    done = await ran("embed", {"model": "batched", "input": LONG}, *upstreams, vectors(35))
    assert done.exchange.error is None
    assert done.bodies[-1]["input"] == LONG
    assert all(upstream.closed for upstream in upstreams)
    assert [attempt["status"] for attempt in json.loads(done.row["attempts"])] == ["failed", "completed"]
    assert done.row["input_tokens"] == 5, "what the failed target did is not the caller's"


async def test_after_a_batch_failed_time_limits_still_work() -> None:
    """The group of batches cancels our own task inside: what stays of it must not make a timeout look like a leave."""
    upstreams: list[Any] = [FakeUpstream(0.01, UpstreamCut("reset")), *[FakeUpstream(FOR_EVER) for _ in range(3)]]
    done = await ran("embed", {"model": "batched", "input": LONG}, *upstreams, FOR_EVER, vectors(35))
    assert (done.client.status, done.error.code) == (504, "BACKEND_TIMEOUT")
    assert done.row["status"] == "failed"


async def test_a_batch_that_has_too_few_vectors_fails_the_attempt() -> None:
    done = await ran("embed", {"model": "batched", "input": LONG}, *batches()[:3], vectors(4), vectors(35))
    assert done.exchange.attempts[0].failure
    assert done.exchange.attempts[0].failure.code == "UPSTREAM_SHAPE_MISMATCH"
    assert done.exchange.error is None


async def test_usage_that_one_batch_keeps_to_itself_is_estimated_for_all() -> None:
    upstreams = [*batches()[:3], vectors(5, None, 30)]
    done = await ran("embed", {"model": "batched", "input": LONG}, *upstreams)
    assert done.row["estimated"]
    assert done.row["input_tokens"] == done.exchange.input_estimate > 20


@pytest.mark.parametrize("sent", [0, 2])
async def test_a_caller_who_leaves_closes_every_upstream(sent: int) -> None:
    done = batches()[:sent]
    waiting = [FakeUpstream(FOR_EVER) for _ in range(4 - sent)]
    exchange, state = ready("embed", {"model": "batched", "input": LONG}, *done, *waiting)
    task = asyncio.ensure_future(run(exchange, state))
    await asyncio.sleep(0.03)
    assert all(upstream.reads for upstream in waiting)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert all(upstream.closed for upstream in (*done, *waiting))
    (row,) = journal_of(state).ended
    assert (row["status"], row["estimated"], row["charged"]) == ("cancelled", True, 1)
    assert row["input_tokens"] > 0
    assert exchange.answered is None


async def test_a_key_that_is_revoked_half_way_closes_every_upstream_too() -> None:
    waiting = [FakeUpstream(FOR_EVER) for _ in range(4)]
    exchange, state = ready("embed", {"model": "batched", "input": LONG}, *waiting)
    asyncio.get_running_loop().call_later(0.02, state.directory.revoke_key, "apikey_1")
    async with asyncio.timeout(5):
        await run(exchange, state)
    assert exchange.error
    assert exchange.error.code == "AUTH_TOKEN_INVALID"
    assert all(upstream.closed for upstream in waiting)


# -- what targets differ in -------------------------------------------------------------------------------------------


async def test_google_is_asked_in_its_own_words() -> None:
    reply = answer({"embeddings": [{"values": [0.25]}, {"values": [0.5]}]})
    done = await ran("embed", {"model": "googled", "input": ["a", "b"], "dimensions": 1}, reply)
    assert [item["embedding"] for item in done.client.json()["data"]] == [[0.25], [0.5]]
    (body,) = done.bodies
    assert [part["outputDimensionality"] for part in body["requests"]] == [1, 1]
    assert done.row["estimated"], "Google tells no tokens"


async def test_the_operator_s_dimensions_hold_where_the_target_has_them() -> None:
    down = answer({"error": {"message": "down"}}, 503)
    done = await ran("embed", {"model": "preset", "input": "a"}, down, vectors(1))
    assert [body.get("dimensions") for body in done.bodies] == [None, 64]


async def test_the_caller_s_dimensions_win_and_skip_the_target_that_lacks_them() -> None:
    done = await ran("embed", {"model": "preset", "input": "a", "dimensions": 8}, vectors(1))
    assert [(name, json.loads(body)["dimensions"]) for name, _, _, body in done.pools.opened] == [("two", 8)]


async def test_token_numbers_go_to_a_target_that_reads_them() -> None:
    done = await ran("embed", {"model": "batched", "input": [[1, 2, 3]]}, vectors(1))
    assert [name for name, *_ in done.pools.opened] == ["one"]
    assert done.client.headers["X-Scaigrid-Attempts"] == "1", "who was passed over was not asked"


async def test_what_no_target_can_carry_is_named() -> None:
    done = await ran("embed", {"model": "googled", "input": [[1, 2]]})
    assert (done.error.code, done.error.param) == ("VALIDATION_ERROR", "input")
    assert done.pools.opened == []


async def test_base64_is_made_of_numbers_for_who_asks() -> None:
    done = await ran("embed", {"model": "vectors", "input": "a", "encoding_format": "base64"}, vectors(1))
    assert "encoding_format" not in done.bodies[0], "a server that we do not know is asked for numbers"
    assert done.client.json()["data"][0]["embedding"] == "AAAAAAAAAD8="
