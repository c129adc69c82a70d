"""Numbers ↔ base64: exact where it can be, untouched where nothing is to be done."""

from __future__ import annotations

import array
import base64
import json
import struct
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from appliance.errors import GatewayError
from appliance.formats.embedding_vector import as_base64, as_floats, checked, is_base64, of_numbers

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1))
def test_single_floats_come_back_exactly(numbers: list[float]) -> None:
    encoded = as_base64(of_numbers(numbers))
    assert json.loads(bytes(as_floats(encoded))) == numbers
    assert bytes(as_base64(as_floats(encoded))) == bytes(encoded)


@given(st.lists(st.floats(-2, 2), min_size=1))
def test_doubles_are_rounded_once_and_then_stable(numbers: list[float]) -> None:
    once = as_base64(of_numbers(numbers))
    assert bytes(as_base64(as_floats(once))) == bytes(once)
    for given_number, kept in zip(numbers, json.loads(bytes(as_floats(once))), strict=True):
        assert kept == pytest.approx(given_number, rel=2**-23, abs=2**-149)


def test_the_bytes_are_little_endian_as_openais_sdk_reads_them() -> None:
    encoded = json.loads(bytes(as_base64(Raw(b"[1, -0.5, 2e-3]"))))
    floats = array.array("f")
    floats.frombytes(base64.b64decode(encoded))
    if sys.byteorder == "big":
        floats.byteswap()
    assert floats.tolist() == [1.0, -0.5, struct.unpack("<f", struct.pack("<f", 2e-3))[0]]


def test_what_has_the_right_form_is_not_touched() -> None:
    written = Raw(b"[ 0.10, 1e-05,-0.00100 ]")
    assert as_floats(written) is written
    text = Raw(b'"AACAPw=="')
    assert as_base64(text) is text
    assert bytes(as_floats(text)) == b"[1.0]"
    assert (is_base64(text), is_base64(written)) == (True, False)


def test_an_escaped_slash_is_read() -> None:
    packed = base64.b64encode(struct.pack("<f", -1.9999998807907104)).replace(b"/", b"\\/")
    assert b"\\/" in packed
    value = checked(Raw(b'"' + packed + b'"'))
    assert json.loads(bytes(as_floats(value))) == [-1.9999998807907104]


@pytest.mark.parametrize(
    "value",
    [b"[]", b"[ ]", b'""', b"[[1]]", b'["1"]', b"[null]", b"[true]", b"null", b"{}", b"1", b'"a b"', b'"\xc3\xa9"'],
)
def test_what_is_no_vector(value: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        checked(Raw(value))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


@pytest.mark.parametrize("packed", [b"abc", struct.pack("<f", float("nan")), struct.pack("<f", float("inf"))])
def test_base64_that_holds_no_floats(packed: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        as_floats(Raw(b'"' + base64.b64encode(packed) + b'"'))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


@pytest.mark.parametrize("value", [b'"abc"', b'"\\u00e9"', b'"====" '])
def test_text_that_is_no_base64(value: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        as_floats(Raw(value))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"


@pytest.mark.parametrize("value", [b"[1e39]", b"[1e999]", b"[1-2]"])
def test_numbers_that_are_no_single_floats(value: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        as_base64(Raw(value))
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
