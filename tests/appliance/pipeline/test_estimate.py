"""Estimates come from bytes: monotonous, cheap, and an embedded picture is a picture, not a long text."""

from __future__ import annotations

import base64
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.pipeline.estimate import MEDIA_TOKENS, input_tokens, tokens_of
from support.build import chat_body


@pytest.mark.parametrize(("count", "tokens"), [(0, 0), (1, 1), (4, 1), (5, 2), (4000, 1000)])
def test_four_bytes_are_a_token_rounded_up(count: int, tokens: int) -> None:
    assert tokens_of(count) == tokens


@given(st.binary(max_size=500), st.binary(max_size=100))
def test_more_text_is_never_fewer_tokens(body: bytes, more: bytes) -> None:
    text, longer = (json.dumps(part.hex()).encode() for part in (body, body + more))
    assert 0 <= input_tokens(text) <= input_tokens(longer)


def picture(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize("size", [1_000, 1_000_000])
def test_a_picture_costs_the_same_whatever_its_size(size: int) -> None:
    url = f"data:image/png;base64,{picture(size)}"
    body = chat_body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert MEDIA_TOKENS < input_tokens(body) < MEDIA_TOKENS + 60


def test_slashes_may_be_escaped_as_some_json_writers_do() -> None:
    url = "data:image/png;base64," + ("/" + "A" * 63) * 1000
    body = chat_body(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
    assert input_tokens(body.replace(b"/", b"\\/")) < MEDIA_TOKENS + 100


def test_anthropic_s_and_audio_s_data_members_are_pieces_too() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": picture(90_000)}
    body = chat_body(messages=[{"role": "user", "content": [{"type": "image", "source": source}] * 3}])
    assert 3 * MEDIA_TOKENS < input_tokens(body) < 3 * MEDIA_TOKENS + 150


def test_a_short_data_member_is_text() -> None:
    assert input_tokens(b'{"data":"abc"}') == tokens_of(len(b'{"data":"abc"}'))


def test_a_large_body_is_estimated_in_no_time() -> None:
    body = b'{"text":"' + b'base64,"data":"' * 700_000 + b'"}'
    started = time.monotonic()
    assert input_tokens(body) > 0
    assert time.monotonic() - started < 2
