from __future__ import annotations

from typing import Any

import pytest
from openai.types.responses import ResponseUsage

from appliance.formats.chat import Usage
from appliance.formats.responses_usage import decode_usage, encode_usage


def test_every_token_class_there_and_back() -> None:
    usage = Usage(100, 50, cached_input_tokens=60, cache_write_tokens=30, reasoning_tokens=20)
    told = encode_usage(usage)
    assert told == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    }
    ResponseUsage.model_validate(told, strict=True)
    assert decode_usage(told) == usage


@pytest.mark.parametrize("usage", [None, "x", {}, {"input_tokens": 1}, {"input_tokens": True, "output_tokens": 1}])
def test_what_cannot_be_understood_is_not_guessed(usage: Any) -> None:
    assert decode_usage(usage) is None


def test_parts_never_outgrow_the_whole() -> None:
    usage = {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 8},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 9},
    }
    assert decode_usage(usage) == Usage(10, 5, 8, 2, 5)
    assert decode_usage(usage | {"input_tokens_details": None, "output_tokens_details": "?"}) == Usage(10, 5)
