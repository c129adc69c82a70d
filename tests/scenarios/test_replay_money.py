"""A streamed call costs what the same call costs unstreamed, for every recorded usage and on every dialect."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest

from support.fixtures import needs_fixtures
from support.replay import Case, cost_of
from support.replay_dialects import DIALECTS, expected_usage, shown
from support.replay_read import told
from support.replay_run import GOOD, Replayer, each, replaying
from support.replay_usage import told_usage, with_usage

TOLD = [case for case in GOOD if told(case).usage and told_usage(case)]

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with replaying(tmp_path_factory.mktemp("replay-money")) as replayer:
        yield replayer


@each(TOLD)
def test_a_streamed_call_costs_what_it_costs_unstreamed(replayer: Replayer, case: Case) -> None:
    own, read = told_usage(case), told(case).usage
    assert own
    assert read
    told_by = list[str]()
    for dialect in DIALECTS:
        for stream in (False, True):
            hi = with_usage(case, own, stream=stream)
            replay = replayer.replayed(hi, dialect, [hi.body], None)
            assert replay.answer.status == 200, replay.answer.body
            got = shown(dialect, hi, replay.answer.body)
            assert got.text == "hi"
            assert got.usage == expected_usage(dialect, read), (dialect.name, stream)
            told_by.append(replay.request_id)
    rows = replayer.rows(case.model)
    costs = {Decimal(rows[request_id]["cost"]) * 10**9 for request_id in told_by}
    assert costs == {cost_of(read)}
    assert {rows[request_id]["total_tokens"] for request_id in told_by} == {read.total_tokens}
