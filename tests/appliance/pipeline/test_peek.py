"""A body is read once: what is wrong with it is said with the member's name, what we do not know is left as it is."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import GatewayError
from appliance.pipeline import peek
from appliance.pipeline.peek import MAX_DEPTH, ChatShape, chat_shape, members
from support.build import chat_body


def refused(body: bytes) -> GatewayError:
    """The error of the two steps that `admit` takes."""
    with pytest.raises(GatewayError) as caught:
        _both(body)
    assert caught.value.code == "VALIDATION_ERROR"
    return caught.value


def _both(body: bytes) -> None:
    members(body)
    chat_shape(body)


# -- is it an object of JSON ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"   ", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"model":"m"', "not valid JSON"),
        (b"{'model': 'm'}", "not valid JSON"),
        (b'{"model":"m",}', "not valid JSON"),
        (b'{"model":"m"} trailing', "not valid JSON"),
        (b'{"model": NaN}', "not valid JSON"),
        (b"model=m&messages=hi", "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"a":"\x00"}', "not valid JSON"),
        (b"[]", "not an object"),
        (b'"text"', "not an object"),
        (b"7", "not an object"),
        (b"null", "not an object"),
        (b'{"model":"\xff"}', "not valid UTF-8: byte 10 is 0xff"),
        (b'{"model":"\xed\xa0\x80"}', "not valid UTF-8: byte 10 is 0xed"),
        (b"\xff\xfe{\x00}\x00", "not valid UTF-8: byte 0 is 0xff"),
    ],
)
def test_a_body_that_is_no_object_is_refused_with_the_reason(body: bytes, words: str) -> None:
    assert words in refused(body).message


@given(st.binary(max_size=200))
def test_any_bytes_are_either_members_or_a_validation_error(body: bytes) -> None:
    try:
        found = set(members(body))
    except GatewayError as error:
        assert not _is_object(body), error  # noqa: PT017 - both outcomes are right, each for its own bodies
    else:
        assert found == set(json.loads(body))


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict) and b"NaN" not in body and b"Infinity" not in body
    except ValueError:
        return False


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=5), st.booleans())
def test_members_keep_the_callers_own_bytes(body: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only, separators=(" , ", " : "))
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return  # a lone surrogate, which no UTF-8 body can hold
    assert {name: json.loads(bytes(raw)) for name, raw in members(encoded).items()} == body


def test_of_a_member_that_is_written_twice_the_last_one_counts_for_everybody() -> None:
    body = b'{"model":"first","messages":[{"role":"user","content":"x"}],"model":"last"}'
    assert bytes(members(body)["model"]) == b'"last"'
    assert chat_shape(body).model == "last"


def test_numbers_are_not_touched() -> None:
    assert bytes(members(b'{"big":123456789012345678901234567890.10}')["big"]) == b"123456789012345678901234567890.10"


# -- depth ------------------------------------------------------------------------------------------------------------


def nested(depth: int, bracket: str = "[") -> bytes:
    inside = "[" * depth + "]" * depth if bracket == "[" else '{"a":' * depth + "1" + "}" * depth
    return f'{{"x":{inside}}}'.encode()


@pytest.mark.parametrize("bracket", ["[", "{"])
def test_nesting_up_to_the_limit_is_read(bracket: str) -> None:
    assert members(nested(MAX_DEPTH - 1, bracket))


@pytest.mark.parametrize("bracket", ["[", "{"])
@pytest.mark.parametrize("depth", [MAX_DEPTH, 5_000, 300_000])
def test_deeper_nesting_is_refused_before_anything_is_decoded(bracket: str, depth: int) -> None:
    started = time.monotonic()
    assert f"deeper than {MAX_DEPTH} levels" in refused(nested(depth, bracket)).message
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_nesting_that_nobody_closes_is_called_so_too(opening: bytes) -> None:
    error = refused(b'{"x":' + opening * 100_000)
    assert f"deeper than {MAX_DEPTH} levels" in error.message
    assert len(error.message) < 200


TEXTS = st.text(alphabet='[]{}"\\,: a\n', max_size=12)
DOCUMENTS = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(TEXTS, inside, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth_of, value.values() if isinstance(value, dict) else value), default=0)


@given(DOCUMENTS, st.integers(0, 6), st.booleans())
def test_depth_is_that_of_the_document_whatever_its_texts_hold(value: Any, limit: int, spaced: bool) -> None:
    value = {"x": value}
    body = json.dumps(value, indent=1 if spaced else None).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(peek, "MAX_DEPTH", limit)
        if depth_of(value) > limit:
            assert f"deeper than {limit} levels" in refused(body).message
        else:
            assert json.loads(bytes(members(body)["x"])) == value["x"]


COMB = b"[" * 60 + b"]" * 60
LARGE: dict[str, bytes] = {
    "a tower": b"[" * 500_000 + b"]" * 500_000,
    "a tower of objects": b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    "a tower without a roof": b"[" * 1_000_000,
    "a comb": b"[" + b",".join([COMB] * 8_000) + b"]",
    "side by side": b"[" + b",".join([b"[]"] * 333_000) + b"]",
    "in texts": b"[" + b",".join([b'"["'] * 250_000) + b"]",
    "texts without an end": b"[" + b'"[",' * 250_000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_no_megabyte_holds_up_the_loop_for_long(value: bytes) -> None:
    """Any caller may send one; meanwhile nobody else is served."""
    body = b'{"x":' + value + b"}"
    assert min(_seconds_of_members(body) for _ in range(3)) < 0.4


def _seconds_of_members(body: bytes) -> float:
    started = time.perf_counter()
    with contextlib.suppress(GatewayError):
        members(body)
    return time.perf_counter() - started


def test_brackets_inside_texts_are_no_nesting() -> None:
    text = "[{" * 1000 + '\\" [[[' + "\n"
    body = chat_body(messages=[{"role": "user", "content": text}])
    assert json.loads(bytes(members(body)["messages"]))[0]["content"] == text


def test_many_brackets_side_by_side_are_no_nesting() -> None:
    assert members(json.dumps({"x": [{"y": [number]} for number in range(1000)]}).encode())


def test_a_text_without_its_end_is_refused_in_time() -> None:
    started = time.monotonic()
    refused(b'{"x":"' + b"[\\" * 200_000)
    assert time.monotonic() - started < 1


# -- the shape of a chat ----------------------------------------------------------------------------------------------


WRONG: list[tuple[str, Any, str]] = [
    ("model", None, "model"),
    ("model", 7, "model"),
    ("model", "", "model"),
    ("messages", None, "messages"),
    ("messages", [], "messages"),
    ("messages", "hello", "messages"),
    ("messages", ["hello"], "messages.0"),
    ("messages", [{"role": "user"}, {"role": "poet", "content": ""}], "messages.1.role"),
    ("messages", [{"content": "x"}], "messages.0.role"),
    ("messages", [{"role": "user", "content": 7}], "messages.0.content"),
    ("messages", [{"role": "user", "content": ["x"]}], "messages.0.content.0"),
    ("stream", "yes", "stream"),
    ("stream", 1, "stream"),
    ("stream_options", True, "stream_options"),
    ("stream_options", {"include_usage": "yes"}, "stream_options.include_usage"),
    ("max_tokens", 0, "max_tokens"),
    ("max_tokens", -1, "max_tokens"),
    ("max_tokens", "100", "max_tokens"),
    ("max_tokens", 1.5, "max_tokens"),
    ("max_completion_tokens", 0, "max_completion_tokens"),
    ("n", 0, "n"),
    ("n", 129, "n"),
    ("n", "2", "n"),
    ("temperature", 2.1, "temperature"),
    ("temperature", -0.1, "temperature"),
    ("temperature", "hot", "temperature"),
    ("top_p", 1.1, "top_p"),
    ("stop", 7, "stop"),
    ("stop", [7], "stop.0"),
    ("seed", "x", "seed"),
    ("presence_penalty", 3, "presence_penalty"),
    ("frequency_penalty", -3, "frequency_penalty"),
    ("logprobs", 5, "logprobs"),
    ("top_logprobs", 21, "top_logprobs"),
    ("tools", {}, "tools"),
    ("tools", ["x"], "tools.0"),
    ("tool_choice", 7, "tool_choice"),
    ("response_format", "json", "response_format"),
    ("parallel_tool_calls", "no", "parallel_tool_calls"),
    ("reasoning_effort", 3, "reasoning_effort"),
    ("user", 3, "user"),
    ("metadata", "x", "metadata"),
]


@pytest.mark.parametrize(("name", "value", "param"), WRONG)
def test_a_wrong_member_is_named(name: str, value: Any, param: str) -> None:
    error = refused(chat_body(**{name: value}))
    # msgspec says which list a wrong entry stands in, not always at which place.
    assert error.param is not None
    assert error.param.replace("...", "0") in (param, param.replace(".1.", ".0."))
    assert error.details == [{"field": error.param, "message": error.message.removeprefix(f"{error.param}: ")}]
    assert error.status == 422


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_missing_member_is_named(name: str) -> None:
    body = json.loads(chat_body())
    del body[name]
    error = refused(json.dumps(body).encode())
    assert (error.param, error.message) == (name, f"{name}: is required")


def test_what_the_caller_says_is_read() -> None:
    shape = chat_shape(chat_body("gpt", stream=True, stream_options={"include_usage": True}, metadata={"a": "b"}))
    assert (shape.model, shape.stream, shape.metadata) == ("gpt", True, {"a": "b"})
    assert shape.stream_options
    assert shape.stream_options.include_usage


OPTIONAL = [name for name in ChatShape.__struct_fields__ if name not in ("model", "messages")]


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_means_not_said(name: str) -> None:
    assert getattr(chat_shape(chat_body()[:-1] + f', "{name}": null}}'.encode()), name) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": [{"role": "user", "content": [{"type": "hologram", "data": {"x": [1]}}]}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "c"}], "unheard_of": 1}]},
        {"messages": [{"role": "developer", "content": "x"}, {"role": "function", "name": "f", "content": "y"}]},
        {"service_tier": "flex", "prediction": {"type": "content"}},
        {"temperature": 0, "top_p": 1, "presence_penalty": -2},
        {"n": 128, "max_tokens": 1, "seed": -(2**63)},
        {"stop": ["a", "b"], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}},
    ],
)
def test_what_upstreams_may_know_and_we_do_not_is_let_through(changes: dict[str, Any]) -> None:
    body = chat_body(**changes)
    assert chat_shape(body)
    assert set(members(body)) == {"model", "messages", *changes}
