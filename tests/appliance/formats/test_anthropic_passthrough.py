from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_citations import citation_objects
from appliance.formats.anthropic_passthrough import PASSTHROUGH
from appliance.formats.anthropic_reply import decode_reply
from appliance.formats.anthropic_stream import AnthropicStreamDecoder
from appliance.formats.base import Frame, OperatorSettings, ReplyHead
from appliance.formats.chat import Citation, Usage
from appliance.formats.sse import SseEvent, SseSplitter
from support.fixtures import needs_fixtures, recorded
from support.raw_json import members_of
from support.sse import events as sse_events

HEAD = ReplyHead("msg_ours", "front", 1)
MODEL = "claude-sonnet-4-5"
HELLO = [{"role": "user", "content": "hello"}]
THINKING = {"type": "enabled", "budget_tokens": 2000}


def _sent(model: str = MODEL, /, settings: OperatorSettings | None = None, **members: Any) -> dict[str, Any]:
    body = {"model": "front", "max_tokens": 4096, "messages": HELLO, **members}
    raw = msgspec.json.decode(json.dumps(body), type=dict[str, msgspec.Raw])
    sent: dict[str, Any] = json.loads(PASSTHROUGH.request(raw, model, settings or OperatorSettings()))
    return sent


def _defaults(**params: Any) -> OperatorSettings:
    return OperatorSettings(default_params=params)


# -- requests ---------------------------------------------------------------------------------------------------------


def test_what_is_not_set_goes_through_as_it_was_written() -> None:
    body = (
        b'{"model": "front", "messages": [ {"role":"user", "content":[{"type":"of_the_future","x":1.50}]} ],'
        b' "max_tokens": 9, "of_the_future": {"b": 1, "a": [2 , 3]}}'
    )
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    sent = PASSTHROUGH.request(members, "claude-x", OperatorSettings())
    assert b'[ {"role":"user", "content":[{"type":"of_the_future","x":1.50}]} ]' in sent
    assert b'{"b": 1, "a": [2 , 3]}' in sent
    assert json.loads(sent)["model"] == "claude-x"
    assert bytes(members["model"]) == b'"front"'


@pytest.mark.parametrize(
    ("system", "sent"),
    [
        (None, "Be kind."),
        ("", "Be kind."),
        ([], "Be kind."),
        ("Be brief.", "Be kind.\n\nBe brief."),
        (
            [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            [
                {"type": "text", "text": "Be kind."},
                {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
            ],
        ),
    ],
)
def test_the_operators_prompt_stands_before_the_callers(system: Any, sent: Any) -> None:
    settings = OperatorSettings(system_prompt="Be kind.")
    assert _sent(settings=settings, system=system)["system"] == sent
    assert _sent(settings=settings)["system"] == "Be kind."
    assert "system" not in _sent()


def test_defaults_hold_where_the_caller_says_nothing() -> None:
    settings = _defaults(temperature=0.3, top_p=0.9, stop=["END"], max_tokens=5, seed=1)
    sent = _sent(settings=settings)
    assert (sent["temperature"], sent["top_p"], sent["stop_sequences"], sent["max_tokens"]) == (0.3, 0.9, ["END"], 4096)
    assert "stop" not in sent
    assert "seed" not in sent
    sent = _sent(settings=settings, temperature=1, stop_sequences=["X"])
    assert (sent["temperature"], sent["stop_sequences"], "top_p" in sent) == (1, ["X"], False)


def test_a_default_that_anthropic_would_refuse_is_left_out() -> None:
    settings = _defaults(temperature=0.3)
    assert "temperature" not in _sent("claude-opus-5", settings=settings)
    assert "temperature" not in _sent(settings=settings, thinking=THINKING)
    assert _sent(settings=settings, thinking={"type": "disabled"})["temperature"] == 0.3
    assert "temperature" not in _sent(settings=_defaults(temperature=1.5))


def test_a_default_effort_is_said_in_the_models_words() -> None:
    settings = _defaults(reasoning_effort="low")
    assert _sent(settings=settings)["thinking"] == {"type": "enabled", "budget_tokens": 3276}
    sent = _sent("claude-opus-4-7", settings=settings, output_config={"format": {"type": "json_schema", "schema": {}}})
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": {}}, "effort": "low"}
    assert sent["thinking"] == {"type": "adaptive"}
    own: list[dict[str, Any]] = [
        {"thinking": {"type": "disabled"}},
        {"output_config": {"effort": "max"}},
        {"max_tokens": 100},
        {"temperature": 0.5},
        {"tool_choice": {"type": "any"}},
        {"messages": [*HELLO, {"role": "assistant", "content": "It is"}]},
    ]
    for members in own:
        assert _sent(settings=settings, **members) == _sent(**members)


def test_the_cap_is_never_above_what_the_operator_allows() -> None:
    assert _sent(settings=OperatorSettings(max_output_tokens=100))["max_tokens"] == 100
    assert _sent(settings=OperatorSettings(max_output_tokens=5000))["max_tokens"] == 4096
    assert _sent(settings=OperatorSettings(output_cap=50, max_output_tokens=100))["max_tokens"] == 50
    assert _sent(settings=OperatorSettings(output_cap=5000))["max_tokens"] == 5000


def test_a_budget_for_reasoning_fits_into_a_lowered_cap() -> None:
    thinking = {"type": "enabled", "budget_tokens": 4000, "display": "omitted"}
    assert _sent(thinking=thinking)["thinking"] == thinking
    lowered = _sent(thinking=thinking, settings=OperatorSettings(max_output_tokens=3000))
    assert (lowered["max_tokens"], lowered["thinking"]) == (3000, thinking | {"budget_tokens": 1500})
    too_low = _sent(thinking=thinking, settings=OperatorSettings(max_output_tokens=2000))
    assert too_low["thinking"] == thinking


def test_what_the_gateway_wrote_for_other_providers_is_taken_out() -> None:
    own = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    cited = citation_objects([Citation("https://x/a", "A", "said")])
    real = {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "c", "encrypted_index": "E"}
    said = {"type": "text", "text": "a"}
    turns: list[dict[str, Any]] = [
        *HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "scaigrid.google.x"},
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "redacted_thinking", "data": "scaigrid.responses.x"},
                own,
                said | {"citations": cited},
                said | {"citations": [*cited, real]},
            ],
        },
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "", "signature": "scaigrid..x"}]},
        {"role": "user", "content": "scaigrid.google.x"},
        {"role": "assistant", "content": "plain"},
    ]
    assert _sent(messages=turns)["messages"] == [
        *HELLO,
        {"role": "assistant", "content": [own, said, said | {"citations": [real]}]},
        {"role": "user", "content": "go on"},
        {"role": "user", "content": "scaigrid.google.x"},
        {"role": "assistant", "content": "plain"},
    ]


