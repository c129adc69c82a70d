from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import MessageDeltaUsage
from anthropic.types import Usage as SdkUsage

from appliance.formats.anthropic_usage import decode_usage, encode_usage
from appliance.formats.chat import Usage


@pytest.mark.parametrize(
    "usage",
    [
        Usage(),
        Usage(input_tokens=1532, output_tokens=33, cached_input_tokens=1111, cache_write_tokens=418),
        Usage(input_tokens=5, output_tokens=33, reasoning_tokens=20),
    ],
)
def test_usage_there_and_back_is_the_same_and_pleases_the_sdk(usage: Usage) -> None:
    wire = encode_usage(usage)
    assert decode_usage(wire) == usage
    SdkUsage.model_validate(wire, strict=True)
    MessageDeltaUsage.model_validate(wire, strict=True)


def test_plain_input_leaves_cache_reads_and_writes_out_and_is_never_negative() -> None:
    usage = encode_usage(Usage(input_tokens=10, cached_input_tokens=4, cache_write_tokens=1))
    assert usage == {
        "input_tokens": 5,
        "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 1,
        "output_tokens": 0,
    }
    assert encode_usage(Usage(input_tokens=1, cached_input_tokens=4))["input_tokens"] == 0


def test_unknown_usage_is_written_as_zeros() -> None:
    assert set(encode_usage(None).values()) == {0}


def test_input_is_the_sum_of_its_three_classes() -> None:
    usage = {
        "input_tokens": 3,
        "cache_creation_input_tokens": 418,
        "cache_read_input_tokens": 1111,
        "output_tokens": 33,
        "output_tokens_details": {"thinking_tokens": 20},
    }
    assert decode_usage(usage) == Usage(
        input_tokens=1532, output_tokens=33, cached_input_tokens=1111, cache_write_tokens=418, reasoning_tokens=20
    )


def test_rounds_that_the_top_level_leaves_out_are_counted() -> None:
    compaction = {"type": "compaction", "input_tokens": 100, "cache_read_input_tokens": 55096, "output_tokens": 83}
    last = {"type": "message", "input_tokens": 181, "cache_creation_input_tokens": 7, "output_tokens": 8}
    usage = {
        "input_tokens": 181,
        "cache_creation_input_tokens": 7,
        "output_tokens": 8,
        "iterations": [compaction, last],
    }
    assert decode_usage(usage) == Usage(
        input_tokens=55384, output_tokens=91, cached_input_tokens=55096, cache_write_tokens=7
    )


@pytest.mark.parametrize("iterations", [None, [], [None], "garbage"])
def test_without_rounds_the_top_level_counts(iterations: Any) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": None, "output_tokens": 2, "iterations": iterations}
    assert decode_usage(usage) == Usage(input_tokens=5, output_tokens=2)


@pytest.mark.parametrize("usage", [None, [], "12"])
def test_unknown_usage_is_none_and_not_zero(usage: Any) -> None:
    assert decode_usage(usage) is None


def test_counts_that_are_no_whole_numbers_count_nothing() -> None:
    usage = {"input_tokens": True, "cache_read_input_tokens": "7", "output_tokens": -3, "output_tokens_details": 4}
    assert decode_usage(usage) == Usage()
