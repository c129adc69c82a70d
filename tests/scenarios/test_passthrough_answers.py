"""What comes back: unknown members, usage only for those who asked, ids; and what is refused by name beforehand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support import faults
from support.appliance import Answer, Gateway, running
from support.raw_json import members_of
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


@pytest.mark.parametrize("unknown", [{"top_kk": 5}, {"max_token": 5}, {"foo": 1, "bar": 2}, {"response_forma": {}}])
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
    usage: dict[str, Any] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    usage |= {"prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}}
    whole = completion("hello", system_fingerprint="fp_1", usage=usage)
    raw = json.dumps(whole, separators=(",", ":")).encode()[:-1] + f", {extra}}}".encode()
    upstream.answer(lambda call: call.reply(200, raw))
    answer = gateway.post(COMPAT, {"model": "plain", "messages": json.loads(MESSAGES)})
    assert members_of(answer.body) == members_of(raw) | {"model": '"plain"'}


def test_members_of_a_streamed_answer_come_back_as_they_were_written(gateway: Gateway, upstream: Upstream) -> None:
    raw = b'{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "x": [1.50], "choices": '
    raw += b'[{"index": 0, "delta": {"role": "assistant", "content": "a", "reasoning_content": "b", "odd": 1e0}, '
    raw += b'"finish_reason": null}]}'
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
