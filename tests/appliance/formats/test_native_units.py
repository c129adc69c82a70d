"""Native usage shows the units that were used, and no others."""

from __future__ import annotations

from appliance.formats import native
from appliance.formats.chat import Usage
from appliance.formats.native_units import usage_object


def test_units_stand_beside_the_tokens() -> None:
    usage = Usage(10, 5, images=2, audio_ms=1500, characters=7, searches=1)
    assert usage_object(usage, "0.1", False) == native.usage_object(usage, "0.1", False) | {
        "images": 2,
        "audio_seconds": 1.5,
        "characters": 7,
        "searches": 1,
    }


def test_units_that_were_not_used_are_left_out() -> None:
    shown = usage_object(Usage(10), "0", True)
    assert not {"images", "audio_seconds", "characters", "searches"} & set(shown)
    assert shown["input_tokens"] == 10
