"""Every recorded stream, broken off after any event: always a typed error, on all four dialects, and never an end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fixtures import needs_fixtures
from support.grammar import Answer
from support.replay import Case
from support.replay_cut import Cut, after_events, cuts, told_before
from support.replay_dialects import DIALECTS, Dialect, error_of, expected, plain, request, shown, words
from support.replay_read import told
from support.replay_run import GOOD, Replay, Replayer, each, replaying

FIRST_PROVIDER = {case.recording: case for case in reversed(GOOD)}
STREAMS = [case for case in GOOD if case.stream and FIRST_PROVIDER[case.recording] is case]

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with replaying(tmp_path_factory.mktemp("replay-cut")) as replayer:
        yield replayer


@each(STREAMS)
def test_a_stream_that_is_cut_ends_as_an_error(replayer: Replayer, case: Case) -> None:
    said = told(case)
    booked = dict[str, tuple[str, str]]()
    for cut in cuts(case):
        before = told_before(case, cut)
        for dialect in DIALECTS:
            replay = replayer.asked(dialect, request(dialect, case, said), after_events(case, cut))
            is_whole = check(dialect, case, cut, before, replay)
            booked[replay.request_id] = ("completed" if is_whole else "failed", f"{dialect.name}, {cut}")
    rows = replayer.rows(case.model)
    for request_id, (status, where) in booked.items():
        assert rows[request_id]["status"] == status, where


def check(dialect: Dialect, case: Case, cut: Cut, before: Answer | None, replay: Replay) -> bool:
    """Is it an answer after all? Only where nothing but the end mark was missing."""
    where = (dialect.name, cut)
    answer = replay.answer
    if answer.status != 200:
        assert answer.status >= 500, where
        error_of(dialect, answer.body)
        return False
    got = shown(dialect, case, answer.body)
    if before is not None and got.complete:
        want = expected(dialect, case, before)
        assert {i: plain(each) for i, each in got.choices.items()} == {i: plain(each) for i, each in want.items()}
        return True
    assert got.error, f"{where}: a clean end"
    assert not got.complete, where
    text, reasoning = words(dialect, answer.body)
    whole = told(case).choice()
    assert (whole.text + whole.refusal).startswith(text), where
    assert whole.reasoning.startswith(reasoning), where
    for index, choice in got.choices.items():
        assert choice.finish_reason in (None, told(case).choices[index].finish_reason), where
    return False
