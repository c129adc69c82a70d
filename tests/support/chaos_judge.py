"""Is what a caller got one whole, unmixed answer of his own, or one typed error of his dialect? Nothing else may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from appliance.errors import CODES
from appliance.formats.anthropic_error import ERRORS as ANTHROPIC_ERRORS
from appliance.formats.chat import Usage
from appliance.formats.openai_error import ERRORS as OPENAI_ERRORS
from support import grammar, grammar_anthropic, grammar_native, grammar_openai
from support.chaos_answers import named_in, text_of
from support.chaos_line import Answer
from support.chaos_plays import FORBIDDEN
from support.chaos_upstream import SeenCall

PATHS = {"native": "/v1/inference/chat", "openai": "/oai/v1/chat/completions", "anthropic": "/anthropic/v1/messages"}
TYPED = ("BACKEND_ERROR", "BACKEND_TIMEOUT", "BACKEND_RATE_LIMITED", "UPSTREAM_SHAPE_MISMATCH", "MODEL_UNAVAILABLE")
"""What may become of a call whose caller did nothing wrong."""


@dataclass(slots=True)
class Asked:
    """One call of a client, and what came of it."""

    nonce: str
    model: str
    surface: str
    stream: bool
    mark: str
    usage_asked: bool = False
    began_at: float = 0.0
    seconds: float = 0.0
    outcome: str = ""
    """whole, refused (an error in place of an answer), broken (an error after content), left, hung (no end in time)."""
    answer: str = ""
    error: str = ""
    """A word for the error: its code where the dialect has one."""
    backend: str = ""
    attempts: int = 0


def judge(asked: Asked, answer: Answer, served: Mapping[str, SeenCall]) -> None:
    """Notes outcome, answer and error. Raises AssertionError saying what is wrong with it."""
    assert answer.headers.get("x-request-id") == asked.nonce, "the answer of another call"
    asked.backend = answer.headers.get("x-scaigrid-backend", "")
    asked.attempts = int(answer.headers.get("x-scaigrid-attempts", "0"))
    if answer.status != 200:
        assert not answer.streamed, "an error that is chunked"
        asked.outcome = "refused"
        _refused(asked, answer)
        return
    assert answer.streamed == asked.stream, "asked for whole and got a stream, or the other way round"
    said = _streamed(asked, answer.body) if asked.stream else _whole(asked, json.loads(answer.body))
    if said.error:
        asked.outcome = "broken"
        asked.error = said.error.code or said.error.type or ""
        _known(asked, asked.error)
        _is_a_beginning(asked, said.text, served)
    else:
        asked.outcome = "whole"
        assert said.complete
        _is_the_answer(asked, said, served)


# -- answers ----------------------------------------------------------------------------------------------------------


def _streamed(asked: Asked, body: bytes) -> grammar.Answer:
    if asked.surface == "native":
        return grammar_native.check(body)
    return (
        grammar_anthropic.check(body) if asked.surface == "anthropic" else grammar_openai.check(body, asked.usage_asked)
    )


def _whole(asked: Asked, body: dict[str, Any]) -> grammar.Answer:
    text, finish, usage = _READ[asked.surface](asked, body)
    said = grammar.Answer(complete=True, usage=usage)
    said.choice().text, said.choice().finish_reason = text, finish
    return said


Read = tuple[str, str, Usage]


def _native(asked: Asked, body: dict[str, Any]) -> Read:
    assert body["status"] == "ok", body
    assert body["meta"]["request_id"] == asked.nonce
    assert (body["meta"]["attempts"], body["meta"]["backend"]) == (asked.attempts, asked.backend)
    (choice,) = body["data"]["choices"]
    usage = grammar_native.read_usage(body["data"]["usage"], "the body")
    return choice["message"]["content"] or "", choice["finish_reason"], usage


def _openai(asked: Asked, body: dict[str, Any]) -> Read:
    (choice,) = body["choices"]
    usage = grammar_openai.read_usage(body["usage"], "the body")
    return choice["message"]["content"] or "", choice["finish_reason"], usage


def _anthropic(asked: Asked, body: dict[str, Any]) -> Read:
    text = "".join(block["text"] for block in body["content"])
    usage = grammar_anthropic.read_usage(body["usage"], "the body")
    return text, grammar_anthropic.FINISH[body["stop_reason"]], usage


_READ: dict[str, Callable[[Asked, dict[str, Any]], Read]] = {
    "native": _native,
    "openai": _openai,
    "anthropic": _anthropic,
}


def _is_the_answer(asked: Asked, said: grammar.Answer, served: Mapping[str, SeenCall]) -> None:
    if asked.mark == FORBIDDEN and not said.text:
        assert said.finish_reason == "content_filter", "an empty answer"
        return
    _, asked.answer = named_in(said.text)
    call = served.get(asked.answer)
    assert call, f"no upstream ever said {said.text[:80]!r}"
    assert said.text == text_of(asked.nonce, call.answer, call.size), "cut, mixed or of another call"
    assert call.whole, "more than the upstream has said"
    assert call.backend == asked.backend, f"X-Scaigrid-Backend names {asked.backend}, {call.backend} answered"
    assert said.finish_reason == "stop"
    if said.usage:
        told = (said.usage.input_tokens, said.usage.output_tokens, said.usage.cached_input_tokens)
        assert told == (call.spent.input, call.spent.output, call.spent.cached), "usage of another answer"


def _is_a_beginning(asked: Asked, text: str, served: Mapping[str, SeenCall]) -> None:
    assert text, "a stream was begun before any content was there"
    _, asked.answer = named_in(text)
    call = served.get(asked.answer)
    start = f"[{asked.nonce}|"
    if asked.answer:
        assert call, f"no upstream ever said {text[:80]!r}"
        fits = text_of(asked.nonce, call.answer, call.size).startswith(text)
    else:  # it broke before the answer's name was complete
        fits = start.startswith(text) or (text.startswith(start) and "|" not in text.removeprefix(start))
    assert fits, f"no beginning of an answer of this call: {text[:80]!r}"


# -- errors -----------------------------------------------------------------------------------------------------------


def _refused(asked: Asked, answer: Answer) -> None:
    assert answer.headers["content-type"] == "application/json"
    body = json.loads(answer.body)
    error = body["error"]
    assert error["message"]
    if asked.surface == "native":
        assert body.keys() == {"status", "error", "meta"}
        assert (body["status"], body["meta"]["request_id"]) == ("error", asked.nonce)
        assert answer.status == CODES[error["code"]].status
        asked.error = error["code"]
    elif asked.surface == "anthropic":
        assert body.keys() == {"type", "error", "request_id"}
        assert (body["type"], body["request_id"]) == ("error", asked.nonce)
        asked.error = error["type"]
    else:
        assert body.keys() == {"error"}
        assert error.keys() == {"message", "type", "param", "code"}
        asked.error = error["code"] or error["type"]
    _known(asked, asked.error, answer.status)


def _known(asked: Asked, word: str, status: int | None = None) -> None:
    """Only what an upstream's fault may become; and what a marked call may bring upon itself."""
    codes = (*TYPED, "VALIDATION_ERROR") if asked.mark else TYPED
    if asked.surface == "native":
        known = {(CODES[code].status, code) for code in codes}
    elif asked.surface == "anthropic":
        known = {ANTHROPIC_ERRORS[code] for code in codes}
    else:
        shapes = [OPENAI_ERRORS[code] for code in codes]
        known = {(shape.status, shape.code or shape.type) for shape in shapes} | {(400, "context_length_exceeded")}
    words = {each for _, each in known} if status is None else {each for of, each in known if of == status}
    assert word in words, f"{status} {word!r} is no error that an upstream's fault may become"
