"""What reaches the upstream: the caller's bytes untouched but for the model's name, and what the operator sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Gateway, running
from support.raw_json import members_of
from support.upstream import Upstream

MESSAGES = '[{"role": "user", "content": "hi"}]'
COMPAT = "/oai/v1/chat/completions"
NATIVE = "/v1/inference/chat"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(autouse=True)
def good(upstream: Upstream) -> None:
    upstream.calls.clear()
    upstream.answer(faults.good)


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = f"""
providers:
  up: {{type: custom, base_url: "{upstream.url}/v1"}}
models:
  plain: {{price: free, route: [{{backend: "up:vendor/Model:v1"}}]}}
  set:
    price: free
    max_output_tokens: 100
    system_prompt: "Speak in verse. \\u00e9 \\"quoted\\""
    default_params: {{temperature: 0.25, top_p: 0.5, max_tokens: 50, stop: [END], seed: 7}}
    route: [{{backend: "up:x"}}]
  gpt: {{price: free, default_params: {{max_tokens: 50}}, max_output_tokens: 100, route: [{{backend: "up:o3-mini"}}]}}
"""
    with running(yaml_text, tmp_path_factory.mktemp("passthrough")) as gateway:
        yield gateway


def sent(gateway: Gateway, upstream: Upstream, body: str | dict[str, Any], path: str = COMPAT) -> bytes:
    """What the upstream got for this body."""
    data = body if isinstance(body, str) else json.dumps(body)
    answer = gateway.post(path, data.encode())
    assert answer.status == 200, answer.body
    return upstream.calls[-1].body


# -- the request ------------------------------------------------------------------------------------------------------

ODD = {  # member: value as written
    "x_unknown": '{"deep": [1, 2, {"a": null}], "A": "\\u00e9\\/"}',
    "temperature": "0.70000000000000001",
    "top_p": "1.0",
    "seed": "-0",
    "frequency_penalty": "1e-3",
    "presence_penalty": "0.10",
    "some_number": "1E+2",
    "big_number": "123456789012345678901234567890",
    "long_fraction": "0.1234567890123456789012345",
    "text": '"tab\\t quote\\" \\ud83d\\ude00 é"',
    "nothing": "null",
    "service_tier": '"flex"',
    "logit_bias": '{"50256": -100}',
    "prediction": '{"type": "content", "content": "x"}',
    "user": '"\\u0061"',
    "": '"a member without a name"',
    "empty": "{}",
    "list": "[ 1,2 ,  3 ]",
}


def body_with(members: dict[str, str], model: str = "plain", messages: str = MESSAGES) -> str:
    inner = ", ".join(f"{json.dumps(name)}: {value}" for name, value in members.items())
    return f'{{"model": "{model}", "messages": {messages}, {inner}}}'


@pytest.mark.parametrize("member", ODD)
def test_a_member_arrives_as_it_was_written(gateway: Gateway, upstream: Upstream, member: str) -> None:
    got = members_of(sent(gateway, upstream, body_with({member: ODD[member]})))
    assert got[member] == ODD[member]


def test_only_the_models_name_is_changed(gateway: Gateway, upstream: Upstream) -> None:
    got = members_of(sent(gateway, upstream, body_with(ODD)))
    assert got == {"model": '"vendor/Model:v1"', "messages": MESSAGES, **ODD}


def test_a_stream_asks_for_usage_besides(gateway: Gateway, upstream: Upstream) -> None:
    got = members_of(sent(gateway, upstream, body_with(ODD | {"stream": "true"})))
    assert json.loads(got.pop("stream_options")) == {"include_usage": True}
    assert got == {"model": '"vendor/Model:v1"', "messages": MESSAGES, **ODD, "stream": "true"}


def test_stream_options_of_the_caller_are_kept(gateway: Gateway, upstream: Upstream) -> None:
    options = '{"include_obfuscation": false, "include_usage": false}'
    got = members_of(sent(gateway, upstream, body_with({"stream": "true", "stream_options": options})))
    assert json.loads(got["stream_options"]) == {"include_obfuscation": False, "include_usage": True}


def test_a_null_in_stream_options_is_no_fault(gateway: Gateway, upstream: Upstream) -> None:
    got = members_of(sent(gateway, upstream, body_with({"stream": "true", "stream_options": "null"})))
    assert json.loads(got["stream_options"]) == {"include_usage": True}


PARTS = [
    '[{"role": "user", "content": [{"type": "hologram", "hologram": {"data": [1.50, 2e0]}}]}]',
    '[{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}]',
    '[{"role": "assistant", "content": null, "audio": {"id": "x"}}, {"role": "user", "content": "b"}]',
    '[{"role": "user", "content": "x", "name": "n", "weight": 0.10}]',
    '[{"role": "developer", "content": "x"}, {"role": "user", "content": ""}]',
    '[{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}, {"type": "input_audio", "x": 1}]}]',
]


@pytest.mark.parametrize("messages", PARTS)
def test_messages_arrive_as_they_were_written(gateway: Gateway, upstream: Upstream, messages: str) -> None:
    got = members_of(sent(gateway, upstream, f'{{"messages": {messages}, "model": "plain"}}'))
    assert got["messages"] == messages


def test_a_member_that_stands_twice_arrives_once_and_is_the_one_that_was_checked(
    gateway: Gateway, upstream: Upstream
) -> None:
    """Otherwise an upstream could read another model, cap or prompt than the one that was judged and booked."""
    body = f'{{"model": "nope", "max_tokens": 5, "model": "plain", "max_tokens": 9, "messages": {MESSAGES}}}'
    answer = gateway.post(COMPAT, body.encode())
    if answer.status == 400:
        return
    raw = upstream.calls[-1].body
    assert raw.count(b'"model"') == raw.count(b'"max_tokens"') == 1
    assert members_of(raw)["max_tokens"] == "9"
    assert members_of(raw)["model"] == '"vendor/Model:v1"'


def test_an_escaped_spelling_of_a_member_is_the_same_member(gateway: Gateway, upstream: Upstream) -> None:
    body = f'{{"model": "plain", "messages": {MESSAGES}, "mod\\u0065l": "set"}}'
    raw = sent(gateway, upstream, body)
    assert raw.count(b"model") == 1
    assert members_of(raw)["model"] == '"x"', "the last one holds, here as everywhere"


def test_blanks_and_line_breaks_between_members_do_no_harm(gateway: Gateway, upstream: Upstream) -> None:
    body = f'\n\t {{\r\n "model"\t:\n"plain" ,\r\n"messages" : {MESSAGES}\n}} \n'
    assert members_of(sent(gateway, upstream, body))["messages"] == MESSAGES


def test_the_callers_headers_stay_with_us(gateway: Gateway, upstream: Upstream) -> None:
    headers = {
        "X-Secret": "mine",
        "Cookie": "a=b",
        "OpenAI-Organization": "org",
        "User-Agent": "me/1",
        "X-Request-ID": "mine-mine",
    }
    body = {"model": "plain", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.post(COMPAT, body, headers=headers).status == 200
    told = " ".join(upstream.calls[-1].headers.values())
    assert gateway.admin_key not in told
    assert not any(value in told for value in headers.values())


# -- what the operator sets -------------------------------------------------------------------------------------------


def test_default_params_hold_where_the_caller_says_nothing(gateway: Gateway, upstream: Upstream) -> None:
    got = json.loads(sent(gateway, upstream, {"model": "set", "messages": json.loads(MESSAGES)}))
    assert (got["temperature"], got["top_p"], got["max_tokens"], got["stop"], got["seed"]) == (
        0.25,
        0.5,
        50,
        ["END"],
        7,
    )


def test_the_caller_overrides_default_params(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "set", "messages": json.loads(MESSAGES), "temperature": 0, "stop": None, "seed": 0}
    got = json.loads(sent(gateway, upstream, body))
    assert (got["temperature"], got["stop"], got["seed"]) == (0, ["END"], 0), "null is as good as nothing said"


@pytest.mark.parametrize(("asked", "capped"), [(30, 30), (100, 100), (101, 100), (10**15, 100)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_models_output_limit_caps_the_callers(
    gateway: Gateway, upstream: Upstream, name: str, asked: int, capped: int
) -> None:
    got = json.loads(sent(gateway, upstream, {"model": "set", "messages": json.loads(MESSAGES), name: asked}))
    assert got[name] == capped
    assert len({"max_tokens", "max_completion_tokens"} & got.keys()) == 1, "no second cap beside the caller's"


def test_both_caps_are_capped(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "set", "messages": json.loads(MESSAGES), "max_tokens": 500, "max_completion_tokens": 70}
    got = json.loads(sent(gateway, upstream, body))
    assert (got["max_tokens"], got["max_completion_tokens"]) == (100, 70)


def test_a_reasoning_model_gets_its_cap_under_its_own_name(gateway: Gateway, upstream: Upstream) -> None:
    got = json.loads(sent(gateway, upstream, {"model": "gpt", "messages": json.loads(MESSAGES)}))
    assert got["max_completion_tokens"] == 50
    assert "max_tokens" not in got


@pytest.mark.parametrize("path", [COMPAT, NATIVE])
def test_the_system_prompt_comes_first_and_hides_none_of_the_callers(
    gateway: Gateway, upstream: Upstream, path: str
) -> None:
    messages = [{"role": "system", "content": "mine"}, {"role": "user", "content": "hi"}]
    got = json.loads(sent(gateway, upstream, {"model": "set", "messages": messages}, path))
    assert got["messages"] == [{"role": "system", "content": 'Speak in verse. é "quoted"'}, *messages]


def test_operator_settings_hold_on_the_native_surface_too(gateway: Gateway, upstream: Upstream) -> None:
    body = {"model": "set", "messages": json.loads(MESSAGES), "max_tokens": 500, "top_p": 1}
    got = json.loads(sent(gateway, upstream, body, NATIVE))
    expected = {"temperature": 0.25, "top_p": 1, "max_tokens": 100, "stop": ["END"], "seed": 7}
    assert {name: got[name] for name in expected} == expected
