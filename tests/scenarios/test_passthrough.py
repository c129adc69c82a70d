"""What reaches the upstream and what comes back: same dialect untouched but for the model, operator settings, ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, running
from support.sse import events, text_of
from support.upstream import DONE, Upstream, chunk, completion

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
  claude: {{type: anthropic, base_url: "{upstream.url}", api_key: "${{env:K}}"}}
models:
  plain: {{price: free, route: [{{backend: "up:vendor/Model:v1"}}]}}
  set:
    price: free
    max_output_tokens: 100
    system_prompt: "Speak in verse. \\u00e9 \\"quoted\\""
    default_params: {{temperature: 0.25, top_p: 0.5, max_tokens: 50, stop: [END], seed: 7}}
    route: [{{backend: "up:x"}}]
  gpt: {{price: free, default_params: {{max_tokens: 50}}, max_output_tokens: 100, route: [{{backend: "up:o3-mini"}}]}}
  other-dialect: {{price: free, route: [{{backend: "claude:c"}}]}}
"""
    with running(yaml_text, tmp_path_factory.mktemp("passthrough"), {"K": "some-anthropic-key"}) as gateway:
        yield gateway


def sent(gateway: Gateway, upstream: Upstream, body: str | dict[str, Any], path: str = COMPAT) -> bytes:
    """What the upstream got for this body."""
    data = body if isinstance(body, str) else json.dumps(body)
    answer = gateway.post(path, data.encode())
    assert answer.status == 200, answer.body
    return upstream.calls[-1].body


def members_of(raw: bytes) -> dict[str, str]:
    """Top-level members with their values as they are written; the test bodies nest in a way that splits well."""
    found: dict[str, str] = {}
    decoder = json.JSONDecoder()
    text = raw.decode()
    place = text.index("{") + 1
    while True:
        place += len(text[place:]) - len(text[place:].lstrip(" ,\n"))
        if text[place] == "}":
            return found
        name, place = decoder.raw_decode(text, place)
        place = text.index(":", place) + 1
        place += len(text[place:]) - len(text[place:].lstrip())
        _, end = decoder.raw_decode(text, place)
        found[name], place = text[place:end], end


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


# -- the native surface is strict -------------------------------------------------------------------------------------


def test_a_native_request_reaches_an_openai_upstream_in_its_dialect(gateway: Gateway, upstream: Upstream) -> None:
    body = {
        "model": "plain",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "temperature": 0.5,
        "stop": "END",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "tool_choice": "required",
        "metadata": {"project": "x"},
    }
    got = json.loads(sent(gateway, upstream, body, NATIVE))
    assert got["model"] == "vendor/Model:v1"
    assert got["temperature"] == 0.5
    assert got["stop"] in ("END", ["END"])
    assert got["tools"] == body["tools"]
    assert got["tool_choice"] == "required"
    assert "metadata" not in got, "the caller's notes stay with us"
    assert gateway.usage()[0]["metadata"] == {"project": "x"}


@pytest.mark.parametrize("unknown", [{"top_k": 5}, {"max_token": 5}, {"foo": 1, "bar": 2}, {"response_forma": {}}])
def test_a_native_member_that_nobody_knows_is_refused_by_name(
    gateway: Gateway, upstream: Upstream, unknown: dict[str, Any]
) -> None:
    answer = gateway.post(NATIVE, {"model": "plain", "messages": json.loads(MESSAGES)} | unknown)
    assert (answer.status, answer.json()["error"]["code"]) == (422, "VALIDATION_ERROR")
    assert {detail["field"] for detail in answer.json()["error"]["details"]} == set(unknown)
    assert upstream.calls == []


@pytest.mark.parametrize("member", ["logit_bias", "x_unknown", "n"])
def test_what_another_dialect_cannot_carry_is_refused_by_name(
    gateway: Gateway, upstream: Upstream, member: str
) -> None:
    value = {"logit_bias": {"50256": -100}, "x_unknown": 1, "n": 2}[member]
    body = {"model": "other-dialect", "messages": json.loads(MESSAGES), "max_tokens": 10, member: value}
    answer = gateway.post(COMPAT, body)
    assert answer.status == 400
    assert answer.json()["error"]["param"] == member
    assert upstream.calls == [], "nothing is called, nothing is paid"
    assert gateway.usage(model="other-dialect") == []


# -- the answer -------------------------------------------------------------------------------------------------------


def test_members_of_a_whole_answer_come_back_as_they_were_written(gateway: Gateway, upstream: Upstream) -> None:
    extra = '"x_unknown": {"a": [1.50, 1e2]}, "provider": "somebody", "big": 123456789012345678901234567890'
    raw = json.dumps(completion("hello", system_fingerprint="fp_1")).encode()[:-1] + f", {extra}}}".encode()
    upstream.answer(lambda call: call.reply(200, raw))
    answer = gateway.post(COMPAT, {"model": "plain", "messages": json.loads(MESSAGES)})
    assert members_of(answer.body) == members_of(raw) | {"model": '"plain"'}


def test_members_of_a_streamed_answer_come_back_as_they_were_written(gateway: Gateway, upstream: Upstream) -> None:
    raw = b'{"id": "c", "object": "chat.completion.chunk", "created": 1.0, "model": "m", "x": [1.50], "choices": '
    raw += b'[{"index": 0, "delta": {"content": "a", "reasoning_content": "b", "odd": 1e0}, "finish_reason": null}]}'
    upstream.answer(lambda call: call.stream([b"data: " + raw + b"\n\n", chunk({}, "stop"), DONE]))
    answer = gateway.post(COMPAT, {"model": "plain", "messages": json.loads(MESSAGES), "stream": True})
    first = answer.body.split(b"\n\n")[0].removeprefix(b"data: ")
    assert members_of(first) == members_of(raw) | {"model": '"plain"'}


