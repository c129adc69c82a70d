"""A coding agent that speaks only Anthropic's dialect, pointed at /anthropic: over Anthropic, OpenAI and Google.

Over Anthropic its bytes arrive untouched but for the model's name; over the others, in their words and nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from support import sdk_agent as agent
from support.appliance import Answer, Gateway, running
from support.sse import events
from support.upstream import Call, Upstream, text_stream

MODELS = ("agent-anthropic", "agent-openai", "agent-google")
MESSAGES = "/anthropic/v1/messages?beta=true"
COUNT = "/anthropic/v1/messages/count_tokens?beta=true"
USAGE = {"prompt_tokens": 9000, "completion_tokens": 12, "total_tokens": 9012}

YAML = """
providers:
  anthropic: {{type: anthropic, base_url: "{url}", api_key: sk-ant-test}}
  openai: {{type: openai, base_url: "{url}/v1", api_key: sk-openai-test}}
  google: {{type: google, base_url: "{url}", api_key: goog-test}}
models:
  agent-anthropic: {{price: {{input: "3", output: "15", cached_input: "0.3", cache_write: "3.75"}},
    max_output_tokens: 32000, route: [{{backend: "anthropic:claude-opus-4-6"}}]}}
  agent-openai: {{price: {{input: "1", output: "2"}}, max_output_tokens: 32000,
    route: [{{backend: "openai:gpt-5.1"}}]}}
  agent-google: {{price: {{input: "1", output: "2"}}, max_output_tokens: 32000,
    route: [{{backend: "google:gemini-3-pro-preview"}}]}}
