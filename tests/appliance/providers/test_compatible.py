"""The rows of compatible.py: what each kind of server gets for the same requests, as golden files.

`golden/requests/<type>/request.json` holds for each case the body, or what is refused and why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from appliance.errors import GatewayError
from appliance.formats.chat import (
    AudioPart,
    ChatRequest,
    FilePart,
    ImagePart,
    Message,
    ReasoningOptions,
    ReasoningPart,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCallPart,
    ToolChoice,
    ToolResultPart,
)
from appliance.formats.openai import Upstream
from appliance.formats.openai_quirks import EFFORTS, Quirks
from appliance.grid.compile import compile_grid
from appliance.providers.base import Endpoint
from appliance.providers.compatible import COMPATIBLE, PASSED, ROWS
from config.services import SERVICES
from support.build import load_yaml
from support.golden import check_golden

MODELS = {
    "mistral": "mistral-medium-3-5",
    "qwen": "qwen-plus",
    "deepseek": "deepseek-v4-pro",
    "groq": "qwen/qwen3-32b",
    "xai": "grok-4.3",
    "openrouter": "anthropic/claude-sonnet-4.5",
    "together": "zai-org/GLM-5",
    "perplexity": "sonar-reasoning-pro",
    "cohere": "command-a-03-2025",
    "gemini": "gemini-3-pro-preview",
    "cerebras": "gpt-oss-120b",
    "moonshot": "kimi-k2.6",
    "zhipu": "glm-5",
    "minimax": "MiniMax-M2",
    "siliconflow": "Qwen/Qwen3-32B",
    "github": "openai/gpt-5",
    "vllm": "Qwen/Qwen3-32B",
    "ollama": "gpt-oss:20b",
}
HINT = {"type": "ephemeral", "ttl": "1h"}
QUESTION = [Message("user", [TextPart("How warm is it?")])]
TOOLS = [
    Tool("weather", "Tells the weather.", {"type": "object", "properties": {"city": {"type": "string"}}}, True, HINT),
    Tool("clock"),
]
SCHEMA = {"type": "object", "properties": {"celsius": {"type": "number"}}, "required": ["celsius"]}

CONVERSATION = ChatRequest(
    "front",
    [
        Message("system", [TextPart("Be brief."), TextPart("Be kind.", cache=HINT)]),
        Message("developer", [TextPart("Answer in German.")]),
        Message(
            "user",
            [
                TextPart("Where is this?"),
                ImagePart(url="https://x.test/a.png", detail="low"),
                ImagePart(data="aGk=", media_type="image/png"),
            ],
            name="alice",
        ),
        Message(
            "assistant",
            [
                ReasoningPart("I should ask both.", signature="c2ln", origin="anthropic"),
                ReasoningPart(redacted="YmxvYg==", origin="anthropic"),
                TextPart("Let me see."),
                ToolCallPart("toolu_01AbCdEfGh", "weather", '{"city": "Bern"}', "Z3Nn", "google", cache=HINT),
                ToolCallPart("aB3dE6gH9", "clock"),
            ],
        ),
        Message("tool", [ToolResultPart("toolu_01AbCdEfGh", [TextPart("12 °C"), TextPart("rain")], cache=HINT)]),
        Message("tool", [ToolResultPart("aB3dE6gH9", [TextPart("no clock")], is_error=True)]),
        Message("user", [TextPart("Never mind the clock.")]),
        Message("assistant", [ReasoningPart("Easy."), TextPart("It is "), TextPart("12 °C.")]),
        Message("user", [TextPart("Thanks.")]),
        Message("user", [TextPart("And tomorrow?")]),
    ],
    stream=True,
    max_output_tokens=500,
    temperature=0.5,
    stop=["END"],
    tools=TOOLS,
    tool_choice=ToolChoice("auto"),
    user="u-1",
    metadata={"team": "blue"},
)
LACKING = {
    "cerebras": replace(CONVERSATION, messages=[*CONVERSATION.messages[:2], *CONVERSATION.messages[3:]]),
    "perplexity": replace(CONVERSATION, tools=[], tool_choice=None, messages=CONVERSATION.messages[6:]),
    "xai": replace(CONVERSATION, stop=[]),
}
"""The conversation without what these servers refuse."""

CASES: dict[str, ChatRequest] = {
    "conversation": CONVERSATION,
    "json_schema": ChatRequest(
        "front", QUESTION, response_format=ResponseFormat("json_schema", "degrees", SCHEMA, strict=True)
    ),
    "json_object": ChatRequest("front", QUESTION, response_format=ResponseFormat("json_object")),
    "prefill": ChatRequest("front", [*QUESTION, Message("assistant", [TextPart("It is")])], prefill=True),
    "any_tool": ChatRequest("front", QUESTION, tools=TOOLS, tool_choice=ToolChoice("required")),
    "one_tool": ChatRequest("front", QUESTION, tools=TOOLS, tool_choice=ToolChoice("tool", "clock")),
    "no_tool": ChatRequest("front", QUESTION, tools=TOOLS, tool_choice=ToolChoice("none")),
    "seed": ChatRequest("front", QUESTION, seed=7),
    "audio": ChatRequest("front", [Message("user", [AudioPart("aGk=", "wav")])]),
    "file": ChatRequest("front", [Message("user", [FilePart(data="aGk=", media_type="application/pdf")])]),
    "file_url": ChatRequest("front", [Message("user", [FilePart(url="https://x.test/a.pdf", filename="a.pdf")])]),
    "all_at_once": ChatRequest(
        "front",
        QUESTION,
        n=2,
        logprobs=True,
        top_logprobs=2,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        top_k=40,
        tools=TOOLS,
        parallel_tool_calls=False,
        extra={"logit_bias": {"1": 5}, "store": True, "verbosity": "low"},
    ),
    "neutral": ChatRequest(
        "front",
        QUESTION,
        logprobs=False,
        presence_penalty=0,
        parallel_tool_calls=True,
        tools=TOOLS,
        extra={"logit_bias": {}, "service_tier": "auto", "verbosity": "medium"},
    ),
    "budget": ChatRequest("front", QUESTION, stream=True, reasoning=ReasoningOptions(budget_tokens=2048)),
} | {
    f"effort_{word}": ChatRequest("front", QUESTION, stream=True, reasoning=ReasoningOptions(word)) for word in EFFORTS
}


def rendered(quirks: Quirks, request: ChatRequest, model: str) -> Any:
    """The body without what every case has; or the members that are refused, with the reason."""
    try:
        body = Upstream(quirks).encode_request(request, model)
    except GatewayError as error:
        return {"refused": {detail["field"]: detail["message"] for detail in error.details or []}}
    del body["model"]
    if request.temperature is not None:
        return body
    body.pop("stream", None), body.pop("stream_options", None)
    if request.messages == QUESTION:
        del body["messages"]
    if request.tools == TOOLS:
        body.pop("tools", None)
    return body


@pytest.mark.parametrize("type_", ROWS)
def test_what_each_kind_of_server_gets(type_: str) -> None:
    model = MODELS.get(type_, "some-model")
    quirks = ROWS[type_]
    bodies = {name: rendered(quirks, request, model) for name, request in CASES.items()}
    if type_ in LACKING:
        bodies["conversation_without"] = rendered(quirks, LACKING[type_], model)
    check_golden(Path(f"requests/{type_}/request.json"), {"model": model, "bodies": bodies})


@pytest.mark.parametrize("type_", ROWS)
def test_equal_requests_give_equal_bodies_and_change_nothing(type_: str) -> None:
    format_, model = Upstream(ROWS[type_]), MODELS.get(type_, "some-model")
    request = LACKING.get(type_, CONVERSATION)
    before = repr(request)
    assert format_.encode_request(request, model) == format_.encode_request(request, model)
    assert repr(request) == before


@pytest.mark.parametrize("type_", ROWS)
def test_a_row_does_not_contradict_itself(type_: str) -> None:
    quirks = ROWS[type_]
    assert not quirks.json_by_tool or "tool" in quirks.tool_choices
    assert not (quirks.extras or frozenset()) & quirks.lacks
    assert quirks.prefill is not None or not quirks.prefill_options
    assert all(set(way.words or ()) <= set(EFFORTS) for way in quirks.thinking)


def test_each_row_is_a_provider() -> None:
    assert [provider.type for provider in COMPATIBLE] == list(ROWS)
    for provider in COMPATIBLE:
        assert isinstance(provider.format, Upstream)
        assert provider.format.quirks is ROWS[provider.type]


def test_only_those_who_need_no_rewriting_are_passed_through() -> None:
    passed = {provider.type for provider in COMPATIBLE if provider.format_name == "openai"}
    assert passed == set(PASSED)
    for provider in COMPATIBLE:
        assert (provider.passthrough is not None) == (provider.type in passed)
        assert provider.format_name == ("openai" if provider.type in passed else provider.type)
    for type_ in passed:
        quirks = ROWS[type_]
        assert (quirks.developer, quirks.text_lists, quirks.call_ids) == (True, True, "any")
        assert (quirks.bridge, quirks.alternates, quirks.defaults) == ("", False, ())


# -- URLs -------------------------------------------------------------------------------------------------------------


def endpoint_of(type_: str, base_url: str = "") -> Endpoint:
    address = f", base_url: '{base_url}'" if base_url else ""
    text = f"providers: {{up: {{type: {type_}, api_key: some-key-0123456789{address}}}}}\n"
    return compile_grid(load_yaml(text), 1).endpoints["up"]


@pytest.mark.parametrize("type_", ROWS)
def test_its_address_is_the_beginning_of_every_url(type_: str) -> None:
    base_url, made = SERVICES[type_].base_url, endpoint_of(type_)
    chat = "/responses" if SERVICES[type_].api == "responses" else "/chat/completions"
    assert made.url("chat", "m", stream=True) == base_url + chat
    assert made.url("models") == f"{base_url}/models"
    assert made.url("speak", "m") == f"{base_url}/audio/speech"
    assert made.headers["Authorization"] == "Bearer some-key-0123456789"


@pytest.mark.parametrize(
    ("type_", "base_url", "operation", "url"),
    [
        ("cohere", "", "embed", "https://api.cohere.ai/v2/embed"),
        ("cohere", "", "rerank", "https://api.cohere.ai/v2/rerank"),
        ("cohere", "", "chat", "https://api.cohere.ai/compatibility/v1/chat/completions"),
        ("cohere", "http://p.test/cohere/compatibility/v1", "rerank", "http://p.test/cohere/v2/rerank"),
        ("cohere", "http://p.test/cohere", "embed", "http://p.test/cohere/v2/embed"),
        ("tei", "", "rerank", "http://127.0.0.1:8080/rerank"),
        ("tei", "", "embed", "http://127.0.0.1:8080/v1/embeddings"),
        ("tei", "http://gpu.test:3000/v1/", "rerank", "http://gpu.test:3000/rerank"),
        ("jina", "", "rerank", "https://api.jina.ai/v1/rerank"),
        ("voyage", "", "embed", "https://api.voyageai.com/v1/embeddings"),
        ("vllm", "http://gpu.test:8000/v1", "rerank", "http://gpu.test:8000/v1/rerank"),
    ],
)
def test_what_stands_beside_the_openai_like_part(type_: str, base_url: str, operation: str, url: str) -> None:
    assert endpoint_of(type_, base_url).url(operation, "m") == url


@pytest.mark.parametrize("type_", [type_ for type_ in ROWS if SERVICES[type_].has_responses])
def test_those_who_have_the_responses_api_can_be_asked_by_it(type_: str) -> None:
    text = f"providers: {{up: {{type: {type_}, api_key: some-key-0123456789, api: responses}}}}\n"
    made = compile_grid(load_yaml(text), 1).endpoints["up"]
    assert (made.dialect, made.url("chat")) == ("responses", f"{SERVICES[type_].base_url}/responses")
