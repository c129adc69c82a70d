from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliance.errors import GatewayError
from appliance.formats.chat import Choice, Citation, ImagePart, ReasoningPart, TextPart, ToolCallPart
from appliance.formats.google_reply import FINISH_REASONS, decode_reply, made_call_id
from support.fixtures import PROVIDERS, needs_fixtures, recorded_json
from support.golden import check_golden

RECORDED = [
    "blocked-answer",
    "blocked-prompt",
    "cached-content",
    "max-tokens",
    "max-tokens-empty",
    "tools-parallel",
    "unexpected-tool-call",
]
ERRORS = {"error-404-model", "error-429-retry-info"}


def _answer(*parts: Any, **candidate: Any) -> dict[str, Any]:
    return {"responseId": "r1", "candidates": [{"content": {"role": "model", "parts": [*parts]}, **candidate}]}


def _choice(*parts: Any, **candidate: Any) -> Choice:
    (choice,) = decode_reply(_answer(*parts, **candidate)).choices
    return choice


def _call(name: str = "f", **members: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **members}}


@needs_fixtures
@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_reply_reads_as_its_golden_file(name: str) -> None:
    reply = decode_reply(recorded_json(f"google/{name}.response.json"))
    check_golden(Path(f"replies/google/{name}.json"), msgspec.to_builtins(reply))


@needs_fixtures
def test_every_recorded_reply_has_a_golden_file() -> None:
    recorded = {path.name.split(".")[0] for path in (PROVIDERS / "google").glob("*.response.json")}
    assert recorded - ERRORS == set(RECORDED)


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "finish_reason", "native"),
    [
        ("STOP", "stop", None),
        ("MAX_TOKENS", "length", None),
        ("SAFETY", "content_filter", "SAFETY"),
        ("IMAGE_SAFETY", "content_filter", "IMAGE_SAFETY"),
        ("MALFORMED_FUNCTION_CALL", "stop", "MALFORMED_FUNCTION_CALL"),
        ("UNEXPECTED_TOOL_CALL", "stop", "UNEXPECTED_TOOL_CALL"),
        ("LANGUAGE", "stop", "LANGUAGE"),
        ("OTHER", "stop", "OTHER"),
        ("OF_THE_FUTURE", "stop", "OF_THE_FUTURE"),
        ("", None, None),
        (None, None, None),
    ],
)
def test_finish_reasons(said: str | None, finish_reason: str | None, native: str | None) -> None:
    choice = _choice({"text": "a"}, finishReason=said)
    assert (choice.finish_reason, choice.native_finish_reason) == (finish_reason, native)


@pytest.mark.parametrize("said", [word for word, reason in FINISH_REASONS.items() if reason == "content_filter"])
def test_what_a_filter_stopped_keeps_its_word(said: str) -> None:
    assert _choice(finishReason=said).native_finish_reason == said


def test_only_stop_becomes_tool_calls() -> None:
    assert _choice(_call(), finishReason="STOP").finish_reason == "tool_calls"
    assert _choice(_call(), finishReason="MAX_TOKENS").finish_reason == "length"
    assert _choice(_call(), finishReason="SAFETY").finish_reason == "content_filter"


def test_a_blocked_prompt_is_an_answer_without_a_word() -> None:
    feedback = {"blockReason": "SAFETY", "safetyRatings": []}
    reply = decode_reply({"promptFeedback": feedback})
    assert reply.choices == [Choice(0, [], "content_filter", "SAFETY")]
    assert (reply.usage, reply.extra) == (None, {"promptFeedback": feedback})


# -- parts ------------------------------------------------------------------------------------------------------------


def test_parts_keep_their_order_and_googles_own_stay_out() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}, "thoughtSignature": "sig0"}
    result = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    future: dict[str, Any] = {"ofTheFuture": {}}
    voice = {"inlineData": {"mimeType": "audio/wav", "data": "d2F2"}}
    image = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}, "thoughtSignature": "sig3"}
    draft = {"inlineData": {"mimeType": "image/png", "data": "aW1n"}, "thought": True}
    reply = decode_reply(
        _answer(
            {"text": "hm", "thought": True},
            {"text": "", "thought": True},
            {"text": "well", "thought": True, "thoughtSignature": "sig1"},
            code,
            result,
            {"text": "a", "thoughtSignature": "sig2"},
            {"text": ""},
            future,
            voice,
            draft,
            image,
            {"thoughtSignature": "sig4"},
            _call(args={"n": 1.5}),
            finishReason="STOP",
        )
    )
    assert reply.choices[0].parts == [
        ReasoningPart("hm", origin="google"),
        ReasoningPart("well", "sig1", origin="google"),
        TextPart("a"),
        ReasoningPart("", "sig2", origin="google"),
        ImagePart(data="aW1n", media_type="image/png"),
        ReasoningPart("", "sig3", origin="google"),
        ReasoningPart("", "sig4", origin="google"),
        ToolCallPart("call_r1_0_0", "f", '{"n":1.5}'),
    ]
    assert reply.extra == {"candidates": [{"index": 0, "parts": [code, result, future, voice, draft]}]}


