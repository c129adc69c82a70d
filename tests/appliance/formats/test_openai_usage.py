"""Usage of OpenAI-protocol servers: one meaning for all of them."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Usage
from appliance.formats.openai_usage import client_usage, decode_usage, encode_usage


def usage(prompt: Any = 100, completion: Any = 20, total: Any = None, **details: Any) -> Usage | None:
    body: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    body["prompt_tokens_details"] = {
        name: details[name] for name in ("cached_tokens", "cache_write_tokens") if name in details
    }
    body["completion_tokens_details"] = {"reasoning_tokens": details.get("reasoning")}
    return decode_usage(body | details.get("beside", {}))


def test_the_counts_and_their_parts() -> None:
    expected = Usage(100, 20, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=5)
    assert usage(total=120, cached_tokens=60, cache_write_tokens=30, reasoning=5) == expected


def test_deepseek_says_the_cached_tokens_twice_and_they_count_once() -> None:
    assert usage(beside={"prompt_cache_hit_tokens": 60}) == Usage(100, 20, cached_input_tokens=60)
    assert usage(cached_tokens=60, beside={"prompt_cache_hit_tokens": 60}) == Usage(100, 20, cached_input_tokens=60)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"total": 150, "reasoning": 30}, Usage(100, 50, reasoning_tokens=30)),
        ({"total": 150}, Usage(100, 50, reasoning_tokens=30)),
        ({"total": 150, "reasoning": 7}, Usage(100, 20, reasoning_tokens=7)),
        ({"total": 150, "cached_tokens": 20, "cache_write_tokens": 10}, Usage(130, 20, 20, 10)),
        ({"total": 150, "cached_tokens": 20, "reasoning": 30}, Usage(100, 50, 20, reasoning_tokens=30)),
        ({"total": 90}, Usage(100, 20)),
        ({"total": "many"}, Usage(100, 20)),
    ],
)
def test_what_the_total_has_beyond_the_two_counts(said: dict[str, Any], expected: Usage) -> None:
    assert usage(**said) == expected


def test_parts_never_outgrow_the_whole() -> None:
    assert usage(cached_tokens=500, cache_write_tokens=5) == Usage(100, 20, cached_input_tokens=100)
    assert usage(cached_tokens=90, cache_write_tokens=50) == Usage(100, 20, 90, 10)
    assert usage(completion=10, total=110, reasoning=11) == Usage(100, 10, reasoning_tokens=10)


@pytest.mark.parametrize("value", [None, "12", -1, True, 1.5, float("nan"), float("inf"), [], {}])
def test_counts_that_are_no_counts_make_usage_unknown(value: Any) -> None:
    assert usage(prompt=value) is None
    assert usage(completion=value) is None
    assert usage(cached_tokens=value, reasoning=value) == Usage(100, 20)


@pytest.mark.parametrize("value", [None, "none", 5, [], {}])
def test_what_is_no_usage_is_unknown(value: Any) -> None:
    assert decode_usage(value) is None


def test_whole_floats_count() -> None:
    assert usage(prompt=100.0) == Usage(100, 20)


def test_encoding_is_read_back_and_adds_up() -> None:
    full = Usage(100, 20, 60, 30, 5)
    body = encode_usage(full)
    assert body["total_tokens"] == 120
    assert decode_usage(body) == full
    assert "cache_write_tokens" not in encode_usage(Usage(1, 2))["prompt_tokens_details"]


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"cached_tokens": 60}, Usage(100, 20, 60)),
        ({"prompt_tokens_details": {"cached_tokens": 10, "cache_creation_input_tokens": 30}}, Usage(100, 20, 10, 30)),
        ({"prompt_tokens_details": {"cache_creation_tokens": 30}}, Usage(100, 20, 0, 30)),
    ],
)
def test_other_names_of_the_cache_counts(beside: dict[str, Any], expected: Usage) -> None:
    assert decode_usage({"prompt_tokens": 100, "completion_tokens": 20} | beside) == expected


def test_a_client_sees_the_understood_counts_and_the_further_ones_but_no_money() -> None:
    own = {
        "prompt_tokens": 12,
        "completion_tokens": 2,
        "total_tokens": 334,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0, "odd": 1.5},
        "completion_tokens_details": {"reasoning_tokens": 320, "accepted_prediction_tokens": 0},
        "num_sources_used": 0,
        "cost_in_usd_ticks": 1641500,
        "cost": 0.1,
    }
    usage = decode_usage(own)
    assert usage
    assert client_usage(own, usage) == {
        "prompt_tokens": 12,
        "completion_tokens": 322,
        "total_tokens": 334,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 320, "accepted_prediction_tokens": 0},
        "num_sources_used": 0,
    }
    assert client_usage("free", usage) == encode_usage(usage)
