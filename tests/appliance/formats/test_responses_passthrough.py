from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from openai.types.responses import Response

from appliance.errors import GatewayError
from appliance.formats.base import OperatorSettings, ReplyHead
from appliance.formats.chat import ChatReply
from appliance.formats.responses_object import echo_of
from appliance.formats.responses_passthrough import PASSTHROUGH
from appliance.formats.responses_passthrough_writer import PassthroughWriter
from support.fixtures import needs_fixtures, recorded
from support.raw_json import members_of

HEAD = ReplyHead("resp_ours", "front", 1700000000)


def sent(body: dict[str, Any] | str, model: str = "gpt-5", **settings: Any) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    members = msgspec.json.decode(text, type=dict[str, Raw])
    out: dict[str, Any] = json.loads(PASSTHROUGH.request(members, model, OperatorSettings(**settings)))
    return out


def body(**members: Any) -> dict[str, Any]:
    return {"model": "front", "input": "hi", **members}


def test_what_we_do_not_know_goes_on_as_it_was_written() -> None:
    text = '{"model":"front","input":"hi","of_the_future":{"a" : 1.50e1},"temperature":0.10,"tools":[{"type":"mcp"}]}'
    members = msgspec.json.decode(text, type=dict[str, Raw])
    out = members_of(PASSTHROUGH.request(members, "gpt-5", OperatorSettings()))
    assert out == {
        "model": '"gpt-5"',
        "input": '"hi"',
        "of_the_future": '{"a" : 1.50e1}',
        "temperature": "0.10",
        "tools": '[{"type":"mcp"}]',
        "store": "false",
        "include": '["reasoning.encrypted_content"]',
    }


def test_nothing_is_kept_at_the_provider() -> None:
    out = sent(body(store=True, previous_response_id="resp_1"))
    assert out["store"] is False
    assert "previous_response_id" not in out


@pytest.mark.parametrize(
    ("include", "model", "expected"),
    [
        (None, "gpt-5", ["reasoning.encrypted_content"]),
        (["a"], "gpt-5", ["a", "reasoning.encrypted_content"]),
        (["reasoning.encrypted_content"], "gpt-5", ["reasoning.encrypted_content"]),
        ("wrong", "gpt-5", "wrong"),
        (["a"], "gpt-4o", ["a"]),
    ],
)
def test_encrypted_reasoning_is_asked_for(include: Any, model: str, expected: Any) -> None:
    assert sent(body(include=include), model)["include"] == expected


# -- input ------------------------------------------------------------------------------------------------------------


def reasoning(encrypted: str | None, item_id: str = "rs_1") -> dict[str, Any]:
    item = {"type": "reasoning", "id": item_id, "summary": []}
    return item if encrypted is None else item | {"encrypted_content": encrypted}


@pytest.mark.parametrize(
    ("item", "kept"),
    [
        (reasoning("gAAAA"), reasoning("gAAAA")),
        (reasoning(None), reasoning(None)),
        (reasoning("scaigrid.anthropic.Ev"), None),
        (reasoning("scaigrid.google-call.Cs"), None),
        (reasoning("scaigrid.anthropic-redacted.Em"), None),
        (reasoning(None, "rs_scaigrid_a_0"), None),
        (
            reasoning("gAAAA", "rs_scaigrid_a_0"),
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        ),
        (reasoning("scaigrid.responses.scaigrid.x"), reasoning("scaigrid.x")),
        ({"role": "user", "content": "what is scaigrid?"}, {"role": "user", "content": "what is scaigrid?"}),
        ({"type": "message", "id": "msg_scaigrid_a_0"}, {"type": "message", "id": "msg_scaigrid_a_0"}),
    ],
)
def test_reasoning_that_another_provider_made_stays_here(item: dict[str, Any], kept: Any) -> None:
    before, after = {"role": "user", "content": "a"}, {"role": "user", "content": "b"}
    out = sent(body(input=[before, item, after]))["input"]
    assert out == [each for each in (before, kept, after) if each is not None]


def test_items_that_are_not_ours_are_never_opened() -> None:
    text = '{"model":"m","input":[{"n" : 1.0e2},{"type":"reasoning","id":"rs_scaigrid_a_0"}]}'
    members = msgspec.json.decode(text, type=dict[str, Raw])
    out = members_of(PASSTHROUGH.request(members, "gpt-5", OperatorSettings()))
    assert out["input"] == '[{"n" : 1.0e2}]'


