"""Batches come apart and together without loss; the bound is never under the text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.formats.chat import Usage
from appliance.formats.embedding import (
    FRAME_TOKENS,
    EmbeddingReply,
    EmbeddingRequest,
    Vector,
    bound,
    estimate,
    joined,
    split,
)


def reply_for(request: EmbeddingRequest, order: list[int] | None = None) -> EmbeddingReply:
    """What an upstream answers: each text's vector holds its number."""
    places = order if order is not None else list(range(len(request.input)))
    vectors = [Vector(i, Raw(f"[{request.input[i]}]".encode())) for i in places]
    return EmbeddingReply(vectors, Usage(input_tokens=len(request.input)))


@given(st.data(), st.integers(1, 40), st.integers(1, 9), st.one_of(st.none(), st.integers(1, 6)))
def test_split_and_joined_are_inverse_whatever_the_order(
    data: st.DataObject, items: int, most_items: int, most_tokens: int | None
) -> None:
    request = EmbeddingRequest("m", [str(i) for i in range(items)], dimensions=3, user="u", extra={"truncate": "END"})
    parts = split(request, most_items, most_tokens)
    assert [text for part in parts for text in part.input] == request.input
    assert all(0 < len(part.input) <= most_items for part in parts)
    assert all((part.dimensions, part.user, part.extra) == (3, "u", {"truncate": "END"}) for part in parts)
    replies = [reply_for(part, data.draw(st.permutations(range(len(part.input))))) for part in parts]
    whole = joined(parts, replies)
    assert [vector.index for vector in whole.vectors] == list(range(items))
    assert [bytes(vector.embedding) for vector in whole.vectors] == [f"[{i}]".encode() for i in range(items)]
    assert whole.usage == Usage(input_tokens=items)


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=20), st.integers(1, 10))
def test_a_part_has_no_more_tokens_than_told_unless_one_input_has(inputs: list[list[int]], most: int) -> None:
    parts = split(EmbeddingRequest("m", inputs), None, most)
    assert [item for part in parts for item in part.input] == inputs
    for part in parts:
        assert len(part.input) == 1 or sum(len(item) for item in part.input) <= most


def test_what_fits_is_one_part_and_the_same() -> None:
    request = EmbeddingRequest("m", ["a", "b"])
    assert split(request, 2)[0] is request
    assert split(request, None)[0] is request


def test_texts_are_counted_by_bytes() -> None:
    parts = split(EmbeddingRequest("m", ["abcd", "éé", "x" * 100, "a"]), None, 4)
    assert [part.input for part in parts] == [["abcd", "éé"], ["x" * 100], ["a"]]


@pytest.mark.parametrize(
    ("indexes", "message"),
    [
        ([0], "has 1 vectors for 2 inputs"),
        ([0, 1, 2], "has 3 vectors for 2 inputs"),
        ([0, 0], "has two vectors of index 0"),
        ([0, 2], "has a vector of index 2 for 2 inputs"),
        ([0, -1], "has a vector of index -1 for 2 inputs"),
    ],
)
def test_a_missing_or_doubled_vector_is_a_mismatch(indexes: list[int], message: str) -> None:
    request = EmbeddingRequest("m", ["0", "1"])
    reply = EmbeddingReply([Vector(i, Raw(b"[1]")) for i in indexes])
    with pytest.raises(GatewayError) as caught:
        joined([request], [reply])
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
    assert caught.value.message.endswith(message)


def test_usage_is_unknown_when_one_part_does_not_tell() -> None:
    parts = split(EmbeddingRequest("m", ["0", "1"]), 1)
    replies = [reply_for(part) for part in parts]
    assert joined(parts, replies).usage == Usage(input_tokens=2)
    replies[1].usage = None
    assert joined(parts, replies).usage is None


def test_the_bound() -> None:
    assert bound(EmbeddingRequest("m", ["abc", "é"])) == Usage(input_tokens=5 + 2 * FRAME_TOKENS)
    assert bound(EmbeddingRequest("m", [[1, 2, 3]])) == Usage(input_tokens=3 + FRAME_TOKENS)
    assert bound(EmbeddingRequest("m", ["x" * 9000, "y"]), 8192) == Usage(input_tokens=8192 + 1 + FRAME_TOKENS)


def test_the_estimate() -> None:
    assert estimate(EmbeddingRequest("m", ["abcde", "x"])) == Usage(input_tokens=3)
    assert estimate(EmbeddingRequest("m", [[1, 2, 3], [4]])) == Usage(input_tokens=4)
