from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.anthropic_stream import AnthropicStreamDecoder
from appliance.formats.chat import (
    ChatEvent,
    Citation,
    Ended,
    Failed,
    Finished,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageSeen,
)
from appliance.formats.json_answer import JSON_ANSWER_TOOL
from appliance.formats.sse import SseEvent, SseSplitter
from support.fixtures import PROVIDERS, needs_fixtures, recorded
from support.golden import check_golden

RECORDED = [
    "stream-citations",
    "stream-compaction-usage",
    "stream-mcp",
    "stream-pause-turn",
    "stream-refusal",
    "stream-text",
    "stream-thinking",
    "stream-thinking-redacted",
    "stream-tool-no-args",
    "stream-tools",
    "stream-web-search",
]

START = {"type": "message_start", "message": {"id": "msg_1", "model": "m"}}
STOP = {"type": "message_stop"}


def _recorded(name: str) -> bytes:
    body: bytes = recorded(f"anthropic/{name}.response.sse")
    return body


def _decoded(body: bytes, cuts: list[int]) -> list[ChatEvent]:
    splitter, decoder = SseSplitter(), AnthropicStreamDecoder()
    events: list[ChatEvent] = []
    for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
        for event in splitter.feed(body[begin:end]):
            events.extend(decoder.feed(event))
    for event in splitter.rest():
        events.extend(decoder.feed(event))
    assert decoder.complete
    return events


def _fed(*payloads: Any, decoder: AnthropicStreamDecoder | None = None) -> list[ChatEvent]:
    decoder = decoder or AnthropicStreamDecoder()
    return [event for payload in payloads for event in decoder.feed(SseEvent(json.dumps(payload).encode()))]