# -- answers ----------------------------------------------------------------------------------------------------------


@needs_fixtures
def test_a_whole_answer_bears_the_callers_model_name_and_is_otherwise_untouched() -> None:
    body = recorded("anthropic/thinking-tool.response.json")
    reply = decode_reply(json.loads(body))
    ours = PASSTHROUGH.reply(body, reply, HEAD)
    assert json.loads(ours) == json.loads(body) | {"model": "front"}
    raw, theirs = members_of(ours), members_of(body)
    assert {name: raw[name] for name in raw if name != "model"} == {
        name: theirs[name] for name in theirs if name != "model"
    }


def _frames(body: bytes) -> list[Frame]:
    splitter, decoder = SseSplitter(), AnthropicStreamDecoder()
    return [Frame(event, decoder.feed(event)) for event in [*splitter.feed(body), *splitter.rest()]]


@needs_fixtures
@pytest.mark.parametrize("name", ["stream-web-search", "stream-thinking", "stream-compaction-usage", "stream-refusal"])
def test_a_stream_goes_on_event_by_event(name: str) -> None:
    body = recorded(f"anthropic/{name}.response.sse")
    writer = PASSTHROUGH.writer(HEAD)
    told = writer.frames(_frames(body))
    assert b"message_stop" not in told
    told += writer.closing(Usage(), "0", False)
    ours, theirs = sse_events(told), sse_events(body)
    theirs[0][1]["message"]["model"] = "front"
    assert ours == theirs
    start = b"event: content_block_start"
    if start in body:
        untouched = body[body.index(start) :].split(b"event: message_stop")[0]
        assert untouched in told


def test_events_without_a_name_are_known_by_their_type() -> None:
    frames = [
        Frame(SseEvent(b'{"type":"message_start","message":{"model":"up","x":1.50}}'), []),
        Frame(SseEvent(b'{"type":"of_the_future"}'), []),
        Frame(SseEvent(b'{"type":"message_stop"}'), []),
    ]
    assert PASSTHROUGH.writer(HEAD).frames(frames) == (
        b'event: message_start\ndata: {"type":"message_start","message":{"model":"front","x":1.50}}\n\n'
        b'event: of_the_future\ndata: {"type":"of_the_future"}\n\n'
    )


def test_a_broken_stream_ends_with_our_error() -> None:
    writer = PASSTHROUGH.writer(HEAD)
    assert writer.frames([Frame(SseEvent(b'{"type":"error"}', "error"), [])]) == b""
    ((name, data),) = sse_events(writer.failure(GatewayError("BACKEND_ERROR", "cut short")))
    assert (name, data["error"]) == ("error", {"type": "api_error", "message": "cut short"})