def test_references_to_items_at_the_provider_are_refused() -> None:
    with pytest.raises(GatewayError) as caught:
        sent(body(input=["item_reference is but text here", {"type": "item_reference", "id": "msg_1"}]))
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "input.1")
    assert sent(body(input="what is an item_reference?"))["input"] == "what is an item_reference?"


# -- the operator's settings ------------------------------------------------------------------------------------------


def test_default_params_hold_where_the_caller_said_nothing() -> None:
    defaults = {
        "temperature": 0.5,
        "max_tokens": 100,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
        "stop": ["x"],
        "seed": 1,
    }
    out = sent(body(), default_params=defaults)
    assert out["temperature"] == 0.5
    assert out["max_output_tokens"] == 100
    assert out["reasoning"] == {"effort": "low"}
    assert out["text"] == {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {}}}
    assert not {"stop", "seed", "max_tokens", "reasoning_effort", "response_format"} & out.keys()


def test_what_the_caller_said_holds() -> None:
    said = {
        "temperature": 0,
        "max_output_tokens": 7,
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "text"}},
    }
    defaults = {"temperature": 0.5, "max_tokens": 100, "reasoning_effort": "low", "response_format": {"type": "x"}}
    out = sent(body(**said), default_params=defaults)
    assert {name: out[name] for name in said} == said


def test_a_member_of_a_wrong_type_is_left_to_the_upstream() -> None:
    assert sent(body(reasoning="high"), default_params={"reasoning_effort": "low"})["reasoning"] == "high"


@pytest.mark.parametrize(
    ("said", "settings", "expected"),
    [
        (None, {}, None),
        (500, {"max_output_tokens": 100}, 100),
        (50, {"max_output_tokens": 100}, 50),
        (None, {"max_output_tokens": 100}, None),
        (None, {"output_cap": 64}, 64),
        (50, {"output_cap": 64}, 64),
        (None, {"output_cap": 640, "max_output_tokens": 100}, 100),
        (None, {"default_params": {"max_tokens": 500}, "max_output_tokens": 100}, 100),
    ],
)
def test_caps(said: int | None, settings: dict[str, Any], expected: int | None) -> None:
    assert sent(body(max_output_tokens=said), **settings).get("max_output_tokens") == expected


@pytest.mark.parametrize(
    ("said", "expected"), [(None, "be kind"), ("", "be kind"), ("be brief", "be kind\n\nbe brief")]
)
def test_the_system_prompt_comes_before_the_callers_instructions(said: str | None, expected: str) -> None:
    assert sent(body(instructions=said), system_prompt="be kind")["instructions"] == expected


@pytest.mark.parametrize(
    ("members", "settings", "param"),
    [
        ({"instructions": ["a"]}, {"system_prompt": "be kind"}, "instructions"),
        ({"max_output_tokens": "9"}, {"max_output_tokens": 5}, "max_output_tokens"),
    ],
)
def test_what_cannot_be_joined_is_named(members: dict[str, Any], settings: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        sent(body(**members), **settings)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", param)


# -- the reply --------------------------------------------------------------------------------------------------------


@needs_fixtures
def test_a_reply_goes_on_under_the_callers_name() -> None:
    upstream = recorded("openai-responses/cache-read.response.json")
    out = json.loads(PASSTHROUGH.reply(upstream, ChatReply("up", "m", 1, []), HEAD))
    Response.model_validate(out)
    assert out == json.loads(upstream) | {"id": "resp_ours", "model": "front"}
    assert PASSTHROUGH.output_items(upstream) == out["output"]


def test_the_operators_prompt_is_not_told_to_the_caller() -> None:
    upstream = b'{"instructions":"secret of the operator","store":false,"previous_response_id":null,"n" : 1.0}'
    without = PASSTHROUGH.reply(upstream, ChatReply("up", "m", 1, []), HEAD)
    assert members_of(without)["instructions"] == "null"
    echo = echo_of({"instructions": "be brief", "previous_response_id": "resp_0"})
    told = members_of(PASSTHROUGH.reply(upstream, ChatReply("up", "m", 1, []), HEAD, echo))
    assert told == {
        "instructions": '"be brief"',
        "store": "true",
        "previous_response_id": '"resp_0"',
        "n": "1.0",
        "id": '"resp_ours"',
        "model": '"front"',
    }


def test_a_reply_without_items_has_none_to_store() -> None:
    assert PASSTHROUGH.output_items(b'{"output": null}') == []


def test_the_writer_is_a_new_one_for_each_answer() -> None:
    first, second = PASSTHROUGH.writer(HEAD), PASSTHROUGH.writer(HEAD)
    assert isinstance(first, PassthroughWriter)
    assert first is not second
