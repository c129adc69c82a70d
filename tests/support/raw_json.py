"""JSON as it is written: for tests that must see whether a number or an escape was rewritten on the way."""

from __future__ import annotations

import json


def members_of(raw: bytes) -> dict[str, str]:
    """The top-level members of an object, each value as it is written."""
    found: dict[str, str] = {}
    decoder = json.JSONDecoder()
    text = raw.decode()
    place = text.index("{") + 1
    while True:
        place += len(text[place:]) - len(text[place:].lstrip(" ,\n"))
        if text[place] == "}":
            return found
        name, place = decoder.raw_decode(text, place)
        place = text.index(":", place) + 1
        place += len(text[place:]) - len(text[place:].lstrip())
        _, end = decoder.raw_decode(text, place)
        found[name], place = text[place:end], end
