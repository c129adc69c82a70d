from __future__ import annotations

from typing import Any

import pytest

from appliance.formats.responses_history import expanded

EARLIER = [{"type": "message", "role": "user", "content": "a"}, {"type": "reasoning", "summary": []}]
NOW = {"type": "message", "role": "user", "content": "b"}


@pytest.mark.parametrize("value", ["b", [NOW]])
def test_earlier_items_come_first_and_the_reference_goes(value: Any) -> None:
    body = {"model": "m", "previous_response_id": "resp_1", "input": value, "instructions": "i"}
    before = dict(body)
    assert expanded(body, EARLIER) == {"model": "m", "input": [*EARLIER, NOW], "instructions": "i"}
    assert body == before


def test_without_input_only_the_earlier_items_are_there() -> None:
    assert expanded({"model": "m"}, EARLIER) == {"model": "m", "input": EARLIER}