def _block(index: int, content: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def _tool(name: str, **members: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{name}", "name": name, "input": {}, **members}


def _piece(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def _end(stop_reason: str | None, **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage or None}


def _text(events: list[ChatEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# -- recordings -------------------------------------------------------------------------------------------------------


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_reads_as_its_golden_file(name: str) -> None:
    events = _decoded(_recorded(name), [])
    check_golden(Path(f"streams/anthropic/{name}.json"), msgspec.to_builtins(events))


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_stream_reads_the_same_wherever_it_is_split(name: str) -> None:
    body = _recorded(name)
    whole = _decoded(body, [])
    rng = random.Random(name)
    for pieces in (1, 7, 300):
        cuts = sorted(rng.randrange(len(body)) for _ in range(pieces))
        assert _decoded(body, cuts) == whole


@needs_fixtures
def test_every_recorded_stream_has_a_golden_file() -> None:
    assert {path.name.split(".")[0] for path in (PROVIDERS / "anthropic").glob("*.sse")} == set(RECORDED)


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_stream_cut_before_its_end_mark_is_never_complete(name: str) -> None:
    decoder = AnthropicStreamDecoder()
    for event in SseSplitter().feed(_recorded(name)):
        assert not decoder.complete, "a stop reason alone is no end: only message_stop is"
        last = decoder.feed(event)
    assert last == [Ended()]
    assert decoder.complete


@needs_fixtures
def test_every_round_of_a_compacted_answer_is_counted() -> None:
    usages = [
        event.usage for event in _decoded(_recorded("stream-compaction-usage"), []) if isinstance(event, UsageSeen)
    ]
    assert usages[-1] == Usage(input_tokens=55377, output_tokens=91, cached_input_tokens=55096)


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_a_whole_answer_in_order() -> None:
    events = _fed(
        {"type": "message_start", "message": {"id": "msg_1", "model": "m", "usage": {"input_tokens": 9}}},
        {"type": "ping"},
        *_block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "thinking_delta", "thinking": ""},
            {"type": "signature_delta", "signature": "sig"},
        ),
        *_block(1, {"type": "redacted_thinking", "data": "opaque"}),
        *_block(
            2, {"type": "text", "text": "O"}, {"type": "text_delta", "text": "K"}, {"type": "text_delta", "text": ""}
        ),
        *_block(3, _tool("f"), _piece(""), _piece('{"a"'), _piece(":1}")),
        *_block(4, _tool("g")),
        _end("tool_use", output_tokens=7),
        STOP,
    )
    assert events == [
        Started("msg_1", "m", 0),
        UsageSeen(Usage(input_tokens=9)),
        ReasoningDelta(0, "hm", origin="anthropic"),
        ReasoningDelta(0, signature="sig", origin="anthropic"),
        ReasoningDelta(0, redacted="opaque", origin="anthropic"),
        TextDelta(0, "O"),
        TextDelta(0, "K"),
        ToolCallDelta(0, 0, id="toolu_f", name="f"),
        ToolCallDelta(0, 0, arguments='{"a"'),
        ToolCallDelta(0, 0, arguments=":1}"),
        ToolCallDelta(0, 1, id="toolu_g", name="g"),
        ToolCallDelta(0, 1, arguments="{}"),
        Finished(0, "tool_calls"),
        UsageSeen(Usage(input_tokens=9, output_tokens=7)),
        Ended(),
    ]


def test_blocks_that_start_full_lose_nothing() -> None:
    events = _fed(
        START,
        *_block(0, {"type": "thinking", "thinking": "hm", "signature": "sig"}),
        *_block(1, {"type": "text", "text": "hi", "citations": [{"type": "x"}]}),
        *_block(2, _tool("f", input={"a": [1, "é"]})),
        *_block(3, _tool("g", input={"b": 1}), _piece('{"c":2}')),
    )
    assert events[1:] == [
        ReasoningDelta(0, "hm", signature="sig", origin="anthropic"),
        TextDelta(0, "hi"),
        TextDelta(0, "", citations=[Citation(start=0, end=2, native={"type": "x"}, origin="anthropic")]),
        ToolCallDelta(0, 0, id="toolu_f", name="f"),
        ToolCallDelta(0, 0, arguments='{"a":[1,"é"]}'),
        ToolCallDelta(0, 1, id="toolu_g", name="g"),
        ToolCallDelta(0, 1, arguments='{"c":2}'),
    ]


def test_interleaved_blocks_are_told_apart_by_their_index() -> None:
    first, second = _block(0, _tool("f"), _piece("{}")), _block(1, _tool("g"), _piece('{"a":1}'))
    events = _fed(START, first[0], second[0], second[1], first[1], first[2], second[2])
    assert [(event.call, event.arguments) for event in events if isinstance(event, ToolCallDelta)] == [
        (0, ""),
        (1, ""),
        (1, '{"a":1}'),
        (0, "{}"),
    ]


def test_a_call_whose_stop_never_came_still_has_arguments() -> None:
    events = _fed(START, _block(0, _tool("f"))[0], _end("tool_use"))
    assert events[2:] == [ToolCallDelta(0, 0, arguments="{}"), Finished(0, "tool_calls")]


def test_citations_come_at_the_end_of_what_rests_on_them() -> None:
    native = {"type": "char_location", "cited_text": "x", "document_title": "T"}
    cited = Citation(title="T", quote="x", start=4, end=9, native=native, origin="anthropic")
    said: list[ChatEvent] = [
        TextDelta(0, "Hm, "),
        TextDelta(0, "x is"),
        TextDelta(0, "."),
        TextDelta(0, "", None, [cited]),
    ]
    text: dict[str, Any] = {"type": "text", "text": ""}
    deltas: list[dict[str, Any]] = [
        {"type": "citations_delta", "citation": native},
        {"type": "citations_delta", "citation": "no citation"},
        {"type": "text_delta", "text": "x is"},
        {"type": "text_delta", "text": "."},
    ]
    first = _block(0, text | {"text": "Hm, "})
    assert _fed(START, *first, *_block(1, text | {"citations": []}, *deltas))[1:] == said
    left_open = _fed(START, *first, *_block(1, text, *deltas)[:-1], _end("end_turn"))
    assert left_open[1:] == [*said, Finished(0, "stop")]


def test_what_explains_the_end_is_told() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "That is dangerous."}
    end = {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": details}}
    assert _fed(START, end)[1:] == [RefusalDelta(0, "That is dangerous."), Finished(0, "content_filter", "refusal")]
    end = {"type": "message_delta", "delta": {"stop_reason": "stop_sequence", "stop_sequence": "END"}}
    assert _fed(START, end)[1:] == [Finished(0, "stop", stop_sequence="END")]


def test_what_ran_at_anthropics_side_is_skipped() -> None:
    search = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    events = _fed(
        START,
        *_block(0, search, _piece('{"query":"x"}')),
        *_block(1, {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}),
        *_block(2, {"type": "compaction", "content": None}, {"type": "compaction_delta", "content": "short"}),
        *_block(3, _tool("f")),
    )
    assert [event.call for event in events if isinstance(event, ToolCallDelta)] == [0, 0]
    assert len(events) == 3


def test_unknown_events_and_deltas_are_skipped() -> None:
    events = _fed(
        {"type": "of_the_future", "index": 7},
        START,
        *_block(0, {"type": "text", "text": ""}, {"type": "of_the_future"}, {"type": ["odd"]}, {}),
    )
    assert events == [Started("msg_1", "m", 0)]


def test_the_sse_name_stands_in_for_a_missing_type() -> None:
    decoder = AnthropicStreamDecoder()
    assert decoder.feed(SseEvent(b'{"message": {}}', "message_start")) == [Started("", "", 0)]


# -- the JSON answer --------------------------------------------------------------------------------------------------


def test_the_json_answer_streams_as_text_that_ended() -> None:
    pieces = ['{"city": ', '"Zürich"', "}"]
    events = _fed(START, *_block(0, _tool(JSON_ANSWER_TOOL), *map(_piece, pieces)), _end("tool_use"), STOP)
    assert events[1:] == [*(TextDelta(0, piece) for piece in pieces), Finished(0, "stop"), Ended()]


def test_an_empty_json_answer_is_an_empty_object() -> None:
    assert _text(_fed(START, *_block(0, _tool(JSON_ANSWER_TOOL)))) == "{}"


# -- usage and ends ---------------------------------------------------------------------------------------------------


def test_later_usage_replaces_what_it_names_and_adds_nothing_up() -> None:
    first = {"input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 1}
    events = _fed(
        {"type": "message_start", "message": {"usage": first}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 40, "input_tokens": None}},
        _end("end_turn", output_tokens=70),
    )
    usages = [event.usage for event in events if isinstance(event, UsageSeen)]
    assert [usage.output_tokens for usage in usages] == [1, 40, 70]
    assert {(usage.input_tokens, usage.cached_input_tokens) for usage in usages} == {(105, 100)}


def test_a_delta_without_a_stop_reason_ends_nothing() -> None:
    decoder = AnthropicStreamDecoder()
    assert _fed(START, _end(None, output_tokens=3), decoder=decoder)[1:] == [UsageSeen(Usage(output_tokens=3))]
    assert not decoder.complete


def test_the_end_mark_completes_and_nothing_is_read_after_it() -> None:
    decoder = AnthropicStreamDecoder()
    assert _fed(START, STOP, decoder=decoder)[1:] == [Ended()]
    assert decoder.complete
    assert decoder.feed(SseEvent(b"[DONE]")) == []


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("overloaded_error", 529),
        ("rate_limit_error", 429),
        ("api_error", 500),
        ("authentication_error", 401),
        ("permission_error", 403),
        ("billing_error", 402),
        ("not_found_error", 404),
        ("invalid_request_error", 400),
        ("request_too_large", 413),
        ("timeout_error", 504),
        ("of_the_future", None),
    ],
)
def test_an_error_event_tells_the_status_it_would_have_had(kind: str, status: int | None) -> None:
    decoder = AnthropicStreamDecoder()
    events = _fed(START, {"type": "error", "error": {"type": kind, "message": "m"}}, STOP, decoder=decoder)
    assert events[1:] == [Failed("m", kind, status)]
    assert not decoder.complete


@pytest.mark.parametrize("error", [None, {}, {"type": 5, "message": None}, "text"])
def test_an_error_event_without_words_fails_all_the_same(error: Any) -> None:
    assert _fed({"type": "error", "error": error}) == [Failed("the upstream reported an error without a message")]


# -- grammar ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"garbage", b"[]", b"5", b"{}", b'{"type": 5}', b"[DONE]", b'"\xff"', b'{"a":' + b"[" * 200_000]
)
def test_what_is_no_event_is_a_shape_mismatch(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        AnthropicStreamDecoder().feed(SseEvent(data))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


TEXT = _block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "x"})


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([TEXT[0]], id="a block before message_start"),
        pytest.param([_end("end_turn")], id="an end before message_start"),
        pytest.param([STOP], id="an end mark before message_start"),
        pytest.param([START, START], id="a second message_start"),
        pytest.param([{"type": "message_start"}], id="message_start without a message"),
        pytest.param([START, TEXT[1]], id="a delta for a block that never started"),
        pytest.param([START, TEXT[2]], id="a stop for a block that never started"),
        pytest.param([START, *TEXT, TEXT[1]], id="a delta after the stop"),
        pytest.param([START, TEXT[0], TEXT[0]], id="a second start of an open block"),
        pytest.param([START, TEXT[0], {"type": "content_block_delta", "index": 0}], id="no delta"),
        pytest.param([START, {"type": "content_block_stop"}], id="no index"),
        pytest.param([START, {"type": "content_block_start", "index": 0}], id="no block"),
        pytest.param([START, *_block(0, {"text": "x"})], id="a block without a kind"),
        pytest.param([START, *_block(0, {"type": "text"}, {"type": "text_delta"})], id="no text"),
        pytest.param([START, *_block(0, {"type": "text"}, _piece("{}"))], id="JSON in a text block"),
        pytest.param([START, *_block(0, _tool("f"), {"type": "text_delta", "text": "x"})], id="text in a call"),
        pytest.param([START, *_block(0, {"type": "tool_use", "id": "toolu_1"})], id="a call without a name"),
        pytest.param([START, *_block(0, {"type": "tool_use", "name": "f"})], id="a call without an id"),
        pytest.param([START, *_block(0, _tool("f", input="{}"))], id="an input that is no object"),
        pytest.param([START, *_block(0, {"type": "redacted_thinking"})], id="redacted thinking without data"),
        pytest.param([START, {"type": "message_delta"}], id="message_delta without a delta"),
    ],
)
def test_what_contradicts_the_grammar_is_a_shape_mismatch(payloads: list[Any]) -> None:
    decoder = AnthropicStreamDecoder()
    with pytest.raises(GatewayError) as caught:
        _fed(*payloads, decoder=decoder)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
    assert not decoder.complete
