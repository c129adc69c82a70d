"""What models lack: the rows' order, the operator's last word, and models of each kind that people really use."""

from __future__ import annotations

import pytest

from appliance.formats.features import FEATURES
from appliance.providers.capabilities import IMPLIED, lacks, matching
from appliance.providers.compatible import ROWS as QUIRKS

SAMPLING = {"temperature", "top_p", "top_k"}


def test_a_service_that_no_row_knows_can_do_everything() -> None:
    assert lacks("custom", "anything") == frozenset()
    assert lacks("openrouter", "openai/o1-mini") == frozenset()
    assert lacks("no-such-type", "x") == frozenset()


def test_an_unknown_model_can_do_what_its_service_generally_can() -> None:
    missing = lacks("openai", "zeta-9")
    assert "top_k" in missing
    assert not missing & {"tools", "json_schema", "images", "audio", "logprobs", "temperature", "reasoning"}
    assert not lacks("anthropic", "claude-next") & {"tools", "images", "temperature", "prefill"}


@pytest.mark.parametrize(
    ("service", "model", "cannot", "can"),
    [
        ("openai", "gpt-4o", {"reasoning", "audio", "embeddings"}, {"logprobs", "images", "files", "json_schema", "n"}),
        ("openai", "gpt-4o-audio-preview", {"images", "image_urls", "json_schema"}, {"audio", "tools"}),
        ("openai", "gpt-4.1-mini", {"reasoning"}, {"temperature", "tools", "images"}),
        ("openai", "gpt-3.5-turbo", {"images", "image_urls", "files", "json_schema"}, {"tools", "json_object"}),
        ("openai", "gpt-4-0613", {"images", "json_object", "json_schema"}, {"tools"}),
        ("openai", "o1-mini", {"tools", "tool_choice", "images", "temperature", "reasoning"}, {"streaming"}),
        ("openai", "o3", {"temperature", "top_p", "penalties", "logprobs", "stop"}, {"tools", "reasoning", "images"}),
        ("openai", "o3-mini-2025-01-31", {"images", "files", "temperature"}, {"tools", "json_schema", "reasoning"}),
        ("openai", "gpt-5-mini", {"temperature", "top_p", "logprobs", "stop"}, {"reasoning", "tools", "images"}),
        ("openai", "gpt-5.2", {"penalties", "top_k"}, {"temperature", "top_p", "logprobs", "reasoning"}),
        ("openai", "gpt-5.2-codex", {"temperature", "top_p", "logprobs"}, {"reasoning"}),
        ("openai", "gpt-5.6", {"temperature", "top_p"}, {"reasoning"}),
        ("openai", "gpt-5-chat-latest", {"reasoning"}, {"temperature", "top_p", "penalties"}),
        ("openai", "text-embedding-3-large", {"tools", "speech", "images_out"}, {"embeddings", "dimensions"}),
        ("openai", "text-embedding-ada-002", {"dimensions"}, {"embeddings"}),
        ("openai", "gpt-image-1", {"tools", "embeddings"}, {"images_out"}),
        ("openai", "gpt-4o-mini-transcribe", {"tools", "speech"}, {"transcription"}),
        ("openai", "gpt-4o-mini-tts", {"transcription"}, {"speech"}),
        ("azure", "o3-mini-weu", {"temperature", "images"}, {"tools"}),
        ("azure", "our-chat-deployment", {"top_k"}, {"tools", "logprobs", "audio", "embeddings", "temperature"}),
        ("azure", "o365-helper", set(), {"temperature", "stop", "images"}),
        ("anthropic", "claude-opus-4-20250514", {"n", "seed"}, {"temperature", "prefill", "reasoning"}),
        ("anthropic", "claude-sonnet-4-5-20250929", {"logprobs", "audio"}, {"temperature", "prefill", "top_k"}),
        ("anthropic", "claude-opus-4-6", {"prefill"}, SAMPLING),
        ("anthropic", "claude-opus-4-7", SAMPLING | {"prefill"}, {"tools", "images", "stop"}),
        ("anthropic", "claude-opus-4-8-20260601", SAMPLING, {"reasoning"}),
        ("anthropic", "claude-sonnet-5", SAMPLING, {"reasoning"}),
        ("anthropic", "claude-opus-5-5", SAMPLING | {"tool_choice"}, {"reasoning", "tools", "json_schema"}),
        ("anthropic", "claude-fable-5", SAMPLING, {"reasoning"}),
        ("anthropic", "claude-haiku-4-5", {"penalties"}, SAMPLING | {"prefill"}),
        ("anthropic", "claude-3-5-sonnet-20241022", {"reasoning"}, {"files", "images", "tools"}),
        ("anthropic", "claude-3-haiku-20240307", {"reasoning", "files"}, {"images", "tools"}),
        ("anthropic", "claude-2.1", {"images", "tools", "tool_choice", "reasoning"}, {"temperature", "stop"}),
        ("google", "gemini-2.5-pro", {"penalties", "embeddings"}, {"reasoning", "audio", "files", "top_k"}),
        ("google", "models/gemini-2.0-flash", {"reasoning"}, {"penalties", "images"}),
        ("google", "gemini-2.5-flash-image", {"tools"}, {"images_out"}),
        ("google", "gemini-embedding-001", {"tools", "images"}, {"embeddings", "dimensions"}),
        ("mistral", "voxtral-small-latest", {"images"}, {"audio"}),
        ("mistral", "mistral-large-latest", {"audio", "reasoning", "logprobs"}, {"images", "tools", "prefill", "n"}),
        ("mistral", "magistral-medium-latest", {"audio"}, {"reasoning"}),
        ("mistral", "mistral-embed", {"dimensions", "tools"}, {"embeddings"}),
        ("qwen", "qwen3-max", {"images", "files"}, {"tools", "seed", "top_k"}),
        ("qwen", "qwen3-vl-plus", {"audio"}, {"images", "image_urls"}),
        ("qwen", "qwen2.5-72b-instruct", {"reasoning", "images"}, {"tools"}),
        (
            "deepseek",
            "deepseek-reasoner",
            {"tool_choice", "logprobs", "images"},
            {"tools", "json_schema", "temperature"},
        ),
        ("deepseek", "deepseek-r1-0528", {"tools", "tool_choice"}, {"temperature"}),
        ("deepseek", "deepseek-chat", {"images", "n", "seed"}, {"tools", "logprobs", "tool_choice"}),
        ("groq", "llama-3.3-70b-versatile", {"images", "n", "logprobs", "reasoning"}, {"tools", "seed"}),
        ("groq", "openai/gpt-oss-120b", {"images"}, {"reasoning", "tools"}),
        ("groq", "whisper-large-v3", {"tools"}, {"transcription"}),
        ("xai", "grok-4-0709", {"stop", "penalties", "reasoning"}, {"images", "tools"}),
        ("xai", "grok-4.3", {"stop"}, {"reasoning"}),
        ("xai", "grok-4-1-fast-non-reasoning", set(), {"stop", "penalties"}),
        ("perplexity", "sonar-pro", {"tools", "tool_choice", "reasoning"}, {"images", "json_schema"}),
        ("cohere", "command-a-vision-07-2025", {"n"}, {"images", "tools"}),
        ("cohere", "rerank-v4.0", {"tools", "embeddings"}, {"rerank"}),
        ("vllm", "Qwen/Qwen3-8B", {"cache_hints", "files"}, {"tools", "images", "logprobs", "n", "top_k", "reasoning"}),
        ("ollama", "llava", {"image_urls", "n"}, {"images", "tools"}),
        ("demo", "demo", {"logprobs", "images"}, {"tools", "seed", "n", "stop", "json_schema", "temperature"}),
    ],
)
def test_models_that_people_use(service: str, model: str, cannot: set[str], can: set[str]) -> None:
    missing = lacks(service, model)
    assert missing >= cannot
    assert missing & can == frozenset()


