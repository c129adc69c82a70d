"""Pictures: the operator's defaults, Google's own form, and a price by the picture or by the token."""

from __future__ import annotations

import json

import pytest

from appliance.formats.chat import Usage
from support.operations import answer, pictures, ran

CALL = {"model": "pictures", "prompt": "a red kite"}
TOLD = {"input_tokens": 9, "output_tokens": 272, "total_tokens": 281}


async def test_the_caller_s_words_go_upstream_under_its_own_model_name() -> None:
    done = await ran("image", CALL | {"n": 2, "quality": "high", "unheard_of": 1}, pictures(2))
    assert done.bodies == [{"model": "p1", "prompt": "a red kite", "n": 2, "quality": "high", "unheard_of": 1}]
    assert done.client.json() == {"created": 7, "data": [{"b64_json": "AAAA"}] * 2}


@pytest.mark.parametrize("n", [1, 3])
async def test_pictures_are_counted_as_they_came(n: int) -> None:
    """Three were asked for: what came is what is charged, in the row as units."""
    done = await ran("image", CALL | {"n": 3}, pictures(n))
    assert json.loads(done.row["units"]) == {"images": n}
    assert (done.row["cost_nano"], done.row["estimated"]) == (n * 40_000_000, False)
    assert done.exchange.bound
    assert done.exchange.bound.images == 3


async def test_tokens_that_the_upstream_tells_are_charged() -> None:
    done = await ran("image", {"model": "drawn", "prompt": "a kite"}, pictures(1, usage=TOLD))
    assert (done.row["input_tokens"], done.row["output_tokens"], done.row["estimated"]) == (9, 272, False)
    assert done.row["cost_nano"] == 9 * 5_000 + 272 * 40_000
    assert done.client.json()["usage"]["total_tokens"] == 281


async def test_tokens_that_nobody_tells_are_estimated_by_size_and_quality_and_number() -> None:
    async def cost(**changes: str | int) -> int:
        done = await ran("image", {"model": "drawn", "prompt": "a kite"} | changes, pictures(int(changes.get("n", 1))))
        assert done.row["estimated"]
        return int(done.row["cost_nano"])

    small = await cost()
    assert 0 < small < await cost(quality="high") < await cost(quality="high", size="1024x1024")
    assert await cost(n=2) > small * 1.5


async def test_the_native_answer_shows_the_pictures_and_their_cost() -> None:
    done = await ran("image", CALL | {"metadata": {"a": 1}}, pictures(1), surface="native")
    data = done.client.json()["data"]
    assert (data["data"], data["usage"]["images"], data["usage"]["cost"]) == ([{"b64_json": "AAAA"}], 1, "0.04")
    assert json.loads(done.row["metadata"]) == {"a": 1}
    assert "metadata" not in done.bodies[0]


async def test_the_operator_s_defaults_hold_where_the_caller_says_nothing() -> None:
    done = await ran("image", {"model": "drawn", "prompt": "a kite", "quality": "medium"}, pictures(1, usage=TOLD))
    assert done.bodies == [{"model": "p1", "prompt": "a kite", "quality": "medium", "size": "512x512"}]


async def test_the_defaults_count_for_the_bound_too() -> None:
    async def most(**said: str) -> int:
        done = await ran("image", {"model": "drawn", "prompt": "a"} | said, pictures(1, usage=TOLD))
        assert done.exchange.bound
        return done.exchange.bound.output_tokens

    assert await most() == await most(size="512x512", quality="low") < await most(size="4096x4096")


async def test_google_is_asked_in_its_own_words() -> None:
    reply = {"predictions": [{"bytesBase64Encoded": "AAAA", "mimeType": "image/png"}]}
    done = await ran("image", {"model": "imagen", "prompt": "a kite", "n": 1}, answer(reply))
    assert done.client.json()["data"] == [{"b64_json": "AAAA"}]
    assert "prompt" not in done.bodies[0]
    assert done.exchange.usage == Usage(images=1)


async def test_what_would_cost_behind_the_ledger_s_back_is_refused() -> None:
    done = await ran("image", CALL | {"num_images": 4})
    assert (done.error.code, done.error.param) == ("VALIDATION_ERROR", "num_images")
    assert done.pools.opened == []