"""


async def answer(call: Call) -> None:
    if "count" in call.path:
        await call.reply(200, {"totalTokens": 777} if "v1beta" in call.path else {"input_tokens": 555})
    elif call.path.startswith("/v1beta/"):
        parts = [{"candidates": [{"content": {"parts": [{"text": piece}], "role": "model"}, "index": 0}]}
                 for piece in agent.pieces()]  # fmt: skip
        parts[-1]["candidates"][0]["finishReason"] = "STOP"
        usage = {"promptTokenCount": 9000, "candidatesTokenCount": 12, "totalTokenCount": 9012}
        await call.stream([f"data: {json.dumps(part | {'usageMetadata': usage})}\n\n".encode() for part in parts])
    elif call.path.startswith("/v1/messages"):
        await call.stream(anthropic_stream())
    else:
        await call.stream(text_stream(*agent.pieces(), usage=USAGE))


def anthropic_stream() -> list[bytes]:
    usage = {"input_tokens": 20, "cache_creation_input_tokens": 980, "cache_read_input_tokens": 8000}
    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-6"}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1}}
    told: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
    told.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    told += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
        for piece in agent.pieces()
    ]
    end = {"stop_reason": "end_turn", "stop_sequence": None}
    edits = {"applied_edits": [{"type": "clear_thinking_20251015", "cleared_input_tokens": 0}]}
    told.append({"type": "content_block_stop", "index": 0})
    told.append({"type": "message_delta", "delta": end, "usage": {"output_tokens": 12}, "context_management": edits})
    told.append({"type": "message_stop"})
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in told]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(answer)
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(YAML.format(url=upstream.url), tmp_path_factory.mktemp("agent")) as gateway:
        yield gateway


def sent(gateway: Gateway, path: str, body: dict[str, Any]) -> Answer:
    """With the key as agents send it, and no other credential."""
    return gateway.post(path, body, key=None, headers=agent.HEADERS | {"x-api-key": gateway.admin_key})


def streamed(gateway: Gateway, upstream: Upstream, model: str) -> tuple[Answer, Call]:
    reply = sent(gateway, MESSAGES, agent.turn(model) | {"stream": True})
    assert reply.status == 200, reply.body
    return reply, upstream.calls[-1]


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON value."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects(inner)


@pytest.mark.parametrize("model", MODELS)
def test_the_stream_is_an_anthropic_one_and_its_usage_is_booked(
    gateway: Gateway, upstream: Upstream, model: str
) -> None:
    reply, _ = streamed(gateway, upstream, model)
    told = events(reply.body)
    assert told[0][1]["message"]["model"] == model
    assert [name for name, _ in told if name != "ping"][-2:] == ["message_delta", "message_stop"]
    deltas = [data["delta"] for name, data in told if name == "content_block_delta"]
    assert "".join(delta.get("text", "") for delta in deltas) == agent.ANSWER
    row = gateway.usage_of(reply.headers["X-Request-ID"])
    assert (row["input_tokens"], row["output_tokens"], row["estimated"]) == (9000, 12, False)


def test_over_anthropic_the_bytes_go_through_untouched(gateway: Gateway, upstream: Upstream) -> None:
    reply, call = streamed(gateway, upstream, "agent-anthropic")
    assert call.json == agent.turn("claude-opus-4-6") | {"stream": True}
    # Member by member the very bytes, in the caller's order: a provider's prompt cache compares prefixes of them.
    written = json.dumps(agent.turn("agent-anthropic") | {"stream": True}).encode()
    for name in ("system", "tools", "messages"):
        member = json.dumps(agent.turn("agent-anthropic")[name]).encode()
        assert member in written
        assert member in call.body
    assert list(call.json) == list(json.loads(written))
    assert call.headers["anthropic-beta"] == agent.BETAS
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert call.headers["x-api-key"] == "sk-ant-test"
    expected = b"".join(anthropic_stream()).replace(b'"claude-opus-4-6"', b'"agent-anthropic"')
    assert events(reply.body) == events(expected)


def test_over_openai_everything_said_arrives_in_its_own_words(gateway: Gateway, upstream: Upstream) -> None:
    _, call = streamed(gateway, upstream, "agent-openai")
    body = call.json
    assert "anthropic-beta" not in call.headers
    assert set(body) <= {
        *("model", "messages", "tools", "stream", "stream_options", "max_completion_tokens", "reasoning_effort"),
        *("user", "safety_identifier"),
    }
    assert not [entry for entry in objects(body) if "cache_control" in entry or "signature" in entry]
    roles = [message["role"] for message in body["messages"]]
    assert roles[:5] == ["system", "user", "assistant", "tool", "tool"]
    said = body["messages"][2]
    assert [call["id"] for call in said["tool_calls"]] == list(agent.IDS)
    assert json.loads(said["tool_calls"][1]["function"]["arguments"]) == {"path": "/srv/page.png", "mode": "image"}
    results = {message["tool_call_id"]: message for message in body["messages"] if message["role"] == "tool"}
    assert list(results) == list(agent.IDS)
    assert agent.LISTING in json.dumps(results[agent.IDS[0]], ensure_ascii=False).replace("\\n", "\n")
    # A tool message of this API holds text only, so the picture follows in the user's name.
    pictures = [entry["image_url"]["url"] for entry in objects(body["messages"][5:]) if "image_url" in entry]
    assert pictures == [f"data:image/png;base64,{agent.IMAGE['data']}"]
    schemas = [tool["function"]["parameters"]["properties"] for tool in body["tools"]]
    assert schemas == [tool["input_schema"]["properties"] for tool in agent.tools()]


def test_over_google_everything_said_arrives_in_its_own_words(gateway: Gateway, upstream: Upstream) -> None:
    _, call = streamed(gateway, upstream, "agent-google")
    body = call.json
    assert call.path == "/v1beta/models/gemini-3-pro-preview:streamGenerateContent?alt=sse"
    assert "anthropic-beta" not in call.headers
    assert set(body) <= {"contents", "systemInstruction", "tools", "toolConfig", "generationConfig"}
    assert not [entry for entry in objects(body) if "cache_control" in entry or "signature" in entry]
    assert agent.SIGNATURE not in call.body.decode()
    assert [content["role"] for content in body["contents"]] == ["user", "model", "user"]
    responses = [part["functionResponse"] for part in body["contents"][2]["parts"]]
    assert [(response["id"], response["name"]) for response in responses] == list(
        zip(agent.IDS, ("Tool_1", "Tool_2"), strict=True)
    )
    assert responses[0]["response"] == {"output": agent.LISTING}
    assert responses[1]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": agent.IMAGE["data"]}}]
    assert len(body["tools"][0]["functionDeclarations"]) == 20


@pytest.mark.parametrize(
    ("model", "counted"), [("agent-anthropic", 555), ("agent-openai", None), ("agent-google", 777)]
)
def test_tokens_are_counted(gateway: Gateway, upstream: Upstream, model: str, counted: int | None) -> None:
    body = agent.turn(model)
    del body["max_tokens"], body["metadata"]
    before = len(upstream.calls)
    reply = sent(gateway, COUNT, body)
    assert reply.status == 200, reply.body
    told = reply.json()["input_tokens"]
    assert told == counted or (counted is None and 3000 < told < 30_000)
    assert len(upstream.calls) - before == (1 if counted else 0)
    if model == "agent-anthropic":
        assert upstream.calls[-1].headers["anthropic-beta"] == agent.BETAS


@pytest.mark.parametrize("model", MODELS)
def test_the_official_sdk_sends_the_same_traffic(gateway: Gateway, model: str) -> None:
    body: Any = agent.turn(model)
    headers = {"anthropic-beta": agent.BETAS, "x-app": "cli"}
    with (
        anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key=gateway.admin_key, max_retries=0) as sdk,
        sdk.beta.messages.stream(**body, extra_headers=headers) as told,
    ):
        last = told.get_final_message()
    assert [block.text for block in last.content if block.type == "text"] == [agent.ANSWER]
    assert last.stop_reason == "end_turn"


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_key_is_an_authentication_error(gateway: Gateway, model: str) -> None:
    headers = agent.HEADERS | {"x-api-key": "sgk_wrong"}
    reply = gateway.post(MESSAGES, agent.turn(model), key=None, headers=headers)
    assert (reply.status, reply.json()["error"]["type"]) == (401, "authentication_error")
