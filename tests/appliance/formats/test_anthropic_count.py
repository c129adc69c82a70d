from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import MessageTokensCount

from appliance.errors import GatewayError
from appliance.formats.anthropic_count import decode_count, encode_count, encode_count_request
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, TextPart, Tool

HELLO = [Message("system", [TextPart("Be brief.")]), Message("user", [TextPart("hello")])]


def test_a_count_there_and_back() -> None:
    assert decode_count(encode_count(12)) == 12
    assert MessageTokensCount.model_validate(encode_count(0), strict=True).input_tokens == 0


@pytest.mark.parametrize("body", [None, [], {}, {"input_tokens": "12"}, {"input_tokens": True}, {"input_tokens": -1}])
def test_what_is_no_count_is_a_shape_mismatch(body: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_count(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


def test_only_what_counts_is_sent() -> None:
    request = ChatRequest(
        "front",
        HELLO,
        stream=True,
        temperature=1,
        stop=["END"],
        user="alice",
        tools=[Tool("f")],
        reasoning=ReasoningOptions(budget_tokens=50_000),
    )
    body = encode_count_request(request, "claude-haiku-4-5")
    assert body == {
        "model": "claude-haiku-4-5",
        "system": "Be brief.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
        "thinking": {"type": "enabled", "budget_tokens": 50_000},
    }
    assert request.max_output_tokens is None
