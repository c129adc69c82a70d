"""Two numbers from bytes alone: a fair estimate, in which a picture is a picture, and a bound that is never passed."""

from __future__ import annotations

import base64
import json
import random
import string
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pipeline.estimate import (
    HIDDEN_BOUND_TOKENS,
    MEDIA_BOUND_TOKENS,
    MEDIA_TOKENS,
    Size,
    bound,
    estimate,
    size_of,
    tokens_of,
)
from support.build import chat_body


def size(body: bytes) -> Size:
    return size_of(body)


def estimated(body: bytes) -> int:
    return estimate(size(body))


def bounded(body: bytes) -> int:
    return bound(size(body), None, None)


def saying(*parts: dict[str, Any], **changes: Any) -> bytes:
    return chat_body(messages=[{"role": "user", "content": list(parts)}], **changes)


def picture(byte_count: int = 1000) -> str:
    return f"data:image/png;base64,{base64.b64encode(bytes(byte_count)).decode()}"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_are_a_token_rounded_up(count: int, tokens: int) -> None:
    assert tokens_of(count) == tokens


@given(st.text(max_size=500), st.text(max_size=100))
def test_more_text_is_never_fewer_tokens(text: str, more: str) -> None:
    short, long = (chat_body(messages=[{"role": "user", "content": each}]) for each in (text, text + more))
    assert 0 < estimated(short) <= estimated(long)
    assert bounded(short) <= bounded(long)


@given(st.text(max_size=500), st.sampled_from([image(picture(3)), image("https://x.test/a.png"), {"type": "hologram"}]))
def test_the_estimate_never_passes_the_bound(text: str, part: dict[str, Any]) -> None:
    body = saying({"type": "text", "text": text}, part)
    assert estimated(body) <= bounded(body)


def test_no_text_has_more_tokens_than_bytes() -> None:
    """Everything in the body may reach the model: tools and names too."""
    tools = [{"type": "function", "function": {"name": "f", "description": "d" * 5000}}]
    body = chat_body(tools=tools)
    assert bounded(body) == len(body) + HIDDEN_BOUND_TOKENS


def test_the_operator_s_system_prompt_is_input_too() -> None:
    assert bound(Size(100), "été", None) == 100 + 5 + HIDDEN_BOUND_TOKENS


def test_a_context_window_bounds_whatever_is_sent() -> None:
    assert bound(Size(1_000_000), None, 128_000) == 128_000
    assert bound(Size(100), None, 128_000) == 100 + HIDDEN_BOUND_TOKENS


@pytest.mark.parametrize(
    "disguise",
    ["data:image/png;base64,{}", '"image_url":{{"url":"data:image/png;base64,{}"}}', "base64,{} image file audio"],
)
def test_text_that_looks_like_media_is_bounded_as_text(disguise: str) -> None:
    """Else a caller could have a million tokens held as one picture."""
    letters = "".join(random.Random(1).choices(string.ascii_letters, k=300_000))
    body = chat_body(messages=[{"role": "user", "content": disguise.format(letters)}])
    assert size(body).media == 0
    assert bounded(body) > 300_000
    assert bounded(saying({"type": "text", "text": disguise.format(letters)})) > 300_000


@pytest.mark.parametrize("kind", ["text", "refusal", "input_text", "output_text", "thinking"])
def test_parts_of_text_are_text_beside_a_picture_too(kind: str) -> None:
    body = saying({"type": kind, kind: "x" * 400_000}, image(picture(9)))
    assert bounded(body) > 400_000 + MEDIA_BOUND_TOKENS


# -- media ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("byte_count", [1_000, 1_000_000])
def test_a_picture_costs_the_same_whatever_its_size(byte_count: int) -> None:
    body = saying(image(picture(byte_count)))
    assert MEDIA_TOKENS < estimated(body) < MEDIA_TOKENS + 60


@pytest.mark.parametrize("url", [picture(10), picture(500_000), "https://pictures.test/a.png"])
def test_a_small_file_can_be_a_large_picture(url: str) -> None:
    assert bounded(saying(image(url))) >= MEDIA_BOUND_TOKENS


