"""What a model said, in OpenAI's answers and stream deltas → parts, in the order of reading.

Content is a string, or a list of parts as Mistral sends it; reasoning stands in the list or in members beside it.
Values of a type that no server sends are passed over here; the caller of this file judges the shape of the whole.
"""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import FinishReason, ReasoningPart, RefusalPart, TextPart
from appliance.formats.openai_call import call_signature
from appliance.formats.openai_reasoning import reasoning_parts

SaidPart = TextPart | ReasoningPart | RefusalPart

FINISH_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "model_length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
}


def said_parts(
    content: Any, refusal: Any, reasoning: list[Any], details: Any, extra_content: Any = None
) -> list[SaidPart]:
    """`reasoning` holds the members that may have the plain text; the first that has any counts.

    Google signs a text beside it, in `extra_content`; the signature stands behind the text.
    """
    said: list[SaidPart] = []
    if isinstance(content, str):
        said = [TextPart(content)] if content else []
    elif isinstance(content, list):
        said = [part for entry in content if (part := _listed_part(entry)) is not None]
    if not any(isinstance(part, ReasoningPart) for part in said):
        plain = next((text for text in reasoning if isinstance(text, str) and text), None)
        said = [*reasoning_parts(plain, details if isinstance(details, list) else None), *said]
    signature = call_signature(extra_content)
    if signature and not any(isinstance(part, ReasoningPart) and part.signature == signature for part in said):
        said.append(ReasoningPart(signature=signature, origin="google"))
    if isinstance(refusal, str) and refusal:
        said.append(RefusalPart(refusal))
    return said


def _listed_part(entry: Any) -> SaidPart | None:
    if isinstance(entry, str):
        return TextPart(entry) if entry else None
    if not isinstance(entry, dict):
        return None
    if entry.get("type") == "thinking":
        text = _thinking_text(entry.get("thinking"))
        return ReasoningPart(text) if text else None
    if isinstance(refusal := entry.get("refusal"), str) and refusal:
        return RefusalPart(refusal)
    said = entry.get("text")
    return TextPart(said) if isinstance(said, str) and said else None


def _thinking_text(thinking: Any) -> str:
    if isinstance(thinking, str):
        return thinking
    pieces = thinking if isinstance(thinking, list) else []
    texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
    return "".join(text for text in texts if isinstance(text, str))


def finish_words(said: Any) -> tuple[FinishReason | None, str | None]:
    """One of the four, and the upstream's own word when it is another one. An unknown word counts as `stop`."""
    if not isinstance(said, str) or not said:
        return None, None
    reason = FINISH_REASONS.get(said.lower(), "stop")
    return reason, None if said == reason else said


def stop_text(stop_reason: Any, matched_stop: Any) -> str | None:
    """Which of the caller's stop texts ended the answer: vLLM and SGLang say it; a number there is a token's."""
    return next((word for word in (stop_reason, matched_stop) if isinstance(word, str) and word), None)


def known_logprobs(logprobs: Any) -> Any:
    """Log probabilities, or None where the object has only empty lists."""
    if not isinstance(logprobs, dict) or not any(logprobs.values()):
        return None
    return logprobs