def test_letters_of_either_size_name_the_same_model() -> None:
    assert lacks("openai", "GPT-4o") == lacks("openai", "gpt-4o") != lacks("openai", "zeta-9")


def test_the_operator_has_the_last_word() -> None:
    assert "audio" not in lacks("openai", "gpt-4o", {"audio": True})
    assert "tools" in lacks("openai", "gpt-4o", {"tools": False})
    assert lacks("custom", "x", {"seed": False, "n": True}) == {"seed"}


@pytest.mark.parametrize(("part", "whole"), IMPLIED.items())
def test_what_needs_something_else_is_lacking_with_it_and_comes_back_with_it(part: str, whole: str) -> None:
    assert part in lacks("custom", "x", {whole: False})
    assert part not in lacks("custom", "x", {whole: False, part: True})
    assert {part, whole} <= FEATURES.keys()


def test_more_fixed_letters_make_a_row_more_specific() -> None:
    rows = [row.models for row in matching("openai", "gpt-5.1-codex")]
    assert rows[0] == "*"
    assert rows.index("gpt-5*") < rows.index("gpt-5.[1-4]*") < rows.index("gpt-5*-codex* gpt-5*-pro*")


MEMBERS = {
    "n": "n",
    "seed": "seed",
    "stop": "stop",
    "logprobs": "logprobs",
    "presence_penalty": "penalties",
    "parallel_tool_calls": "parallel_tool_calls",
}


@pytest.mark.parametrize("service", sorted(QUIRKS.keys() - {"perplexity"}))
def test_what_a_providers_row_cannot_carry_is_lacking(service: str) -> None:
    """Else a request would go to a target that can only refuse it, though another could serve. (Perplexity is called
    by another API than its row speaks of, unless the operator says so.)"""
    quirks = QUIRKS[service]
    refused = {
        "prefill": quirks.prefill is None,
        "top_k": not quirks.top_k,
        "images": not quirks.images,
        "audio": not quirks.audio,
        "files": not quirks.files,
        "reasoning": not quirks.thinking,
        "tool_choice": not {"required", "tool"} & set(quirks.tool_choices),
        "json_object": not quirks.json_object and not quirks.json_by_tool,
        "json_schema": quirks.json_schema is None and not quirks.json_by_tool,
    }
    refused |= {feature: member in quirks.lacks for member, feature in MEMBERS.items()}
    assert {feature for feature, is_refused in refused.items() if is_refused} - lacks(service, "new-model") == set()
