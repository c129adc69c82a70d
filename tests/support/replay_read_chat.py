"""OpenAI's chat completions as OpenAI and its many imitators write them, whole and streamed → Answer."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from support.grammar import Answer, Call, Problem, Said

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}


def whole(body: dict[str, Any]) -> Answer:
    answer = Answer(id=body["id"], model=body["model"])
    for choice in body["choices"]:
        said = answer.choice(choice["index"])
        _say(choice["message"], said)
        said.calls = [_call(entry) for entry in choice["message"].get("tool_calls") or []]
        _finish(choice, said)
    answer.usage = usage(body.get("usage"))
    answer.complete = True
    return answer


def stream(events: list[tuple[str, Any]]) -> Answer:
    answer = Answer()
    calls: dict[tuple[int, int], Call] = {}
    for name, chunk in events:
        if chunk == "[DONE]":
            answer.complete = answer.error is None
            continue
        if name == "error" or chunk.get("error"):
            answer.error = Problem(chunk["error"]["message"])
            return answer
        for choice in chunk["choices"]:
            said = answer.choice(choice["index"])
            delta = choice.get("delta") or {}
            _say(delta, said)
            for piece in delta.get("tool_calls") or []:
                place = (choice["index"], piece["index"])
                if place not in calls:
                    calls[place] = _call(piece | {"function": piece["function"] | {"arguments": ""}})
                    said.calls.append(calls[place])
                calls[place].arguments += piece["function"].get("arguments") or ""
            _finish(choice, said)
        counts = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        answer.usage = usage(counts) or answer.usage
    return answer


def _say(message: dict[str, Any], said: Said) -> None:
    content = message.get("content")
    for part in content if isinstance(content, list) else []:
        if part["type"] == "thinking":
            said.reasoning += "".join(piece["text"] for piece in part["thinking"])
        else:
            said.text += part["text"]
    if isinstance(content, str):
        said.text += content
    # Some servers say the same reasoning in two members.
    said.reasoning += message.get("reasoning_content") or message.get("reasoning") or ""
    said.refusal += message.get("refusal") or ""


def _call(entry: dict[str, Any]) -> Call:
    function = entry["function"]
    return Call(entry.get("id") or "", function["name"], function.get("arguments") or "")


def _finish(choice: dict[str, Any], said: Said) -> None:
    if choice.get("finish_reason"):
        said.native_finish = choice["finish_reason"]
        said.finish_reason = FINISH.get(choice["finish_reason"], "stop")


def usage(counts: dict[str, Any] | None) -> Usage | None:
    if not counts:
        return None
    prompt, completion = counts["prompt_tokens"], counts["completion_tokens"]
    of_prompt = counts.get("prompt_tokens_details") or {}
    of_completion = counts.get("completion_tokens_details") or {}
    reasoning = of_completion.get("reasoning_tokens") or 0
    beside = counts["total_tokens"] - prompt - completion
    if beside:
        # Thinking that the completion count leaves out: xAI names it, Gemini's imitation of OpenAI does not.
        assert reasoning in (0, beside), counts
        reasoning, completion = beside, completion + beside
    return Usage(
        input_tokens=prompt,
        output_tokens=completion,
        cached_input_tokens=of_prompt.get("cached_tokens") or counts.get("prompt_cache_hit_tokens") or 0,
        cache_write_tokens=of_prompt.get("cache_write_tokens") or 0,
        reasoning_tokens=reasoning,
    )
