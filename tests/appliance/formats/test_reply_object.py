"""A reply that is no JSON object, or an error in disguise, is a typed fault of the upstream."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import GatewayError
from appliance.formats.reply_object import count, object_in, reply_object, reply_value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the upstream's answer is no JSON"),
        (b"<html>", "the upstream's answer is no JSON"),
        (b'{"a": "\xff"}', "the upstream's answer is no JSON"),
        (b"[" * 5000, "the upstream's answer is no JSON"),
        (b"[1]", "the upstream's answer is no JSON object"),
        (b'"x"', "the upstream's answer is no JSON object"),
        (b'{"error": {"message": "out of memory"}}', "is an error with status 200: out of memory"),
        (b'{"error": "out of memory"}', "is an error with status 200: out of memory"),
    ],
)
def test_what_is_no_reply(body: bytes, message: str) -> None:
    with pytest.raises(GatewayError, match=r"^the upstream") as caught:
        reply_object(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
    assert message in caught.value.message


def test_an_object_and_a_bare_list() -> None:
    assert reply_object(b'{"a": 1, "error": null}') == {"a": 1, "error": None}
    assert reply_value(b"[1]") == [1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0), (7, 7), (7.0, 7), (7.5, None), (-1, None), (True, None), ("7", None), (None, None), (1e300, None)],
)
def test_counts(value: Any, expected: int | None) -> None:
    assert count(value) == expected


def test_members_that_should_be_objects() -> None:
    assert object_in({"a": 1}) == {"a": 1}
    assert object_in([1]) == {}
