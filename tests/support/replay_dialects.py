"""The four dialects that callers speak: how each asks, how its answers are read, what it cannot tell apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.formats.chat import Usage
from support import (
    grammar_anthropic,
    grammar_native,
    grammar_openai,
    grammar_responses,
    replay_read_anthropic,
    replay_read_chat,
    replay_read_responses,
)
from support.grammar import Answer, Said, filled
from support.replay import RELAYED, Case
from support.replay_read import events as sse_events


@dataclass(frozen=True)
class Dialect:
    name: str
    path: str
    many: bool
    """Can ask for several answers at once."""


NATIVE = Dialect("native", "/v1/inference/chat", many=True)
OPENAI = Dialect("openai", "/oai/v1/chat/completions", many=True)
RESPONSES = Dialect("responses", "/oai/v1/responses", many=False)
ANTHROPIC = Dialect("anthropic", "/anthropic/v1/messages", many=False)
DIALECTS = (NATIVE, OPENAI, RESPONSES, ANTHROPIC)

PARAMETERS = {"type": "object", "properties": {}}


# -- asking -----------------------------------------------------------------------------------------------------------


def request(dialect: Dialect, case: Case, told: Answer | None, messages: list[Any] | None = None) -> dict[str, Any]:
    """A request that the recording could be the answer to: its tools are declared; `messages` in the dialect's form."""
    names = sorted({call.name for said in told.choices.values() for call in said.calls}) if told else []
    body: dict[str, Any] = {"model": case.model, "stream": case.stream}
    body["input" if dialect is RESPONSES else "messages"] = messages or [{"role": "user", "content": "hi"}]
    if names:
        body["tools"] = [_tool(dialect, name) for name in names]
    if dialect is ANTHROPIC:
        body["max_tokens"] = 3000
    if case.choices > 1 and dialect.many:
        body["n"] = case.choices
    if case.stream and dialect is OPENAI:
        body["stream_options"] = {"include_usage": True}
    return body


def _tool(dialect: Dialect, name: str) -> dict[str, Any]:
    if dialect is ANTHROPIC:
        return {"name": name, "input_schema": PARAMETERS}
    if dialect is RESPONSES:
        return {"type": "function", "name": name, "parameters": PARAMETERS, "strict": False}
    return {"type": "function", "function": {"name": name, "parameters": PARAMETERS}}


# -- reading ----------------------------------------------------------------------------------------------------------


def shown(dialect: Dialect, case: Case, body: bytes) -> Answer:
    """What the gateway's 200 answer says, checked by the dialect's grammar."""
    if case.stream:
        relayed = case.provider in RELAYED
        check: dict[str, Callable[[], Answer]] = {
            "native": lambda: grammar_native.check(body),
            "openai": lambda: grammar_openai.check(body, True, relayed=relayed),
            "responses": lambda: grammar_responses.check(body),
            "anthropic": lambda: _messages(body, unfinished="without-finish" in case.recording),
        }
        return check[dialect.name]()
    whole: dict[str, Callable[[dict[str, Any]], Answer]] = {
        "native": _native,
        "openai": replay_read_chat.whole,
        "responses": replay_read_responses.whole,
        "anthropic": replay_read_anthropic.whole,
    }
    return whole[dialect.name](json.loads(body))


def words(dialect: Dialect, body: bytes) -> tuple[str, str]:
    """Text and reasoning of the first answer of a stream, whether or not it came to its end."""
    text = reasoning = ""
    for _, event in sse_events(body):
        if event == "[DONE]":
            continue
        if dialect is RESPONSES:
            kind = event["type"]
            text += event["delta"] if kind in ("response.output_text.delta", "response.refusal.delta") else ""
            reasoning += event["delta"] if kind == "response.reasoning_summary_text.delta" else ""
        elif dialect is ANTHROPIC:
            delta = event.get("delta", {})
            text, reasoning = text + delta.get("text", ""), reasoning + delta.get("thinking", "")
        else:
            for delta in (each["delta"] for each in event.get("choices", []) if each["index"] == 0):
                text += (delta.get("content") or "") + (delta.get("refusal") or "")
                reasoning += delta.get("reasoning_content") or delta.get("reasoning") or ""
    return text, reasoning


def _messages(body: bytes, *, unfinished: bool) -> Answer:
    """Where Anthropic went several rounds, its own usage object goes on as it is, and the rounds are what is billed."""
    answer = grammar_anthropic.check(body, unfinished=unfinished)
    if answer.raw_usage:
        answer.usage = replay_read_anthropic.usage(answer.raw_usage)
    if answer.complete:
        last = next(event for _, event in reversed(sse_events(body)) if event["type"] == "message_delta")
        answer.choice().refusal = (last["delta"].get("stop_details") or {}).get("explanation") or ""
    return answer


def _native(envelope: dict[str, Any]) -> Answer:
    assert envelope["status"] == "ok"
    data = envelope["data"]
    usage = data.pop("usage")
    answer = replay_read_chat.whole(data)
    answer.usage, answer.raw_usage = grammar_native.read_usage(usage, "usage"), usage
    return answer


def error_of(dialect: Dialect, body: bytes) -> str:
    """The word for the case in a whole error answer, after a look at the dialect's error form."""
    value = json.loads(body)
    error = value["error"]
    filled(error, "message", "the error")
    if dialect is NATIVE:
        assert value["status"] == "error"
        assert value["meta"]["request_id"]
        return filled(error, "code", "the error")
    if dialect is ANTHROPIC:
        assert value["type"] == "error"
        assert value["request_id"]
        return filled(error, "type", "the error")
    assert set(error) == {"message", "type", "param", "code"}
    return filled(error, "type", "the error")


# -- what a dialect can tell ------------------------------------------------------------------------------------------


def expected(dialect: Dialect, case: Case, told: Answer) -> dict[int, Said]:
    """What must be shown of what was told: dialects with one answer show the first, and not all know refusals apart."""
    choices = told.choices if dialect.many else {0: told.choice()}
    return {index: _as_said(dialect, case, said) for index, said in choices.items()}


def _as_said(dialect: Dialect, case: Case, said: Said) -> Said:
    said = dataclasses.replace(said)
    if dialect is ANTHROPIC:
        if said.refusal and case.api != "messages":
            said.text, said.finish_reason = said.text + said.refusal, "content_filter"
        elif said.finish_reason == "stop" and said.calls:
            said.finish_reason = "tool_calls"
    if dialect is RESPONSES and said.finish_reason in (None, "stop"):
        said.finish_reason = "tool_calls" if said.calls else "stop"
    return said


def expected_usage(dialect: Dialect, usage: Usage) -> Usage:
    """The native surface shows cache writes in the cost only."""
    written = 0 if dialect is NATIVE else usage.cache_write_tokens
    return Usage(usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, written, usage.reasoning_tokens)


def plain(said: Said) -> dict[str, Any]:
    """What four dialects must agree on; the arguments as values, since some carry them as objects."""
    calls = [(call.name, json.loads(call.arguments or "{}")) for call in said.calls]
    return {
        "text": said.text,
        "reasoning": said.reasoning,
        "refusal": said.refusal,
        "calls": calls,
        "finish": said.finish_reason,
    }
