"""Shapes, cursors, limits and times: what callers send is checked, what they get has one form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic.response import ResponseStream

from appliance.api.envelope import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Page,
    Plain,
    cursor_of,
    failure,
    iso,
    limit_of,
    seq_of,
    success,
    unix_of,
)
from appliance.errors import GatewayError, invalid

SQLITE_MAX = 2**63 - 1


def body_of(response: Any) -> Any:
    assert response.content_type == "application/json"
    return json.loads(response.body)


def test_a_thing_is_wrapped() -> None:
    assert body_of(success({"a": 1})) == {"status": "ok", "data": {"a": 1}}


def test_a_page_tells_whether_there_is_more() -> None:
    assert body_of(success(Page([1], "next"))) == {
        "status": "ok",
        "data": {"items": [1]},
        "pagination": {"has_more": True, "next_cursor": "next"},
    }
    assert body_of(success(Page([])))["pagination"] == {"has_more": False, "next_cursor": None}


def test_a_plain_body_is_not_wrapped() -> None:
    response = success(Plain(b"text", 503, "text/plain"))
    assert (response.body, response.status, response.content_type) == (b"text", 503, "text/plain")
    assert body_of(success(Plain({"object": "list"}))) == {"object": "list"}


def test_what_is_streamed_is_handed_on_as_it_is() -> None:
    async def lines(response: Any) -> None:
        await response.write("one")

    stream = ResponseStream(lines)
    passed_on: object = success(stream)
    assert passed_on is stream


def test_an_error_has_the_surface_s_shape() -> None:
    native = failure(invalid("n", "is wrong"), "native", "req_12345678")
    assert native.status == 422
    assert body_of(native) == {
        "status": "error",
        "error": {
            "code": "VALIDATION_ERROR",
            "message": "n: is wrong",
            "details": [{"field": "n", "message": "is wrong"}],
        },
        "meta": {"request_id": "req_12345678"},
    }
    compat = failure(invalid("n", "is wrong"), "openai", "req_12345678")
    assert compat.status == 400
    assert set(body_of(compat)["error"]) == {"message", "type", "param", "code"}


def test_an_error_s_headers_go_out() -> None:
    assert failure(GatewayError("RATE_LIMITED", "x", retry_after=1.5), "native", "r").headers["Retry-After"] == "2"
    assert failure(GatewayError("AUTH_TOKEN_MISSING", "x"), "openai", "r").headers["WWW-Authenticate"] == "Bearer"


# -- what callers send ------------------------------------------------------------------------------------------------


@given(st.integers(0, SQLITE_MAX))
def test_a_cursor_comes_back_as_the_place_it_was_made_of(seq: int) -> None:
    cursor = cursor_of(seq)
    assert seq_of(cursor) == seq
    assert cursor.isascii()
    assert "=" not in cursor


@pytest.mark.parametrize("cursor", [None, ""])
def test_without_a_cursor_a_list_begins_at_its_beginning(cursor: str | None) -> None:
    assert seq_of(cursor) is None


@pytest.mark.parametrize("cursor", ["x", "!!!", "é", "bm8", "AAAA", "\udcff", "1" * 10_000, "MTIz$$$$"])
def test_a_made_up_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(GatewayError) as caught:
        seq_of(cursor)
    assert caught.value.param == "cursor"


@pytest.mark.parametrize("seq", [SQLITE_MAX + 1, 10**30, -1, -(10**30)])
def test_a_cursor_beyond_what_a_database_counts_is_refused(seq: int) -> None:
    with pytest.raises(GatewayError) as caught:
        seq_of(cursor_of(seq))
    assert caught.value.param == "cursor"


@given(st.text(max_size=30))
def test_any_cursor_is_a_place_or_a_validation_error(cursor: str) -> None:
    try:
        seq = seq_of(cursor)
    except GatewayError as error:
        assert error.param == "cursor"  # noqa: PT017 - both outcomes are right
    else:
        assert seq is None or 0 <= seq <= SQLITE_MAX


@pytest.mark.parametrize(("text", "limit"), [(None, DEFAULT_LIMIT), ("1", 1), ("1000", MAX_LIMIT), ("007", 7)])
def test_a_limit(text: str | None, limit: int) -> None:
    assert limit_of(text) == limit


@pytest.mark.parametrize(
    "text",
    ["0", "1001", "-1", "+5", "1.5", "", " 5", "5 ", "1_0", "٣", "ten", "9" * 5000, "0000005000000", "0" * 9 + "1001"],
)
def test_a_limit_that_is_none(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        limit_of(text)
    assert caught.value.param == "limit"


@given(st.one_of(st.text(max_size=20), st.integers(0, 10**15).map(lambda n: f"{n:020d}"), st.integers().map(str)))
def test_no_limit_is_ever_beyond_the_most(text: str) -> None:
    try:
        limit = limit_of(text)
    except GatewayError:
        return
    assert 1 <= limit <= MAX_LIMIT


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("2026-11-22T00:00:00Z", 1_795_305_600),
        ("2026-11-22T01:00:00+01:00", 1_795_305_600),
        ("2026-11-22", 1_795_305_600),
        ("2026-11-22T00:00:00.250", 1_795_305_600.25),
        ("1970-01-01", 0),
    ],
)
def test_a_time_is_read_and_without_a_zone_it_is_utc(text: str, unix: float) -> None:
    assert unix_of("start", text) == unix


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "1795305600",
        "2026-13-01",
        "2026-11-22T25:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "x" * 10_000,
    ],
)
def test_a_time_that_is_none_names_the_parameter(text: str) -> None:
    with pytest.raises(GatewayError) as caught:
        unix_of("start", text)
    assert caught.value.param == "start"
    assert len(caught.value.message) < 300


def test_times_go_out_in_utc_with_milliseconds() -> None:
    assert iso(1_795_305_600.25) == "2026-11-22T00:00:00.250Z"
    assert iso(0) == "1970-01-01T00:00:00.000Z"
    assert iso(None) is None


@given(st.integers(0, 253_402_300_799))
def test_what_goes_out_can_be_sent_back(unix: int) -> None:
    text = iso(unix)
    assert text
    assert unix_of("start", text) == unix
