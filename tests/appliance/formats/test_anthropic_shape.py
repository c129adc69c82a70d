from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_shape import read_count_head, read_head
from appliance.formats.base import RequestHead

HELLO = [{"role": "user", "content": "hello"}]


def _body(**members: Any) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 9, "messages": HELLO, **members}).encode()


def test_the_head_of_a_small_and_of_a_full_request() -> None:
    assert read_head(_body()) == RequestHead("m", include_usage=True, output_cap=9)
    full = _body(
        messages=[*HELLO, {"role": "system", "content": [{"type": "text", "text": "x"}]}],
        stream=True,
        system=[{"type": "text", "text": "x"}],
        temperature=1,
        top_p=0.5,
        top_k=3,
        stop_sequences=["END"],
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
        tool_choice={"type": "auto"},
        thinking={"type": "adaptive"},
        output_config={"effort": "low"},
        metadata={"user_id": "u"},
        of_the_future=[1],
    )
    assert read_head(full) == RequestHead("m", True, include_usage=True, output_cap=9, metadata={"user_id": "u"})
    assert read_head(_body(metadata={"user_id": None}, temperature=None, stream=None)).metadata is None


def test_counting_asks_for_no_output() -> None:
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    assert read_count_head(body) == RequestHead("m")
    with pytest.raises(GatewayError, match="max_tokens: is required"):
        read_head(body)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": 5}, "model"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [*HELLO, {"role": "user"}]}, "messages.1.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0"),
        ({"stream": "yes"}, "stream"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"top_k": 0.5}, "top_k"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"stop_sequences": [5]}, "stop_sequences.0"),
        ({"system": {"type": "text"}}, "system"),
        ({"tools": {}}, "tools"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"thinking": True}, "thinking"),
        ({"thread": "create"}, "thread"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"mcp_servers": [{"type": "url", "url": "https://mcp.test", "name": "m"}]}, "mcp_servers"),
        ({"container": "container_1"}, "container"),
        ({"container": {"skills": []}}, "container"),
        ({"speed": "fast"}, "speed"),
        ({"inference_geo": "us"}, "inference_geo"),
        ({"metadata": {"team": "a"}}, "metadata.team"),
        ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ],
)
def test_a_member_of_the_wrong_type_is_named(members: dict[str, Any], field: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_head(_body(**members))
    found = caught.value.param or ""
    assert caught.value.code == "VALIDATION_ERROR"
    assert found.replace("...", "0") == field


def test_what_is_no_object_is_refused() -> None:
    for body in (b"[]", b"{", b'{"model": "\xff"}'):
        with pytest.raises(GatewayError) as caught:
            read_head(body)
        assert caught.value.code == "VALIDATION_ERROR"


def test_members_that_say_nothing_are_no_fault() -> None:
    neutral: dict[str, Any] = {
        "mcp_servers": [],
        "speed": "standard",
        "inference_geo": "global",
        "container": None,
        "thread": None,
    }
    assert read_head(_body(**neutral)).model
