"""Every recorded answer, through the running gateway, means the same on all four dialects as in its own bytes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support.fixtures import needs_fixtures
from support.grammar import Answer as Shown
from support.replay import Case, cost_of, expected_path, ways
from support.replay_dialects import DIALECTS, Dialect, error_of, expected, expected_usage, plain, shown, words
from support.replay_read import told
from support.replay_run import BROKEN, GARBAGE, GOOD, REFUSED, Replayer, each, replaying

STREAMERS = sorted({case.provider for case in GOOD if case.stream})

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with replaying(tmp_path_factory.mktemp("replay")) as replayer:
        yield replayer


@each(GOOD)
def test_a_recording_means_the_same_on_all_four_dialects(replayer: Replayer, case: Case) -> None:
    said = told(case)
    told_by = list[tuple[str, Dialect, Shown]]()
    for dialect, (way, pieces) in zip(DIALECTS, rotated(case), strict=True):
        replay = replayer.replayed(case, dialect, pieces, said)
        assert replay.answer.status == 200, (dialect.name, way, replay.answer.body)
        assert [call.path for call in replay.calls] == [expected_path(case)]
        got = shown(dialect, case, replay.answer.body)
        assert got.complete
        assert got.error is None
        assert got.model == case.model
        want = expected(dialect, case, said)
        assert {i: plain(each) for i, each in got.choices.items()} == {i: plain(each) for i, each in want.items()}, (
            dialect.name,
            way,
        )
        for index, choice in want.items():
            check_ids([call.id for call in choice.calls], [call.id for call in got.choices[index].calls])
        told_by.append((replay.request_id, dialect, got))
    rows = replayer.rows(case.model)
    for request_id, dialect, got in told_by:
        check_usage(dialect, said, got, rows[request_id])


def check_ids(told_ids: list[str], shown_ids: list[str]) -> None:
    """Calls keep their ids; where the upstream gives none, each gets one of its own."""
    assert [shown_id if told_id else "" for told_id, shown_id in zip(told_ids, shown_ids, strict=True)] == told_ids
    assert all(shown_ids)
    assert len(set(shown_ids)) == len(shown_ids)


def rotated(case: Case) -> list[tuple[str, list[bytes]]]:
    """The four ways of arriving, another one for each dialect from recording to recording."""
    cut = list(ways(case).items())
    shift = sum(case.name.encode()) % len(cut)
    return cut[shift:] + cut[:shift]


def check_usage(dialect: Dialect, said: Shown, got: Shown, row: dict[str, Any]) -> None:
    """The row is the usage shown is the usage told; money is each class once."""
    assert got.usage
    assert row["status"] == "completed"
    assert row["estimated"] is (said.usage is None)
    if said.usage:
        assert got.usage == expected_usage(dialect, said.usage), dialect.name
        assert row["cache_write_tokens"] == said.usage.cache_write_tokens
        assert Decimal(row["cost"]) * 10**9 == cost_of(said.usage)
    for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"):
        assert row[name] == getattr(got.usage, name), (dialect.name, name)
    if dialect.name == "native":
        assert got.raw_usage
        assert Decimal(got.raw_usage["cost"]) == Decimal(row["cost"])
        assert got.raw_usage["estimated"] is row["estimated"]


# -- what is no answer ------------------------------------------------------------------------------------------------


@each(BROKEN)
def test_an_error_inside_a_stream_is_an_error_on_all_four_dialects(replayer: Replayer, case: Case) -> None:
    """Before the first content the status says it; after it the dialect's error event. Which of the two, is chance."""
    said = told(case)
    assert said.error
    failed = list[str]()
    for dialect, (way, pieces) in zip(DIALECTS, rotated(case), strict=True):
        replay = replayer.replayed(case, dialect, pieces, said)
        failed.append(replay.request_id)
        if replay.answer.status != 200:
            error_of(dialect, replay.answer.body)
            continue
        got = shown(dialect, case, replay.answer.body)
        assert got.error, (dialect.name, way)
        assert not got.complete
        assert words(dialect, replay.answer.body) == (said.text, said.reasoning), (dialect.name, way)
    check_failed(replayer, case, failed)


def check_failed(replayer: Replayer, case: Case, request_ids: list[str]) -> None:
    rows = replayer.rows(case.model)
    assert {rows[request_id]["status"] for request_id in request_ids} == {"failed"}


REFUSALS: dict[str, tuple[tuple[int, str], ...]] = {
    # native, OpenAI, Responses, Anthropic
    "caller": (
        (422, "VALIDATION_ERROR"),
        (400, "invalid_request_error"),
        (400, "invalid_request_error"),
        (400, "invalid_request_error"),
    ),
    "operator": ((503, "MODEL_UNAVAILABLE"), (503, "server_error"), (503, "server_error"), (529, "overloaded_error")),
    "limited": ((429, "BACKEND_RATE_LIMITED"), (429, "requests"), (429, "requests"), (429, "rate_limit_error")),
    "garbage": ((502, "UPSTREAM_SHAPE_MISMATCH"), (502, "server_error"), (502, "server_error"), (502, "api_error")),
}
"""Whose fault → status and word, in the order of DIALECTS."""

FAULTS = {400: "caller", 404: "operator", 429: "limited", 200: "garbage"}


@each([*REFUSED, *GARBAGE])
def test_a_refusal_is_told_as_whose_fault_it_is(replayer: Replayer, case: Case) -> None:
    fault = FAULTS[case.status]
    failed = list[str]()
    for dialect, (way, pieces), want in zip(DIALECTS, rotated(case), REFUSALS[fault], strict=True):
        replay = replayer.replayed(case, dialect, pieces, None)
        assert (replay.answer.status, error_of(dialect, replay.answer.body)) == want, (dialect.name, way)
        failed.append(replay.request_id)
        message = replay.answer.json()["error"]["message"]
        if fault == "caller":
            assert why(case) in message, "the caller can mend it only if he is told what it is"
        else:
            assert case.upstream_model not in message.replace(case.model, "")
        if case.recording == "google/error-429-retry-info":
            assert 0 < int(replay.answer.headers["Retry-After"]) <= 60
    check_failed(replayer, case, failed)
    assert {row["cost"] for row in replayer.rows(case.model).values()} == {"0"}


def why(case: Case) -> str:
    """The beginning of what the upstream said."""
    text: str = json.loads(case.body)["error"]["message"]
    return text[:60]


NO_ANSWERS = (b"", b"\n\n", b": alive\n\n", b"<html>busy</html>", b"data: {oops\n\n", b"data: 7\n\n")


@each([next(case for case in GOOD if case.provider == provider and case.stream) for provider in STREAMERS])
def test_a_200_without_an_answer_is_an_error(replayer: Replayer, case: Case) -> None:
    turn = STREAMERS.index(case.provider)
    failed = list[str]()
    for stream, number in ((True, 0), (True, 1), (True, 2), (False, 3)):
        body = NO_ANSWERS[(turn + number) % len(NO_ANSWERS)]
        asked = dataclasses.replace(case, stream=stream)
        for dialect, want in zip(DIALECTS, REFUSALS["garbage"], strict=True):
            replay = replayer.replayed(asked, dialect, [body], None)
            assert (replay.answer.status, error_of(dialect, replay.answer.body)) == want, (dialect.name, body)
            failed.append(replay.request_id)
    check_failed(replayer, case, failed)
