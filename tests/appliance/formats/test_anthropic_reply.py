from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.chat import Choice, Citation, ReasoningPart, RefusalPart, TextPart, ToolCallPart
from appliance.formats.json_answer import JSON_ANSWER_TOOL
from support.fixtures import PROVIDERS, needs_fixtures, recorded_json
from support.golden import check_golden

RECORDED = ["cache-read", "cache-read-and-write", "citations", "text", "thinking-tool", "tools-parallel"]


def _message(*content: Any, **members: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "model": "m", "content": list(content), **members}


def _choice(*content: Any, **members: Any) -> Choice:
    (choice,) = decode_reply(_message(*content, **members)).choices
    return choice


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_reply_reads_as_its_golden_file(name: str) -> None:
    reply = decode_reply(recorded_json(f"anthropic/{name}.response.json"))
    check_golden(Path(f"replies/anthropic/{name}.json"), msgspec.to_builtins(reply))


@needs_fixtures
def test_every_recorded_reply_has_a_golden_file() -> None:
    recorded = {path.name.split(".")[0] for path in (PROVIDERS / "anthropic").glob("*.response.json")}
    assert recorded - {"error-400"} == set(RECORDED)


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason", "native"),
    [
        ("end_turn", "stop", None),
        ("stop_sequence", "stop", None),
        ("max_tokens", "length", None),
        ("model_context_window_exceeded", "length", None),
        ("tool_use", "tool_calls", None),
        ("pause_turn", "stop", "pause_turn"),
        ("refusal", "content_filter", "refusal"),
        ("of_the_future", "stop", "of_the_future"),
        (None, None, None),
    ],
)
def test_stop_reasons(stop_reason: str | None, finish_reason: str | None, native: str | None) -> None:
    choice = _choice(stop_reason=stop_reason)
    assert (choice.finish_reason, choice.native_finish_reason) == (finish_reason, native)


def test_the_json_answer_comes_back_as_text_that_ended() -> None:
    block = {"type": "tool_use", "id": "toolu_1", "name": JSON_ANSWER_TOOL, "input": {"city": "Zürich", "n": [1, 2.0]}}
    choice = _choice(block, stop_reason="tool_use")
    assert choice.parts == [TextPart('{"city":"Zürich","n":[1,2.0]}')]
    assert (choice.finish_reason, choice.native_finish_reason) == ("stop", None)
    assert _choice(block, stop_reason="max_tokens").finish_reason == "length"


def test_blocks_keep_their_order_and_the_servers_own_stay_out() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    found = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    mcp = {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "ask", "input": {}, "server_name": "s"}
    future = {"type": "of_the_future"}
    reply = decode_reply(
        _message(
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "thinking", "thinking": "unsigned", "signature": ""},
            {"type": "redacted_thinking", "data": "opaque"},
            search,
            found,
            {"type": "text", "text": "a", "citations": [{"type": "x"}]},
            mcp,
            {"type": "text", "text": "b", "citations": None},
            {"type": "tool_use", "id": "toolu_1", "name": "f"},
            future,
            stop_reason="tool_use",
        )
    )
    assert reply.choices[0].parts == [
        ReasoningPart("hm", signature="sig", origin="anthropic"),
        ReasoningPart("unsigned", origin="anthropic"),
        ReasoningPart(redacted="opaque", origin="anthropic"),
        TextPart("a", citations=[Citation(start=0, end=1, native={"type": "x"}, origin="anthropic")]),
        TextPart("b"),
        ToolCallPart("toolu_1", "f", "{}"),
    ]
    assert reply.extra == {"server_blocks": [search, found, mcp, future]}


def test_what_explains_the_end_is_kept() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "no"}
    reply = decode_reply(_message(stop_reason="refusal", stop_details=details))
    assert reply.extra == {"stop_details": details}
    assert reply.choices[0].parts == [RefusalPart("no")]
    unexplained = {"type": "refusal", "category": None, "explanation": None}
    assert _choice(stop_reason="refusal", stop_details=unexplained).parts == []
    choice = _choice(stop_reason="stop_sequence", stop_sequence="END")
    assert (choice.finish_reason, choice.native_finish_reason, choice.stop_sequence) == ("stop", None, "END")


def test_an_answer_need_not_name_itself_nor_its_usage() -> None:
    reply = decode_reply({"type": "message", "content": []})
    assert (reply.id, reply.model, reply.created, reply.usage) == ("", "", 0, None)


@pytest.mark.parametrize(
    "body",
    [
        None,
        "text",
        [],
        {},
        {"type": "error", "error": {"type": "api_error", "message": "m"}},
        {"type": "message", "id": "msg_1", "model": "m"},
        {"type": "message", "id": "msg_1", "model": "m", "content": "text"},
        _message("no block"),
        _message({"type": "text"}),
        _message({"type": "text", "text": 5}),
        _message({"type": "thinking"}),
        _message({"type": "redacted_thinking"}),
        _message({"type": "tool_use", "id": "toolu_1", "input": {}}),
        _message({"type": "tool_use", "name": "f", "input": {}}),
        _message({"type": "tool_use", "id": "toolu_1", "name": "f", "input": "{}"}),
    ],
)
def test_what_is_no_message_is_a_shape_mismatch(body: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
