"""What a recorded answer says, read from its bytes by the protocols' documents alone: the judge of the gateway.

Must not import code of the appliance but the Usage record: a reader that shared a mistake would not see it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from support import replay_read_anthropic, replay_read_chat, replay_read_google, replay_read_responses
from support.grammar import Answer
from support.replay import Case

Events = list[tuple[str, Any]]

_STREAMS: dict[str, Callable[[Events], Answer]] = {
    "chat": replay_read_chat.stream,
    "messages": replay_read_anthropic.stream,
    "generate": replay_read_google.stream,
    "responses": replay_read_responses.stream,
}
_WHOLE: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "chat": replay_read_chat.whole,
    "messages": replay_read_anthropic.whole,
    "generate": replay_read_google.whole,
    "responses": replay_read_responses.whole,
}


def told(case: Case) -> Answer:
    """What the recording of a good or broken 200 answer says."""
    if case.stream:
        return _STREAMS[case.api](events(case.body))
    return _WHOLE[case.api](json.loads(case.body))


def events(body: bytes) -> Events:
    """(name, decoded data) of each event; `[DONE]` stays text."""
    found: Events = []
    for block in re.split(r"\n\n+", body.decode().replace("\r\n", "\n")):
        name, data = "", list[str]()
        for line in block.split("\n"):
            key, _, value = line.partition(":")
            if key == "event":
                name = value.strip()
            elif key == "data":
                data.append(value.removeprefix(" "))
        if data:
            text = "\n".join(data)
            found.append((name, text if text == "[DONE]" else json.loads(text)))
    return found
