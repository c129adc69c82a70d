from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Choice, Citation, ReasoningPart, RefusalPart, TextPart, ToolCallPart, Usage
from appliance.formats.responses_reply import decode_reply
from support.fixtures import PROVIDERS, needs_fixtures, recorded_json
from support.golden import check_golden

RECORDED = ["cache-read"]


def response(*output: Any, **members: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "status": "completed", "output": list(output), **members}


def choice(*output: Any, **members: Any) -> Choice:
    (only,) = decode_reply(response(*output, **members)).choices
    return only


def message(*content: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": list(content)}


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_reply_reads_as_its_golden_file(name: str) -> None:
    reply = decode_reply(recorded_json(f"openai-responses/{name}.response.json"))
    check_golden(Path(f"replies/openai-responses/{name}.json"), msgspec.to_builtins(reply))


@needs_fixtures
def test_every_recorded_reply_has_a_golden_file() -> None:
    recorded = {path.name.split(".")[0] for path in (PROVIDERS / "openai-responses").glob("*.response.json")}
    assert recorded - {"error-400"} == set(RECORDED)


def test_items_keep_their_order_and_the_servers_own_stay_out() -> None:
    note = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    reply = decode_reply(
        response(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}],
                "encrypted_content": "gAAAA",
            },
            search,
            message({"type": "output_text", "text": "one", "annotations": []}, {"type": "refusal", "refusal": "no"}),
            {"type": "reasoning", "id": "rs_2", "summary": []},
            message({"type": "output_text", "text": "two", "annotations": [note]}),
            {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"a":1}'},
            {"type": "function_call", "id": "fc_2", "name": "g", "arguments": ""},
            None,
            model="gpt",
            created_at=1700000000.5,
            service_tier="flex",
            usage={"input_tokens": 3, "output_tokens": 4},
        )
    )
    *known, last = reply.choices[0].parts
    assert known == [
        ReasoningPart("a\n\nb", "gAAAA", origin="responses", id="rs_1"),
        TextPart("one"),
        RefusalPart("no"),
        TextPart("two", citations=[Citation("https://a.example", "A", None, 3, 4, note, "responses")]),
        ToolCallPart("call_1", "f", '{"a":1}'),
    ]
    assert isinstance(last, ToolCallPart)
    assert last.id.startswith("call_")
    assert last.arguments == "{}"
    assert reply.extra == {"service_tier": "flex", "server_items": [search, None]}
    assert (reply.id, reply.model, reply.created, reply.usage) == ("resp_1", "gpt", 1700000000, Usage(3, 4))
    assert reply.choices[0].finish_reason == "tool_calls"


def test_reasoning_itself_counts_before_its_summary() -> None:
    item = {
        "type": "reasoning",
        "id": "rs_1",
        "content": [{"type": "reasoning_text", "text": "long"}],
        "summary": [{"type": "summary_text", "text": "short"}],
    }
    assert choice(item).parts == [ReasoningPart("long", origin="responses", id="rs_1")]


def test_log_probabilities_of_all_texts_are_one_list() -> None:
    token = {"token": "a", "logprob": -0.1, "bytes": [97], "top_logprobs": []}
    said = choice(message({"type": "output_text", "text": "aa", "annotations": [], "logprobs": [token, token]}))
    assert said.logprobs == {"content": [token, token], "refusal": None}


@pytest.mark.parametrize(
    ("members", "reason", "native"),
    [
        ({}, "stop", None),
        ({"status": None}, "stop", None),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length", None),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter", None),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, "stop", "steered"),
        ({"status": "incomplete"}, "stop", "incomplete"),
    ],
)
def test_endings(members: dict[str, Any], reason: str, native: str | None) -> None:
    said = choice(message({"type": "output_text", "text": "a"}), **members)
    assert (said.finish_reason, said.native_finish_reason) == (reason, native)


def test_a_call_that_was_cut_ends_by_length() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a', "status": "incomplete"}
    said = choice(call, status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    assert (said.finish_reason, said.parts) == ("length", [ToolCallPart("c", "f", '{"a')])


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"error": {"message": "m"}},
        {"choices": [{"message": {"content": "chat"}}]},
        response(status="failed", error={"code": "server_error", "message": "m"}),
        response(status="in_progress"),
        response(status="queued"),
        response(status="cancelled"),
        {"object": "response", "output": "text"},
    ],
)
def test_what_is_no_finished_response_is_a_shape_mismatch(body: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


def test_odd_values_inside_are_read_leniently() -> None:
    odd: list[Any] = [
        message(None, {"type": "output_text", "text": 5}, {"type": "of_the_future"}),
        {"type": "message", "content": "text"},
        {"type": "reasoning", "summary": "x"},
        {"type": "function_call", "call_id": "c"},
    ]
    assert choice(*odd).parts == []