def stream(gateway: Gateway, **members: Any) -> Answer:
    answer = gateway.post(COMPAT, {"model": "plain", "messages": json.loads(MESSAGES), "stream": True} | members)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    return answer


@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_usage_that_nobody_asked_for_is_not_shown(
    gateway: Gateway, upstream: Upstream, options: dict[str, Any]
) -> None:
    body = stream(gateway, **options).body
    assert b'"usage"' not in body
    assert text_of(body) == "one two"
    assert upstream.calls[-1].json["stream_options"]["include_usage"] is True
    assert gateway.usage()[0]["estimated"] is False, "it was asked for all the same"


def test_usage_that_was_asked_for_comes_in_one_chunk_before_the_end(gateway: Gateway) -> None:
    found = events(stream(gateway, stream_options={"include_usage": True}).body)
    assert found[-1] == ("", "[DONE]")
    assert found[-2][1]["usage"]["total_tokens"] == 10
    assert found[-2][1]["choices"] == []
    assert found[-2][1]["model"] == "plain"
    assert sum("usage" in data and bool(data["usage"]) for _, data in found[:-1]) == 1


def test_usage_is_estimated_for_those_who_ask_when_the_upstream_keeps_quiet(
    gateway: Gateway, upstream: Upstream
) -> None:
    upstream.answer(lambda call: call.stream([chunk({"content": "one two"}), chunk({}, "stop"), DONE]))
    found = events(stream(gateway, stream_options={"include_usage": True}).body)
    assert found[-2][1]["usage"]["completion_tokens"] == 2
    assert found[-2][1]["usage"]["prompt_tokens"] > 0
    assert "usage" not in stream(gateway).body.decode()


def test_usage_inside_the_last_content_chunk_is_read_too(gateway: Gateway, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 5, "total_tokens": 16}
    upstream.answer(lambda call: call.stream([chunk({"content": "x"}), chunk({}, "stop", usage=usage), DONE]))
    found = events(stream(gateway, stream_options={"include_usage": True}).body)
    row = gateway.usage()[0]
    assert (row["tokens_in"], row["tokens_out"], row["estimated"]) == (11, 5, False)
    assert [data["usage"]["total_tokens"] for _, data in found[:-1] if data.get("usage")][-1] == 16


def test_every_chunk_bears_the_callers_name_of_the_model(gateway: Gateway) -> None:
    assert {data["model"] for _, data in events(stream(gateway).body) if isinstance(data, dict)} == {"plain"}


def test_the_natives_stream_ends_with_usage_and_the_end_mark(gateway: Gateway) -> None:
    body = {"model": "plain", "messages": json.loads(MESSAGES), "stream": True}
    found = events(gateway.post(NATIVE, body).body)
    assert found[-1] == ("", "[DONE]")
    usage = found[-2][1]["usage"]
    assert found[-2][1]["choices"] == []
    assert (usage["input_tokens"], usage["output_tokens"], usage["cost"], usage["estimated"]) == (7, 3, "0", False)
    assert all(set(data) == {"id", "model", "choices"} for _, data in found[:-2])
    assert all(
        set(choice) >= {"index", "delta", "finish_reason"} for _, data in found[:-2] for choice in data["choices"]
    )


# -- request ids ------------------------------------------------------------------------------------------------------

KEPT = ["12345678", "a" * 128, "Trace:1.2_3-4", "00000000-0000-4000-8000-000000000000"]
REPLACED = [
    "short",
    "a" * 129,
    "has blank inside",
    'quote"quote',
    "ünïcödé-id",
    "semi;colon;",
    "<script>alert",
    "new/slash/",
]


@pytest.mark.parametrize("path", [COMPAT, NATIVE, "/v1/me", "/health", "/oai/v1/models", "/v1/nothing"])
@pytest.mark.parametrize("request_id", KEPT + REPLACED)
def test_a_request_id_is_kept_or_made(gateway: Gateway, request_id: str, path: str) -> None:
    body = {"model": "plain", "messages": json.loads(MESSAGES)} if path in (COMPAT, NATIVE) else None
    headers = {"X-Request-ID": request_id.encode().decode("latin-1")}
    answer = gateway.request("POST" if body else "GET", path, body, headers=headers)
    shown = answer.headers["X-Request-ID"]
    if request_id in KEPT:
        assert shown == request_id
    else:
        assert shown.startswith("req_")
        assert len(shown) > 16


@pytest.mark.parametrize("stream", [False, True])
def test_the_answers_headers_say_who_answered(gateway: Gateway, stream: bool) -> None:
    for path in (COMPAT, NATIVE):
        body = {"model": "plain", "messages": json.loads(MESSAGES), "stream": stream}
        answer = gateway.post(path, body)
        assert answer.headers["X-Scaigrid-Backend"] == "up:vendor/Model:v1"
        assert answer.headers["X-Scaigrid-Attempts"] == "1"
        assert answer.headers["X-Request-ID"] == gateway.usage()[0]["request_id"]


def test_ids_that_the_gateway_makes_are_never_the_same(gateway: Gateway) -> None:
    assert len({gateway.get("/health").headers["X-Request-ID"] for _ in range(50)}) == 50
