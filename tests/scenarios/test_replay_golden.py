"""Every recorded exchange in canonical form and as each dialect's callers see it, as files that a person has read.

Rewrite them with SCAIGRID_GOLDEN=write, and read what changed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator

import msgspec
import pytest

from support.fixtures import needs_fixtures
from support.golden import GOLDEN
from support.replay import Case, serves
from support.replay_canonical import canonical
from support.replay_cut import pieces
from support.replay_dialects import DIALECTS, request
from support.replay_golden import Names, stream_lines, whole_lines
from support.replay_read import told
from support.replay_run import BROKEN, CASES, GOOD, Replayer, each, replaying
from support.upstream import Call, Script

FIRST = {case.recording: case for case in reversed(CASES)}
MATRIX = [case for case in CASES if FIRST[case.recording] is case]

pytestmark = needs_fixtures


@pytest.fixture(scope="module")
def replayer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replayer]:
    with replaying(tmp_path_factory.mktemp("replay-golden")) as replayer:
        yield replayer


@each(MATRIX)
def test_a_recorded_exchange_is_rendered_as_reviewed(replayer: Replayer, case: Case) -> None:
    file = GOLDEN / "matrix" / f"{case.recording}.txt"
    text = "\n".join(rendered(replayer, case)) + "\n"
    if os.environ.get("SCAIGRID_GOLDEN") == "write":
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return
    assert file.is_file(), f"{file} is missing: write it with SCAIGRID_GOLDEN=write, then read it"
    assert text == file.read_text(encoding="utf-8")


def test_there_is_no_golden_file_without_a_recording() -> None:
    found = {str(file.relative_to(GOLDEN / "matrix").with_suffix("")) for file in (GOLDEN / "matrix").rglob("*.txt")}
    assert found == {case.recording for case in MATRIX}


def rendered(replayer: Replayer, case: Case) -> list[str]:
    is_answer = case in GOOD or case in BROKEN
    lines = [f"{case.recording}, served as {case.provider}"]
    if is_answer:
        form = msgspec.to_builtins(canonical(case))
        lines += ["", "== canonical", *whole_lines(Names(case.body).plain(form))]
    for dialect in DIALECTS:
        body = request(dialect, case, told(case) if is_answer else None)
        replay = replayer.asked(dialect, body, in_two(case) if case in BROKEN else serves(case, [case.body]))
        names = Names(case.body)
        is_stream = replay.answer.headers["Content-Type"].startswith("text/event-stream")
        lines += ["", f"== {dialect.name}, {replay.answer.status}"]
        if is_stream:
            lines += stream_lines(replay.answer.body, names)
        else:
            lines += whole_lines(names.plain(json.loads(replay.answer.body)))
    return lines


def in_two(case: Case) -> Script:
    """An error inside a stream is told in it only when some content has left before: so there is a pause."""

    async def play(call: Call) -> None:
        events = pieces(case)
        broken = next(place for place, event in enumerate(events) if b"event: error" in event or b'"error":{' in event)
        await call.start_stream()
        await call.chunk(b"".join(events[:broken]))
        await asyncio.sleep(0.1)
        await call.chunk(b"".join(events[broken:]))
        await call.end_stream()

    return play