PARTS: dict[str, dict[str, Any]] = {
    "openai's image": image(picture()),
    "a remote image": image("https://pictures.test/a.png"),
    "anthropic's image": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
    "audio": {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    "a file": {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
    "an uploaded file": {"type": "file", "file": {"file_id": "file-123"}},
    "a document": {"type": "document", "source": {"type": "base64", "data": "AAAA"}},
    "what we do not know, named so that it is looked at": {"type": "video_url", "video_url": {"url": "https://x.test"}},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_each_kind_of_media_is_counted(part: dict[str, Any]) -> None:
    found = size(saying(part, {"type": "text", "text": "What is this?"}, part, part))
    assert found.media == 3
    assert found.media_bound >= 3 * MEDIA_BOUND_TOKENS


@pytest.mark.parametrize(("word", "escaped"), [(b"image", b"\\u0069mage"), (b"url", b"\\u0075rl"), (b"/", b"\\/")])
def test_letters_may_be_escaped(word: bytes, escaped: bytes) -> None:
    body = saying(image("https://pictures.test/a.png"))
    assert word in body
    assert size(body.replace(word, escaped)).media == 1


def test_media_are_counted_in_every_message() -> None:
    messages = [{"role": role, "content": [image(picture())]} for role in ("user", "assistant", "user")]
    assert size(chat_body(messages=messages)).media == 3


@pytest.mark.parametrize("kind", ["file", "document"])
def test_a_large_document_may_hold_a_token_in_each_byte(kind: str) -> None:
    part = {"type": kind, kind: {"file_data": "A" * 400_000}}
    assert bounded(saying(part)) > 400_000


def test_a_large_picture_is_no_document() -> None:
    assert bounded(saying(image(picture(1_000_000)))) < MEDIA_BOUND_TOKENS + HIDDEN_BOUND_TOKENS + 300


# -- what is no request, and what is large ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"image":1}',
        b'{"messages":"image"}',
        b'{"messages":["image",7,null]}',
        b'{"messages":[{"content":"image"},{"content":["image",{"no":"type"}]}]}',
    ],
)
def test_what_has_no_shape_counts_as_its_bytes_at_least(body: bytes) -> None:
    assert estimated(body) >= tokens_of(len(body)) > 0
    assert bounded(body) > len(body)


@pytest.mark.parametrize("kind", [None, 7, True, ["image"], {"image": 1}])
def test_a_type_that_is_no_text_is_not_ours_to_trip_over(kind: Any) -> None:
    """The compat surface hands on what it does not know; the upstream says what is wrong with it."""
    found = size(saying({"type": kind, "image": 1}))
    assert (found.media, found.media_bound) == (1, MEDIA_BOUND_TOKENS)


@pytest.mark.parametrize(("part", "media"), [({"image_url": {"url": "https://x.test/a"}}, 1), ({"text": "image"}, 0)])
def test_some_servers_take_parts_without_a_type(part: dict[str, Any], media: int) -> None:
    assert size(saying(part)).media == media


def test_messages_that_cannot_be_decoded_are_text() -> None:
    body = b'{"messages":[{"role":"user","content":"image","n":1e999}]}'
    assert size(body) == Size(len(body))


def test_a_large_body_is_estimated_in_no_time() -> None:
    """A megabyte must not hold up the loop: other callers' answers are on it."""
    text = chat_body(messages=[{"role": "user", "content": "image base64 " * 80_000}])
    media = saying(*[image(picture(700))] * 1000)
    for body in (text, media):
        assert len(body) > 1_000_000
        best = min(_seconds(body) for _ in range(5))
        assert best < 0.02


def _seconds(body: bytes) -> float:
    started = time.perf_counter()
    size_of(body)
    return time.perf_counter() - started


def test_the_body_is_measured_in_bytes_not_in_letters() -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "é" * 1000}]}, ensure_ascii=False).encode()
    assert size(body).text_bytes == len(body) > 2000


# -- every dialect ----------------------------------------------------------------------------------------------------

