"""The built-in demo provider: no network, no key, no language model; deterministic answers that say what they are.

It speaks OpenAI's dialect inside the process, so that everything between caller and upstream is really exercised.
The model name scripts it, as comma-separated settings behind any base name: `demo:slow,first=2s,pace=50ms,tokens=200`.

    first=DURATION      wait before the first byte              tokens=N       length of the answer in tokens (words)
    pace=DURATION       wait between streamed tokens            input=N        input tokens to report
    reasoning=N         reasoning tokens before the answer      usage=none     report no usage
    fail=STATUS         answer with that HTTP status            retry_after=N  seconds, with fail=429 or 503
    fail=refuse         no connection                           fail=hang      never answer
    fail=cut            cut the answer in the middle            fail=empty     200 with an empty body
    fail=garbage        200 that is no answer                   every=N        fail only each Nth call
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from appliance.errors import GatewayError
from appliance.exchange import ConnectFailed, Upload, Upstream, UpstreamCut
from appliance.formats import openai
from appliance.formats.chat import ChatRequest, TextPart, ToolResultPart
from appliance.formats.sse import DONE, data_event
from appliance.providers import demo_units
from appliance.providers.base import Endpoint, Provider
from appliance.providers.demo_text import answer_words, example_of

_KEYS = ("first", "pace", "tokens", "input", "reasoning", "usage", "fail", "retry_after", "every")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}
_CREATED = 1_700_000_000
"""A fixed time: the same request always gets the same bytes."""


class Demo(Provider):
    type = "demo"
    format = openai
    in_process = True

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()

    async def open(self, endpoint: Endpoint, operation: str, body: bytes, upload: Upload | None = None) -> Upstream:
        if upload is not None:
            return _Answer(200, demo_units.transcript(upload.size, dict(upload.fields)))
        try:
            raw = msgspec.json.decode(body)
        except msgspec.DecodeError as error:
            return _Answer(400, _error(f"the body cannot be read: {error}", "invalid_value"))
        model = str(raw.get("model", ""))
        if operation in demo_units.ANSWERS:
            answer, content_type = demo_units.ANSWERS[operation]
            return _Answer(200, answer(raw), {"Content-Type": content_type})
        try:
            script = parse_script(model)
            request = openai.decode_request(raw)
        except ValueError as error:
            return _Answer(404, _error(f"demo model {model!r}: {error}", "model_not_found"))
        except GatewayError as error:
            return _Answer(400, _error(error.message, "invalid_value", error.param))
        self._calls[model] += 1
        if self._calls[model] % int(script.get("every", 1)):
            script = {key: value for key, value in script.items() if key != "fail"}
        return await _play(request, script)


def parse_script(model: str) -> dict[str, str]:
    """The settings behind the base name. Raises ValueError naming the setting that is wrong."""
    script: dict[str, str] = {}
    for word in model.split(",")[1:]:
        key, _, value = word.strip().partition("=")
        if key not in _KEYS:
            raise ValueError(f"{key!r} is not one of {', '.join(_KEYS)}")
        if key in ("first", "pace"):
            _seconds(value)
        elif key in ("tokens", "input", "reasoning", "retry_after", "every") and not re.fullmatch(
            r"[1-9]\d{0,6}", value
        ):
            raise ValueError(f"{key} takes a whole number of 1 or more, not {value!r}")
        elif key == "fail" and not re.fullmatch(r"[45]\d\d|refuse|hang|cut|empty|garbage", value):
            raise ValueError(f"fail takes a status of 400 to 599, refuse, hang, cut, empty or garbage, not {value!r}")
        elif key == "usage" and value != "none":
            raise ValueError(f"usage takes none, not {value!r}")
        script[key] = value
    return script


def _seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text)
    if not found:
        raise ValueError(f"{text!r} is no duration such as 500ms or 2s")
    return float(found[1]) * _UNITS[found[2]]


async def _play(request: ChatRequest, script: Mapping[str, str]) -> Upstream:
    fail = script.get("fail", "")
    if fail == "refuse":
        raise ConnectFailed("the demo provider was told to refuse the connection")
    await asyncio.sleep(_seconds(script.get("first", "0s")))
    if fail == "hang":
        await asyncio.Event().wait()
    if fail == "empty":
        return _Answer(200, b"")
    if fail == "garbage":
        return _Answer(200, b"<html>this is not a completion</html>")
    if fail.isdigit():
        headers = {"retry-after": script["retry_after"]} if "retry_after" in script else {}
        return _Answer(int(fail), _error(f"the demo provider was told to fail with {fail}", "demo_failure"), headers)
    answer = _Composed(request, script)
    if request.stream:
        return _Answer(200, answer.stream(_seconds(script.get("pace", "0s")), cut=fail == "cut"))
    whole = msgspec.json.encode(answer.whole())
    return _Answer(200, _cut(whole[: len(whole) // 2]) if fail == "cut" else whole)


class _Composed:
    """The answer to one request, whole or as a stream; both say the same and report the same usage."""

    def __init__(self, request: ChatRequest, script: Mapping[str, str]) -> None:
        self.request = request
        seed = msgspec.json.encode(request.messages)
        self.id = "chatcmpl-demo" + hashlib.sha256(seed).hexdigest()[:16]
        limit = request.max_output_tokens
        self.reasoning = [f"step{n} " for n in range(1, int(script.get("reasoning", 0)) + 1)][:limit]
        room = None if limit is None else limit - len(self.reasoning)
        self.call = _tool_call(request)
        words = [] if self.call else _words(request, script)
        self.words = words[:room]
        self.finish = "tool_calls" if self.call else "length" if len(self.words) < len(words) else "stop"
        self.usage = None if "usage" in script else self._usage(script)

    def _usage(self, script: Mapping[str, str]) -> dict[str, Any]:
        arguments = self.call["function"]["arguments"] if self.call else ""
        completion = (len(self.words) + len(self.reasoning) + len(arguments.split())) * self.request.n
        prompt = int(script.get("input", 0)) or sum(len(_text(m.parts).split()) + 3 for m in self.request.messages)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": len(self.reasoning) * self.request.n},
        }

    def whole(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.words) or None, "refusal": None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.call:
            message["tool_calls"] = [self.call]
        choices = [
            {"index": index, "message": message, "logprobs": None, "finish_reason": self.finish}
            for index in range(self.request.n)
        ]
        reply = {"id": self.id, "object": "chat.completion", "created": _CREATED, "model": self.request.model}
        return reply | {"choices": choices} | ({"usage": self.usage} if self.usage else {})

    async def stream(self, pace_s: float, *, cut: bool) -> AsyncIterator[bytes]:
        deltas: list[dict[str, Any]] = [{"reasoning_content": word} for word in self.reasoning]
        deltas += [{"content": word} for word in self.words]
        if self.call:
            name, arguments = self.call["function"]["name"], self.call["function"]["arguments"]
            head = {"index": 0, "id": self.call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
            deltas.append({"tool_calls": [head]})
            deltas += [
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
                for piece in re.findall(r".{1,12}", arguments, re.S)
            ]
        yield b"".join(self._chunk(index, {"role": "assistant", "content": ""}) for index in range(self.request.n))
        for number, delta in enumerate(deltas):
            if cut and number == max(1, len(deltas) // 2):
                raise UpstreamCut("the demo provider was told to cut its answer")
            if pace_s:
                await asyncio.sleep(pace_s)
            yield b"".join(self._chunk(index, delta) for index in range(self.request.n))
        if cut:
            raise UpstreamCut("the demo provider was told to cut its answer")
        tail = b"".join(self._chunk(index, {}, self.finish) for index in range(self.request.n))
        if self.usage and self.request.include_usage:
            tail += data_event(msgspec.json.encode(self._head() | {"choices": [], "usage": self.usage}))
        yield tail + DONE

    def _head(self) -> dict[str, Any]:
        return {"id": self.id, "object": "chat.completion.chunk", "created": _CREATED, "model": self.request.model}

    def _chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return data_event(msgspec.json.encode(self._head() | {"choices": [choice]}))


def _text(parts: list[Any]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, TextPart))


def _words(request: ChatRequest, script: Mapping[str, str]) -> list[str]:
    if request.response_format and request.response_format.kind != "text":
        text = msgspec.json.encode(example_of(request.response_format.schema or {"type": "object"})).decode()
        return re.findall(r".{1,6}", text, re.S)
    last_user = next((_text(m.parts) for m in reversed(request.messages) if m.role == "user"), "")
    results = [_text(part.parts) for part in request.messages[-1].parts if isinstance(part, ToolResultPart)]
    words = answer_words(last_user, results)
    if "tokens" in script:
        words = list(itertools.islice(itertools.cycle(words), int(script["tokens"])))
    text = "".join(words)
    cuts = [text.find(stop) for stop in request.stop if stop in text]
    return re.findall(r"\S+\s*", text[: min(cuts)]) if cuts else words


def _tool_call(request: ChatRequest) -> dict[str, Any] | None:
    """The demo calls a tool when it is forced to, or when the user's last message names one of the tools."""
    choice = request.tool_choice.mode if request.tool_choice else "auto"
    if not request.tools or choice == "none" or request.messages[-1].role == "tool":
        return None
    by_name = {tool.name: tool for tool in request.tools}
    text = _text(request.messages[-1].parts)
    named = next((tool for tool in request.tools if tool.name in text), None)
    if request.tool_choice and request.tool_choice.name:
        named = by_name.get(request.tool_choice.name)
    elif choice == "required":
        named = named or request.tools[0]
    if named is None:
        return None
    arguments = msgspec.json.encode(example_of(named.parameters or {"type": "object"})).decode()
    identity = hashlib.sha256((named.name + text).encode()).hexdigest()[:24]
    return {"id": f"call_{identity}", "type": "function", "function": {"name": named.name, "arguments": arguments}}


class _Answer:
    """An Upstream made of bytes in memory."""

    def __init__(
        self, status: int, body: bytes | AsyncIterator[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self._chunks = _once(body) if isinstance(body, bytes) else body

    async def chunk(self) -> bytes:
        return await anext(self._chunks, b"")

    def close(self) -> None:
        self._chunks = _once(b"")


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _cut(half: bytes) -> AsyncIterator[bytes]:
    yield half
    raise UpstreamCut("the demo provider was told to cut its answer")


def _error(message: str, code: str, param: str | None = None) -> bytes:
    return msgspec.json.encode(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    )
