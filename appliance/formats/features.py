"""FEATURES: what a request may ask of a model beyond answering in text, and the refusal when no model has it.

A list and one sentence; who has what is said in providers/capability_rows.py, who asks for what in needs.py.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from appliance.errors import GatewayError


@dataclass(frozen=True, slots=True)
class Feature:
    """What it means, for the docs and for refusals, and the members of OpenAI's dialect that ask for it."""

    meaning: str
    members: tuple[str, ...]


FEATURES: dict[str, Feature] = {
    "tools": Feature("calls the caller's functions", ("tools", "functions")),
    "parallel_tool_calls": Feature("one call at a time, when the caller insists", ("parallel_tool_calls",)),
    "tool_choice": Feature("is made to call a tool, any or a named one", ("tool_choice", "function_call")),
    "json_schema": Feature("answers in JSON of a given schema", ("response_format",)),
    "json_object": Feature("answers in JSON of any shape", ("response_format",)),
    "images": Feature("sees images", ("messages",)),
    "image_urls": Feature("fetches images by URL", ("messages",)),
    "files": Feature("reads files such as PDF", ("messages",)),
    "audio": Feature("hears audio", ("messages",)),
    "reasoning": Feature("thinks as much as the caller says", ("reasoning_effort", "reasoning")),
    "logprobs": Feature("tells the probabilities of tokens", ("logprobs", "top_logprobs")),
    "n": Feature("gives several answers at once", ("n",)),
    "seed": Feature("repeats itself for the same seed", ("seed",)),
    "stop": Feature("stops at the caller's texts", ("stop",)),
    "penalties": Feature("is kept from repeating words", ("presence_penalty", "frequency_penalty")),
    "temperature": Feature("takes a temperature other than 1", ("temperature",)),
    "top_p": Feature("takes top_p other than 1", ("top_p",)),
    "top_k": Feature("takes top_k", ("top_k",)),
    "prefill": Feature("goes on where the caller's last message ends", ("messages", "continue_final_message")),
    "cache_hints": Feature("keeps what the caller marks in its prompt cache", ("cache_control",)),
    "streaming": Feature("streams its answer", ("stream",)),
    "embeddings": Feature("makes embeddings", ("model",)),
    "dimensions": Feature("makes embeddings of a length the caller chooses", ("dimensions",)),
    "images_out": Feature("makes images", ("model",)),
    "transcription": Feature("writes down speech", ("model",)),
    "speech": Feature("speaks", ("model",)),
    "rerank": Feature("ranks documents", ("model",)),
}
"""Every feature. `cache_hints` is never needed: a hint that nobody takes changes the price, not the answer."""

OPERATIONS = {
    "embeddings": "embeddings",
    "images": "images_out",
    "transcription": "transcription",
    "speech": "speech",
    "rerank": "rerank",
}
"""Surfaces other than chat → the feature that each of their requests needs."""


def refusal(features: Collection[str], surface: str = "openai", sent: Collection[str] = ()) -> GatewayError:
    """The VALIDATION_ERROR for features that no target has, by the names of the members that asked for them.

    `sent` is what the caller wrote, so that of two members that ask for the same the right one is named.
    """
    asked = [(_member(name, surface, sent), name) for name in FEATURES if name in features]
    labels = [member if member == name else f"{member} ({name})" for member, name in asked]
    them = "it" if len(asked) == 1 else "them"
    return GatewayError(
        "VALIDATION_ERROR",
        f"{', '.join(labels)}: {_CANNOT}; remove {them} or ask another model",
        param=asked[0][0],
        details=[{"field": member, "message": f"{_CANNOT} ({name})"} for member, name in asked],
    )


_CANNOT = "the backend models of this frontend model cannot do this"


def _member(name: str, surface: str, sent: Collection[str]) -> str:
    words = _WORDS.get(surface, {}).get(name, FEATURES[name].members)
    return next((word for word in words if word.partition(".")[0] in sent), words[0])


_WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "anthropic": {
        "parallel_tool_calls": ("tool_choice.disable_parallel_tool_use",),
        "json_schema": ("output_config.format", "output_format"),
        "reasoning": ("thinking", "output_config.effort"),
        "stop": ("stop_sequences",),
        "tools": ("tools",),
        "tool_choice": ("tool_choice",),
        "prefill": ("messages",),
    },
    "responses": {
        "json_schema": ("text.format",),
        "json_object": ("text.format",),
        "images": ("input",),
        "image_urls": ("input",),
        "files": ("input",),
        "audio": ("input",),
        "reasoning": ("reasoning",),
        "logprobs": ("top_logprobs", "include"),
        "tools": ("tools",),
        "tool_choice": ("tool_choice",),
    },
}
"""Where a dialect's words are not OpenAI's."""