MEDIUM = "A" * 200_000
IMAGES: dict[str, dict[str, Any]] = {
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{MEDIUM}"}},
    "anthropic": {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": MEDIUM}},
    "responses": {"type": "input_image", "image_url": f"data:image/png;base64,{MEDIUM}"},
}
DOCUMENTS: dict[str, dict[str, Any]] = {
    "openai": {"type": "file", "file": {"file_data": MEDIUM}},
    "anthropic": {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": MEDIUM}},
    "responses": {"type": "input_file", "file_data": MEDIUM},
}


def conversation(dialect: str, part: Any) -> bytes:
    """A request whose last turn holds the part."""
    turn = {"role": "user", "content": [part]}
    if dialect == "responses":
        return json.dumps({"model": "m", "input": [{"type": "message", **turn}]}).encode()
    return chat_body(messages=[turn])


def from_a_tool(dialect: str, part: Any) -> bytes:
    """A request in which a tool gave the part back."""
    if dialect == "responses":
        item = {"type": "function_call_output", "call_id": "c", "output": [part]}
        return json.dumps({"model": "m", "input": [item]}).encode()
    if dialect == "anthropic":
        result = {"type": "tool_result", "tool_use_id": "c", "content": [part]}
        return chat_body(messages=[{"role": "user", "content": [result]}])
    return chat_body(messages=[{"role": "tool", "tool_call_id": "c", "content": [part]}])


PLACES = pytest.mark.parametrize("place", [conversation, from_a_tool])
EVERY_DIALECT = pytest.mark.parametrize("dialect", IMAGES)


@EVERY_DIALECT
@PLACES
def test_a_picture_is_a_picture_wherever_it_stands(dialect: str, place: Any) -> None:
    body = place(dialect, IMAGES[dialect])
    found = size(body)
    assert (found.media, found.media_bound) == (1, MEDIA_BOUND_TOKENS)
    assert estimated(body) < MEDIA_TOKENS + 100, "its base64 is no text"


@EVERY_DIALECT
@PLACES
def test_a_document_is_never_less_than_its_bytes_wherever_it_stands(dialect: str, place: Any) -> None:
    assert bounded(place(dialect, DOCUMENTS[dialect])) > len(MEDIUM)


@EVERY_DIALECT
@PLACES
@pytest.mark.parametrize("words", ["image", "data:image/png;base64,", '{"type": "image"}'])
def test_text_is_text_in_every_dialect(dialect: str, place: Any, words: str) -> None:
    kind = "input_text" if dialect == "responses" else "text"
    body = place(dialect, {"type": kind, "text": words + MEDIUM})
    assert size(body) == Size(len(body))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "tool_use", "id": "c", "name": "image", "input": {"text": MEDIUM}},
        {"type": "thinking", "thinking": MEDIUM, "signature": "image"},
        {"type": "redacted_thinking", "data": MEDIUM + "image"},
    ],
)
def test_what_anthropic_s_assistants_say_is_text(part: dict[str, Any]) -> None:
    body = conversation("anthropic", part)
    assert size(body) == Size(len(body))


def test_a_picture_in_anthropic_s_system_prompt_or_beside_text_is_found() -> None:
    body = chat_body(system=[{"type": "text", "text": "x"}], messages=[{"role": "user", "content": "image"}])
    assert size(body).media == 0
    mixed = chat_body(messages=[{"role": "user", "content": [{"type": "text", "text": "x"}, IMAGES["anthropic"]]}] * 2)
    assert size(mixed).media == 2


@pytest.mark.parametrize("said", ["an image", ["image"], 7, None, {"type": "image"}, [[{"type": "image"}]]])
def test_an_input_of_any_shape_is_its_bytes_at_least(said: Any) -> None:
    body = json.dumps({"model": "m", "input": said, "note": "image"}).encode()
    assert bounded(body) >= len(body)


@given(
    st.recursive(
        st.sampled_from(["image", 7, None]),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["type", "content", "output", "text"]), inner),
        max_leaves=20,
    )
)
def test_no_shape_trips_it_and_the_bound_stays_above_the_estimate(value: Any) -> None:
    for name in ("messages", "input", "system"):
        body = json.dumps({"model": "image", name: [value]}).encode()
        assert 0 < estimated(body) <= bounded(body)