def test_calls_keep_googles_ids_or_get_one_each() -> None:
    signed = _call("g", id="own") | {"thoughtSignature": "sig"}
    parts = _choice(_call(), signed, _call(args=None)).parts
    assert parts == [
        ToolCallPart("call_r1_0_0", "f", "{}"),
        ToolCallPart("own", "g", "{}", "sig", "google"),
        ToolCallPart("call_r1_0_2", "f", "{}"),
    ]


def test_made_ids_are_short_and_distinct() -> None:
    long_id = "x" * 300
    made = [
        made_call_id(answer, choice, call) for answer in ("r", "ü", long_id) for choice in (0, 1) for call in (0, 1)
    ]
    assert len(set(made)) == len(made)
    assert all(len(name) <= 40 and name.replace("_", "").replace("-", "").isascii() for name in made)


def test_an_answer_without_an_id_still_gets_distinct_call_ids() -> None:
    body = {"candidates": [{"content": {"parts": [_call()]}}]}
    first, second = decode_reply(body), decode_reply(body)
    assert (first.id, first.choices[0].parts == second.choices[0].parts) == ("", False)


# -- choices ----------------------------------------------------------------------------------------------------------


def test_candidates_are_choices() -> None:
    reply = decode_reply(
        {
            "responseId": "r1",
            "modelVersion": "gemini-x",
            "createTime": "2026-02-17T04:28:18.088960Z",
            "candidates": [
                {"content": {"parts": [_call()]}, "index": 1, "finishMessage": "why"},
                {"content": {"parts": [{"text": "b"}]}},
                {},
            ],
        }
    )
    assert (reply.id, reply.model, reply.created) == ("r1", "gemini-x", 1771302498)
    assert [choice.index for choice in reply.choices] == [1, 1, 2]
    assert reply.choices[0].parts == [ToolCallPart("call_r1_1_0", "f", "{}")]
    assert reply.choices[2] == Choice(2, [])
    assert reply.extra == {"candidates": [{"index": 1, "finishMessage": "why"}]}


def test_sources_are_cited_on_the_last_text() -> None:
    chunk = {"web": {"uri": "https://a.example", "title": "A"}}
    support = {"segment": {"partIndex": 1, "endIndex": 7, "text": "Zürich"}, "groundingChunkIndices": [0]}
    metadata = {"groundingChunks": [chunk], "groundingSupports": [support]}
    parts = [{"text": "hm", "thought": True}, {"text": "Zürich"}, {"text": " is."}]
    choice = _choice(*parts, groundingMetadata=metadata)
    assert choice.parts[1:] == [
        TextPart("Zürich"),
        TextPart(" is.", citations=[Citation("https://a.example", "A", None, 0, 6, chunk, "google")]),
    ]


def test_log_probabilities_have_openais_form() -> None:
    result = {
        "chosenCandidates": [{"token": "é", "logProbability": -0.5, "tokenId": 7}, {"token": "!"}],
        "topCandidates": [
            {"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -1}]}
        ],
    }
    assert _choice({"text": "é!"}, logprobsResult=result).logprobs == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [195, 169],
                "top_logprobs": [
                    {"token": "é", "logprob": -0.5, "bytes": [195, 169]},
                    {"token": "e", "logprob": -1.0, "bytes": [101]},
                ],
            },
            {"token": "!", "logprob": 0.0, "bytes": [33], "top_logprobs": []},
        ],
        "refusal": None,
    }
    assert _choice({"text": "a"}, logprobsResult={"topCandidates": []}).logprobs is None


# -- what is no answer ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (None, "no JSON object"),
        ("text", "no JSON object"),
        ([], "a list"),
        ([_answer({"text": "a"})], "a list"),
        ([{"error": {"code": 503, "message": "overloaded"}}], "overloaded"),
        ({"error": {"code": 503, "message": "overloaded"}}, "overloaded"),
        ({}, "no candidates"),
        ({"candidates": [], "usageMetadata": {"promptTokenCount": 1}}, "no candidates"),
        ({"promptFeedback": {"safetyRatings": []}}, "no candidates"),
        ({"candidates": {}}, "no list of objects"),
        ({"candidates": ["text"]}, "no list of objects"),
        ({"candidates": [{"content": {"parts": "text"}}]}, "no list of objects"),
        (_answer("text"), "no list of objects"),
        (_answer({"functionCall": {"args": {}}}), "without a name"),
        (_answer(_call(args="{}")), "no object"),
    ],
)
def test_what_is_no_answer_is_a_shape_mismatch(body: Any, word: str) -> None:
    with pytest.raises(GatewayError, match=word) as caught:
        decode_reply(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
