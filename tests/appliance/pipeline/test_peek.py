"""A body is read once: what is wrong with it is said with the member's name, what we do not know is left as it is."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.formats.openai_shape import read_head
from appliance.pipeline import peek
from appliance.pipeline.peek import MAX_DEPTH, decoded, members
from support.build import chat_body


def refused(body: bytes) -> GatewayError:
    """The error of the two steps that an operation takes."""
    with pytest.raises(GatewayError) as caught:
        _both(body)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def _both(body: bytes) -> None:
    members(body)
    decoded(body)


# -- is it an object of JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"   ", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model":"m"', "not valid JSON"),
        (b"{'model': 'm'}", "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b'{"model":"m"} trailing', "not valid JSON"),
        (b'{"model": NaN}', "not valid JSON"),
        (b"model=m&messages=hi", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\x00"}', "not valid JSON"),
        (b"[]", "not an object"),
        (b'"text"', "not an object"),
        (b"7", "not an object"),
        (b"null", "not an object"),
        (b'{"model":"\xff"}', "not valid UTF-8: byte 10 is 0xff"),
        (b'{"model":"\xed\xa0\x80"}', "not valid UTF-8: byte 10 is 0xed"),
        (b"\xff\xfe{\x00}\x00", "not valid UTF-8: byte 0 is 0xff"),
    ],
)
def test_a_body_that_is_no_object_is_refused_with_the_reason(body: bytes, words: str) -> None:
    assert words in refused(body).message


@given(st.binary(max_size=200))
def test_any_bytes_are_either_members_or_a_validation_error(body: bytes) -> None:
    try:
        found = set(members(body))
    except GatewayError as error:
        assert not _is_object(body), error  # noqa: PT017 - both outcomes are right, each for its own bodies
    else:
        assert found == set(json.loads(body))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict) and b"NaN" not in body and b"Infinity" not in body
    except ValueError:
        return False


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_members_keep_the_callers_own_bytes(body: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only, separators=(" , ", " : "))
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which no UTF-8 body can hold
    assert {name: json.loads(bytes(raw)) for name, raw in members(encoded).items()} == body


def test_of_a_member_that_is_written_twice_the_last_one_counts_for_everybody() -> None:
    body = b'{"model":"first","messages":[{"role":"user","content":"x"}],"model":"last"}'
    assert bytes(members(body)["model"]) == b'"last"'
    assert read_head(body).model == decoded(body)["model"] == "last"


def test_numbers_are_not_touched() -> None:
    assert bytes(members(b'{"big":123456789012345678901234567890.10}')["big"]) == b"123456789012345678901234567890.10"


# -- depth ------------------------------------------------------------------------------------------------------------


def nested(depth: int, bracket: str = "[") -> bytes:
    inside = "[" * depth + "]" * depth if bracket == "[" else '{"a":' * depth + "1" + "}" * depth
    return f'{{"x":{inside}}}'.encode()


@pytest.mark.parametrize("bracket", ["[", "{"])
def test_nesting_up_to_the_limit_is_read(bracket: str) -> None:
    assert members(nested(MAX_DEPTH - 1, bracket))


@pytest.mark.parametrize("bracket", ["[", "{"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 5_000, 300_000])
def test_deeper_nesting_is_refused_before_anything_is_decoded(bracket: str, depth: int) -> None:
    started = time.monotonic()
    assert f"deeper than {MAX_DEPTH} levels" in refused(nested(depth, bracket)).message
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_that_nobody_closes_is_called_so_too(opening: bytes) -> None:
    error = refused(b'{"x":' + opening * 100_000)
    assert f"deeper than {MAX_DEPTH} levels" in error.message
    assert len(error.message) < 200


TEXTS = st.text(alphabet='[]{}"\\,: a\n', max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(DOCUMENTS, st.integers(0, 6), st.booleans())
def test_depth_is_that_of_the_document_whatever_its_texts_hold(value: Any, limit: int, spaced: bool) -> None:
    value = {"x": value}
    body = json.dumps(value, indent=1 if spaced else None).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(peek, "MAX_DEPTH", limit)
        if depth_of(value) > limit:
            assert f"deeper than {limit} levels" in refused(body).message
        else:
            assert json.loads(bytes(members(body)["x"])) == value["x"]


COMB = b"[" * 60 + b"]" * 60
LARGE: dict[str, bytes] = {
    "a tower": b"[" * 500_000 + b"]" * 500_000,
    "a tower of objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a tower without a roof": b"[" * 1_000_000,
    "a comb": b"[" + b",".join([COMB] * 8_000) + b"]",
    "side by side": b"[" + b",".join([b"[]"] * 333_000) + b"]",
    "in texts": b"[" + b",".join([b'"["'] * 250_000) + b"]",
    "texts without an end": b"[" + b'"[",' * 250_000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_no_megabyte_holds_up_the_loop_for_long(value: bytes) -> None:
    """Any caller may send one; meanwhile nobody else is served."""
    body = b'{"x":' + value + b"}"
    assert min(_seconds_of_members(body) for _ in range(3)) < 0.4


def _seconds_of_members(body: bytes) -> float:
    started = time.perf_counter()
    with contextlib.suppress(GatewayError):
        members(body)
    return time.perf_counter() - started


def test_brackets_inside_texts_are_no_nesting() -> None:
    text = "[{" * 1000 + '\\" [[[' + "\n"
    body = chat_body(messages=[{"role": "user", "content": text}])
    assert json.loads(bytes(members(body)["messages"]))[0]["content"] == text


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    assert members(json.dumps({"x": [{"y": [number]} for number in range(1000)]}).encode())


def test_a_text_without_its_end_is_refused_in_time() -> None:
    started = time.monotonic()
    refused(b'{"x":"' + b"[\\" * 200_000)
    assert time.monotonic() - started < 1
