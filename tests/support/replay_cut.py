"""Recorded streams broken off: where, how, and what had been told by then."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from support.grammar import Answer
from support.replay import Case
from support.replay_read import told
from support.upstream import Call, Script

_EVENT = re.compile(rb".*?(?:\n\n+|\r\n\r\n|\Z)", re.S)
HOWS = ("ends", "cut", "half")


@dataclass(frozen=True)
class Cut:
    """After `events` whole events: `ends` as if all had been said, is `cut` off, or ends after `half` an event more."""

    events: int
    how: str


def cuts(case: Case) -> list[Cut]:
    """Every place in a short stream, in a long one those at the ends and some between; the hows take turns."""
    count = len(pieces(case))
    places = sorted({0, 1, count // 3, 2 * count // 3, count - 2, count - 1} & set(range(count)))
    turn = sum(case.name.encode())
    found = [Cut(place, HOWS[(turn + number) % 3]) for number, place in enumerate(places)]
    # The last place matters most: all is said, but the end is not.
    return found + [Cut(count - 1, how) for how in HOWS if found[-1].how != how]


def pieces(case: Case) -> list[bytes]:
    return [event for event in _EVENT.findall(case.body) if event.strip()]


def after_events(case: Case, cut: Cut) -> Script:
    events = pieces(case)

    async def play(call: Call) -> None:
        await call.start_stream()
        for event in events[: cut.events]:
            await call.chunk(event)
        if cut.how == "half":
            await call.chunk(events[cut.events][: len(events[cut.events].rstrip()) // 2])
        if cut.how == "cut":
            call.cut()
        else:
            await call.end_stream()

    return play


def told_before(case: Case, cut: Cut) -> Answer | None:
    """What was said before the cut, when it may count as an answer: a finish reason for every choice, and an orderly
    end of the connection instead of OpenAI's [DONE], or in the middle of it."""
    only_the_mark = pieces(case)[cut.events].strip() == b"data: [DONE]"
    in_order = cut.how == "ends" or (cut.how == "half" and only_the_mark)
    if not in_order or case.api != "chat" or cut.events == 0:
        return None
    answer = told(replace(case, body=b"".join(pieces(case)[: cut.events])))
    finished = [said.finish_reason is not None for said in answer.choices.values()]
    return answer if finished and all(finished) else None
