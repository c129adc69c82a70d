"""What the demo provider answers to work that is no chat: valid in its form, the same every time, and telling."""

from __future__ import annotations

import base64
import io
import json
import math
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.exchange import Upload
from appliance.grid.compile import compile_grid
from appliance.providers import demo_units
from appliance.providers.demo import Demo
from support.build import load_yaml

ENDPOINT = compile_grid(load_yaml("providers: {demo: {type: demo}}\n"), 1).endpoints["demo"]


async def opened(operation: str, upload: Upload | None = None, **body: Any) -> tuple[str, bytes]:
    """Content type and body of an answer with status 200."""
    request = json.dumps({"model": "demo", **body}).encode()
    upstream = await Demo().open(ENDPOINT, operation, request, upload)
    assert upstream.status == 200
    data = await upstream.chunk()
    assert await upstream.chunk() == b""
    return upstream.headers.get("Content-Type", ""), data


async def answered(operation: str, **body: Any) -> Any:
    content_type, data = await opened(operation, **body)
    assert content_type == "application/json"
    return json.loads(data)


# -- embeddings -------------------------------------------------------------------------------------------------------


async def vectors(*texts: Any, **changes: Any) -> list[list[float]]:
    answer = await answered("embed", input=list(texts), **changes)
    assert [entry["index"] for entry in answer["data"]] == list(range(len(texts)))
    return [entry["embedding"] for entry in answer["data"]]


def nearness(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_texts_that_share_words_are_near_to_each_other() -> None:
    cat, same, other = await vectors("the cat sat on the mat", "a cat on the mat", "quarterly tax report")
    assert nearness(cat, same) > nearness(cat, other) + 0.3


@pytest.mark.parametrize("text", ["hello", "", "   ", "é€😀", "a" * 10_000])
async def test_every_text_has_a_vector_of_length_one(text: str) -> None:
    (vector,) = await vectors(text)
    assert len(vector) == demo_units.DIMENSIONS
    assert math.isclose(nearness(vector, vector), 1, abs_tol=0.001)


@pytest.mark.parametrize(("asked", "size"), [(8, 8), (1, 1), (4096, 4096), (9999, 4096), (None, 256)])
async def test_as_many_dimensions_as_asked_up_to_a_most(asked: int | None, size: int) -> None:
    (vector,) = await vectors("hello", dimensions=asked)
    assert len(vector) == size


async def test_one_text_may_stand_without_a_list() -> None:
    answer = await answered("embed", input="two words")
    assert len(answer["data"]) == 1
    assert answer["usage"] == {"prompt_tokens": 2, "total_tokens": 2}


async def test_the_same_text_has_the_same_vector_alone_or_among_others() -> None:
    alone = await vectors("hello world")
    among = await vectors("other", "hello world")
    assert among[1] == alone[0]


# -- pictures ---------------------------------------------------------------------------------------------------------


def pixels(png: bytes) -> set[bytes]:
    """The colours of a PNG, after all its checksums were found right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    place, chunks = 8, {}
    while place < len(png):
        (size,) = struct.unpack_from(">I", png, place)
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + size]
        assert struct.unpack_from(">I", png, place + 8 + size) == (zlib.crc32(kind + data),)
        chunks[kind] = data
        place += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, depth, colours = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert (width, height, depth, colours) == (64, 64, 8, 2)
    rows, step = zlib.decompress(chunks[b"IDAT"]), 1 + 3 * width
    assert len(rows) == step * height
    return {rows[row + 1 + 3 * x :][:3] for row in range(0, len(rows), step) for x in range(width)}


async def test_pictures_have_the_colour_of_their_prompt() -> None:
    answer = await answered("image", prompt="a red fox", n=3)
    again = await answered("image", prompt="a red fox")
    other = await answered("image", prompt="a blue whale")
    colours = [pixels(base64.b64decode(entry["b64_json"])) for entry in answer["data"]]
    assert all(len(found) == 1 for found in colours)
    assert len(set.union(*colours)) == 3
    assert again["data"] == answer["data"][:1]
    assert other["data"] != again["data"]


@pytest.mark.parametrize("n", [None, 1, 10])
async def test_as_many_as_asked(n: int | None) -> None:
    assert len((await answered("image", prompt="x", n=n))["data"]) == (n or 1)


# -- speech -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("characters", "seconds"), [(0, 0), (10, 0.6), (100, 6.0), (5000, 60.0)])
async def test_speech_lasts_as_long_as_its_text(characters: int, seconds: float) -> None:
    content_type, data = await opened("speak", input="x" * characters, voice="alloy")
    assert content_type == "audio/wav"
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, 16_000)
        assert sound.getnframes() / 16_000 == pytest.approx(seconds, abs=0.001)
        if characters:
            assert len(set(sound.readframes(1000))) > 10, "silence is no speech"


# -- rankings ---------------------------------------------------------------------------------------------------------


async def test_documents_that_share_words_with_the_query_come_first() -> None:
    answer = await answered("rerank", query="red fox", documents=["a whale", "a red fox", "a fox"])
    assert [entry["index"] for entry in answer["results"]] == [1, 2, 0]
    scores = [entry["relevance_score"] for entry in answer["results"]]
    assert scores == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(("top_n", "count"), [(None, 3), (1, 1), (3, 3), (99, 3)])
async def test_no_more_than_asked(top_n: int | None, count: int) -> None:
    answer = await answered("rerank", query="", documents=["a", "b", "c"], top_n=top_n)
    assert len(answer["results"]) == count


# -- transcripts ------------------------------------------------------------------------------------------------------


async def transcript(tmp_path: Path, **fields: str) -> bytes:
    path = tmp_path / "sound.wav"
    path.write_bytes(b"RIFF" * 25)
    upload = Upload(path, "sound.wav", "audio/wav", fields=tuple(fields.items()), size=100)
    _, data = await opened("transcribe", upload)
    return data


async def test_a_transcript_says_what_was_received(tmp_path: Path) -> None:
    answer = json.loads(await transcript(tmp_path))
    assert "100 bytes" in answer["text"]
    assert answer["usage"] == {"type": "duration", "seconds": 3}


@pytest.mark.parametrize(
    ("asked", "start", "inside"),
    [
        ("text", b"This is the demo provider", b"100 bytes"),
        ("srt", b"1\n00:00:00,000 --> 00:00:03,000\n", b"100 bytes"),
        ("vtt", b"WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n", b"100 bytes"),
        ("json", b"{", b"100 bytes"),
        ("verbose_json", b"{", b'"segments"'),
    ],
)
async def test_in_the_form_that_was_asked(tmp_path: Path, asked: str, start: bytes, inside: bytes) -> None:
    data = await transcript(tmp_path, response_format=asked)
    assert data.startswith(start)
    assert inside in data


# -- all of them ------------------------------------------------------------------------------------------------------

TEXTS = st.text(max_size=50)


@given(text=TEXTS, texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_the_same_request_gets_the_same_bytes(text: str, texts: list[str]) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "embed": {"model": "demo", "input": texts},
        "image": {"model": "demo", "prompt": text},
        "rerank": {"model": "demo", "query": text, "documents": texts},
    }
    for operation, body in bodies.items():
        answer, content_type = demo_units.ANSWERS[operation]
        data = answer(body)
        assert data == answer(body)
        assert content_type == "application/json"
        json.loads(data)
