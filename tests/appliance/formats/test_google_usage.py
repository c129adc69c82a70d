from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.chat import Usage
from appliance.formats.google_usage import decode_usage


def test_every_class_is_counted_once() -> None:
    usage = {
        "promptTokenCount": 100,
        "toolUsePromptTokenCount": 40,
        "cachedContentTokenCount": 30,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 15,
        "totalTokenCount": 175,
    }
    decoded = decode_usage(usage)
    assert decoded == Usage(input_tokens=140, output_tokens=35, cached_input_tokens=30, reasoning_tokens=15)
    assert decoded.total_tokens == usage["totalTokenCount"]


def test_counts_that_are_left_out_are_zero() -> None:
    assert decode_usage({"promptTokenCount": 14, "totalTokenCount": 14}) == Usage(input_tokens=14)
    assert decode_usage({"totalTokenCount": 0}) == Usage()


def test_the_cached_part_does_not_outgrow_the_input() -> None:
    assert decode_usage({"promptTokenCount": 3, "cachedContentTokenCount": 5}) == Usage(
        input_tokens=3, cached_input_tokens=3
    )


@pytest.mark.parametrize("usage", [None, [], "12", {}, {"trafficType": "ON_DEMAND"}, {"promptTokenCount": "7"}])
def test_unknown_usage_is_none_and_not_zero(usage: Any) -> None:
    assert decode_usage(usage) is None


def test_counts_that_are_no_whole_numbers_count_nothing() -> None:
    usage = {
        "promptTokenCount": 5,
        "candidatesTokenCount": True,
        "thoughtsTokenCount": "7",
        "cachedContentTokenCount": -3,
    }
    assert decode_usage(usage) == Usage(input_tokens=5)
