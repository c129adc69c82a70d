"""The table of codes: every code has a status in every dialect, and an error says what it knows and no more."""

from __future__ import annotations

import re
from http import HTTPStatus
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import CODES, NAME_SHOWN, GatewayError, clipped, invalid
from appliance.formats import FORMATS

APPLIANCE = Path(__file__).parents[2] / "appliance"


@pytest.mark.parametrize("code", CODES)
def test_a_code_means_an_error_status_and_has_a_line_for_the_docs(code: str) -> None:
    meaning = CODES[code]
    assert HTTPStatus(meaning.status) >= 400
    assert meaning.meaning
    assert not meaning.meaning.endswith(".")
    assert re.fullmatch(r"[A-Z]+(_[A-Z]+)+", code)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("surface", FORMATS)
def test_every_dialect_can_say_every_code(code: str, surface: str) -> None:
    status, body = FORMATS[surface].encode_error(GatewayError(code, "why"), "req_12345678")
    assert 400 <= status < 600
    assert body["error"]["message"] == "why"
    # The caller's fault, a limit or ours: that much must be the same on both surfaces.
    assert status // 100 == CODES[code].status // 100


def test_a_code_that_is_not_in_the_table_cannot_be_raised() -> None:
    with pytest.raises(AssertionError):
        GatewayError("NO_SUCH_CODE", "x")


def test_every_code_that_the_source_names_is_in_the_table_and_only_few_wait_for_their_use() -> None:
    """A code without a use is a promise nobody keeps; those that later issues bring are named here."""
    later = {"AUTH_INSUFFICIENT_SCOPE", "SLUG_CONFLICT", "BACKEND_NOT_FOUND", "PROVIDER_NOT_FOUND", "RATE_LIMITED"}
    later |= {"QUOTA_EXCEEDED", "BUDGET_EXCEEDED"}
    named = set()
    for path in APPLIANCE.rglob("*.py"):
        if path.name not in ("errors.py", "openai_error.py"):
            named |= set(re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', path.read_text(encoding="utf-8")))
    assert set(CODES) - named <= later


def test_the_native_body_has_what_is_known() -> None:
    assert GatewayError("NOT_FOUND", "no such user").body() == {"code": "NOT_FOUND", "message": "no such user"}
    assert GatewayError("RATE_LIMITED", "slow down", retry_after=3.0).body()["retry_after"] == 3
    assert GatewayError("RATE_LIMITED", "slow down", retry_after=2.5).body()["retry_after"] == 2.5
    assert GatewayError("MODEL_NOT_FOUND", "no m", param="model").body()["details"] == [
        {"field": "model", "message": "no m"}
    ]


def test_invalid_names_the_member_in_words_and_in_details() -> None:
    error = invalid("n", "takes a whole number")
    assert (error.code, error.status, error.param, error.message) == (
        "VALIDATION_ERROR",
        422,
        "n",
        "n: takes a whole number",
    )
    assert error.details == [{"field": "n", "message": "takes a whole number"}]


@given(st.floats(0, 10**9))
def test_retry_after_is_whole_seconds_and_never_too_short(seconds: float) -> None:
    header = GatewayError("RATE_LIMITED", "x", retry_after=seconds).headers()["Retry-After"]
    assert header.isdigit()
    assert max(1, seconds) <= int(header) <= max(1, seconds + 1)


def test_a_401_owes_a_challenge_and_others_do_not() -> None:
    assert GatewayError("AUTH_TOKEN_MISSING", "x").headers() == {"WWW-Authenticate": "Bearer"}
    assert GatewayError("NOT_FOUND", "x").headers() == {}


def test_the_cause_is_kept_for_the_log() -> None:
    cause = OSError("disk")
    assert GatewayError("JOURNAL_UNAVAILABLE", "x", cause=cause).__cause__ is cause


@given(st.text(max_size=500))
def test_a_caller_s_word_is_repeated_whole_or_clipped(word: str) -> None:
    shown = clipped(word)
    assert len(shown) <= NAME_SHOWN
    assert shown == word or (len(word) > NAME_SHOWN and word.startswith(shown[:-1]))
