"""Gemini's generateContent, whole and streamed → Answer. A call has no id there: it stays empty here."""

from __future__ import annotations

import json
from typing import Any

from appliance.formats.chat import Usage
from support.grammar import Answer, Call

BLOCKED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR")


def whole(body: dict[str, Any]) -> Answer:
    return stream([("", body)])


def stream(events: list[tuple[str, Any]]) -> Answer:
    """No end mark: the last event has the finish reason."""
    answer = Answer()
    said = answer.choice()
    for _, event in events:
        for candidate in event.get("candidates", []):
            for part in (candidate.get("content") or {}).get("parts", []):
                _part(part, answer)
            said.native_finish = candidate.get("finishReason") or said.native_finish
        if event.get("promptFeedback", {}).get("blockReason"):
            said.native_finish = "SAFETY"
        answer.usage = usage(event["usageMetadata"]) if "usageMetadata" in event else answer.usage
    said.finish_reason = _finish(said.native_finish, bool(said.calls))
    answer.complete = said.finish_reason is not None
    return answer


def _part(part: dict[str, Any], answer: Answer) -> None:
    said = answer.choice()
    if "executableCode" in part or "codeExecutionResult" in part:
        return  # what Google ran itself: neither text nor the caller's to send back
    if "thoughtSignature" in part:
        said.opaque.append(part["thoughtSignature"])
    if "functionCall" in part:
        call = part["functionCall"]
        said.calls.append(Call(call.get("id", ""), call["name"], json.dumps(call.get("args", {}))))
    elif part.get("thought"):
        said.reasoning += part["text"]
    else:
        said.text += part.get("text", "")


def _finish(reason: str | None, calls: bool) -> str | None:
    if reason is None:
        return None
    if reason == "MAX_TOKENS":
        return "length"
    if reason in BLOCKED:
        return "content_filter"
    # Words without a counterpart (UNEXPECTED_TOOL_CALL, OTHER) are stop, with the word itself beside it.
    return "tool_calls" if calls and reason == "STOP" else "stop"


def usage(counts: dict[str, Any]) -> Usage | None:
    """Thoughts are beside the candidates, what server-side tools put in is beside the prompt."""
    if "promptTokenCount" not in counts:
        return None
    thoughts = counts.get("thoughtsTokenCount", 0)
    read = Usage(
        input_tokens=counts["promptTokenCount"] + counts.get("toolUsePromptTokenCount", 0),
        output_tokens=counts.get("candidatesTokenCount", 0) + thoughts,
        cached_input_tokens=counts.get("cachedContentTokenCount", 0),
        reasoning_tokens=thoughts,
    )
    assert read.total_tokens == counts["totalTokenCount"], counts
    return read
