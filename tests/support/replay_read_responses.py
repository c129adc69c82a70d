"""OpenAI's Responses, whole and streamed → Answer. The finish reason is what the status and the items amount to."""

from __future__ import annotations

from typing import Any

from appliance.formats.chat import Usage
from support.grammar import Answer, Call, Problem

REASONS = {"max_output_tokens": "length", "content_filter": "content_filter"}


def whole(body: dict[str, Any]) -> Answer:
    answer = Answer(id=body["id"], model=body["model"])
    said = answer.choice()
    for item in body["output"]:
        _item(item, answer)
    if body["status"] == "incomplete":
        said.native_finish = body["incomplete_details"]["reason"]
        said.finish_reason = REASONS[said.native_finish]
    else:
        said.native_finish, said.finish_reason = body["status"], "tool_calls" if said.calls else "stop"
    answer.usage = usage(body.get("usage"))
    answer.complete = True
    return answer


def stream(events: list[tuple[str, Any]]) -> Answer:
    """Texts are read from their deltas, the rest from the items and the last event."""
    answer = Answer()
    said = answer.choice()
    summaries: dict[tuple[str, int], str] = {}
    text = refusal = ""
    for _, event in events:
        match event["type"]:
            case "response.output_text.delta":
                text += event["delta"]
            case "response.refusal.delta":
                refusal += event["delta"]
            case "response.reasoning_summary_text.delta":
                place = (event["item_id"], event["summary_index"])
                summaries[place] = summaries.get(place, "") + event["delta"]
            case "response.completed" | "response.incomplete":
                answer = whole(event["response"])
            case "error" | "response.failed":
                told = event.get("error") or (event.get("response") or {}).get("error") or event
                answer.error = Problem(told["message"])
                return answer
    said = answer.choice()
    reasoning = "\n\n".join(summaries.values())
    assert (said.text, said.refusal, said.reasoning) == (text, refusal, reasoning), "the end repeats something else"
    return answer


def _item(item: dict[str, Any], answer: Answer) -> None:
    said = answer.choice()
    if item["type"] == "message":
        for part in item["content"]:
            said.text += part.get("text", "")
            said.refusal += part.get("refusal", "")
            said.citations += part.get("annotations", [])
    elif item["type"] == "function_call":
        said.calls.append(Call(item["call_id"], item["name"], item["arguments"]))
    elif item["type"] == "reasoning":
        texts = [part["text"] for part in (*item["summary"], *(item.get("content") or []))]
        said.reasoning += ("\n\n" if said.reasoning and texts else "") + "\n\n".join(texts)
        said.opaque += [item["encrypted_content"]] if item.get("encrypted_content") else []


def usage(counts: dict[str, Any] | None) -> Usage | None:
    if not counts:
        return None
    given = counts.get("input_tokens_details") or {}
    made = counts.get("output_tokens_details") or {}
    return Usage(
        input_tokens=counts["input_tokens"],
        output_tokens=counts["output_tokens"],
        cached_input_tokens=given.get("cached_tokens") or 0,
        cache_write_tokens=given.get("cache_write_tokens") or 0,
        reasoning_tokens=made.get("reasoning_tokens") or 0,
    )
