"""An answer that comes back as history still says what it said: its text, reasoning, signatures and calls are kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliance.formats import FORMATS
from support.fixtures import needs_fixtures
from support.replay import Case, serves
from support.replay_canonical import assistant_parts, canonical, held, order
from support.replay_dialects import ANTHROPIC, DIALECTS, RESPONSES, request
from support.replay_history import history
from support.replay_read import told
from support.replay_run import GOOD, Replayer, each, replaying

OWN = {("anthropic", "anthropic"), ("responses", "responses")}
"""Dialects that stand on both sides: blocks and items of server tools, too, come back to their own upstream."""

MEMBERS = {"anthropic": "messages", "responses": "input"}

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with replaying(tmp_path_factory.mktemp("replay-history")) as replayer:
        yield replayer


@each(GOOD)
def test_an_answer_keeps_what_it_says_when_it_comes_back_as_history(replayer: Replayer, case: Case) -> None:
    said, reply = told(case), canonical(case)
    parts = reply.choices[0].parts
    for dialect in DIALECTS:
        first = replayer.replayed(case, dialect, [case.body], said)
        assert first.answer.status == 200, first.answer.body
        messages = history(dialect, first.answer.body, stream=case.stream)
        body = request(dialect, case, said, messages)
        second = replayer.asked(dialect, body, serves(case, [case.body]))
        assert second.answer.status == 200, second.answer.body
        sent = second.calls[0]
        for opaque in said.choice().opaque:
            assert opaque in sent.body.decode(), f"{dialect.name}: what the upstream signed does not come back to it"
        if (dialect.name, case.provider) in OWN:
            assert sent.json[MEMBERS[dialect.name]] == messages, "its own words come back to an upstream unchanged"
            continue
        back = assistant_parts(FORMATS[dialect.name].decode_request(body).messages)
        assert kept(held(back), said) == kept(held(parts), said), dialect.name
        if dialect in (RESPONSES, ANTHROPIC):
            assert order(back) == order(parts), dialect.name


def kept(turn: dict[str, list[Any]], said: Any) -> dict[str, list[Any]]:
    """Without the ids of calls that have none upstream: each reading makes its own."""
    made_up = any(not call.id for call in said.choice().calls)
    return turn | {"calls": [call[1:] for call in turn["calls"]]} if made_up else turn
