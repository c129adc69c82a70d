"""OpenAI's legacy text completion: what chat models can do of it, in OpenAI's own form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai.types import Completion

from appliance.errors import GatewayError
from appliance.formats import completions, openai
from appliance.formats.base import ClientFormat, ReplyHead
from appliance.formats.chat import ChatReply, Choice, Finished, Started, TextDelta, TextPart, Usage
from support.streams import split_events

HEAD = ReplyHead("cmpl-1", "front", 1700000000, include_usage=True)
BARE: dict[str, Any] = {"model": "m", "prompt": "Once"}
_IS_A_CLIENT_FORMAT: ClientFormat = completions


def test_all_members() -> None:
    request = completions.decode_request(
        BARE
        | {
            "n": 2,
            "stream_options": {"include_usage": True},
            "presence_penalty": 1,
            "frequency_penalty": -1,
            "user": "u",
            "logit_bias": {"50256": -100},
        }
    )
    assert (request.n, request.include_usage, request.user) == (2, True, "u")
    assert (request.presence_penalty, request.frequency_penalty) == (1.0, -1.0)
    assert (request.extra, request.dialect) == ({"logit_bias": {"50256": -100}}, "openai")


def test_the_head_has_the_request_and_no_cap_of_its_own() -> None:
    head = completions.read_head(b'{"model":"m","prompt":["Once"],"n":3}')
    assert (head.model, head.n, head.output_cap) == ("m", 3, None)
    assert head.request is not None
    assert head.request.messages[0].parts == [TextPart("Once")]


@pytest.mark.parametrize(
    ("member", "value"),
    [("suffix", "end"), ("echo", True), ("logprobs", 0), ("logprobs", 5), ("best_of", 2), ("best_of", True), ("n", 0)],
)
def test_what_chat_models_cannot_do_is_refused_by_name(member: str, value: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        completions.decode_request(BARE | {member: value})
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", member)


def test_saying_that_it_is_not_wanted_is_fine() -> None:
    said = {"suffix": None, "echo": False, "logprobs": None, "best_of": 1}
    assert completions.decode_request(BARE | said) == completions.decode_request(BARE)


def test_a_reply_is_openais() -> None:
    choices = [Choice(0, [TextPart("a")], "length"), Choice(1, [TextPart("b")], "stop", "bored")]
    extra = {"system_fingerprint": "fp_1", "service_tier": "default"}
    body = completions.encode_reply(ChatReply("up", "upstream", 1, choices, Usage(10, 5), extra), HEAD)
    assert body["choices"] == [
        {"text": "a", "index": 0, "logprobs": None, "finish_reason": "length"},
        {"text": "b", "index": 1, "logprobs": None, "finish_reason": "stop"},
    ]
    assert body["system_fingerprint"] == "fp_1"
    assert "service_tier" not in body
    parsed = Completion.model_validate(body)
    assert (parsed.id, parsed.object, parsed.model, parsed.created) == (
        "cmpl-1",
        "text_completion",
        "front",
        1700000000,
    )
    assert parsed.usage is not None
    assert parsed.usage.total_tokens == 15


def test_nothing_is_invented() -> None:
    body = completions.encode_reply(ChatReply("up", "upstream", 1, [Choice(0, [TextPart("a")])]), HEAD)
    assert body["choices"][0]["finish_reason"] is None
    assert "usage" not in body


def stream(head: ReplyHead) -> list[Any]:
    encoder = completions.stream_encoder(head)
    body = encoder.encode([Started("up", "upstream", 1, {"system_fingerprint": "fp_1"}), TextDelta(0, "a")])
    body += encoder.encode([Finished(0, "stop", "bored")]) + encoder.closing(Usage(10, 5), "0.1", False)
    *events, done = split_events([body])
    assert done.data == b"[DONE]"
    return [msgspec.json.decode(event.data) for event in events]


def test_a_stream_with_usage() -> None:
    text, finish, usage = stream(HEAD)
    assert text["choices"] == [{"text": "a", "index": 0, "logprobs": None, "finish_reason": None}]
    assert (text["system_fingerprint"], text["usage"], text["object"]) == ("fp_1", None, "text_completion")
    assert finish["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert (usage["choices"], usage["usage"]["prompt_tokens"]) == ([], 10)
    assert Completion.model_validate(usage).usage is not None


def test_a_stream_without_usage() -> None:
    chunks = stream(ReplyHead("cmpl-1", "front", 1))
    assert len(chunks) == 2
    assert all("usage" not in chunk for chunk in chunks)


def test_a_broken_stream_tells_the_error_and_ends() -> None:
    error = GatewayError("BACKEND_ERROR", "it broke")
    first, done = split_events([completions.stream_encoder(HEAD).failure(error)])
    assert msgspec.json.decode(first.data) == openai.encode_error(error, "")[1]
    assert done.data == b"[DONE]"
