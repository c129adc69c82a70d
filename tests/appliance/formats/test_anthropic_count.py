from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import MessageTokensCount

from appliance.errors import GatewayError
from appliance.formats.anthropic_count import decode_count, encode_count


def test_a_count_there_and_back() -> None:
    assert decode_count(encode_count(12)) == 12
    assert MessageTokensCount.model_validate(encode_count(0), strict=True).input_tokens == 0


@pytest.mark.parametrize("body", [None, [], {}, {"input_tokens": "12"}, {"input_tokens": True}, {"input_tokens": -1}])
def test_what_is_no_count_is_a_shape_mismatch(body: Any) -> None:
    with pytest.raises(GatewayError) as caught:
        decode_count(body)
    assert caught.value.code == "UPSTREAM_SHAPE_MISMATCH"
