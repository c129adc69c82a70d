"""Bad bodies, bad credentials and bad URLs on both surfaces: each gets an answer that names the fault, in its shape.

After every one of them the appliance is healthy, serves a normal call, and has logged no traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.calling import SURFACES
from support.refusals import assert_refused, still_well_after
from support.wire import Wire, request_bytes

MESSAGES = [{"role": "user", "content": "hi"}]
GOOD: dict[str, Any] = {"model": "demo", "messages": MESSAGES}
MEGABYTE = 1_000_000
BAD_BODY = {"native": 422, "compat": 400}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = """
providers:
  demo: {type: demo}
models:
  demo: {price: free, route: [{backend: "demo:demo"}]}
  off: {price: free, status: disabled, route: [{backend: "demo:demo"}]}
"""
    with running(yaml_text, tmp_path_factory.mktemp("bad")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def still_well(gateway: Gateway) -> Iterator[None]:
    with still_well_after(gateway):
        yield


# -- bodies -----------------------------------------------------------------------------------------------------------

DEEP = 10_000
BODIES = {  # name: body, words of the answer
    "empty": (b"", "empty"),
    "blanks": (b"   ", "not valid JSON"),
    "malformed": (b"{model: demo}", "not valid JSON"),
    "truncated": (json.dumps(GOOD).encode()[:-8], "not valid JSON"),
    "something-behind": (json.dumps(GOOD).encode() + b" }", "not valid JSON"),
    "two-objects": (json.dumps(GOOD).encode() * 2, "not valid JSON"),
    "number": (b"1", "not an object"),
    "text": (b'"hello"', "not an object"),
    "true": (b"true", "not an object"),
    "null": (b"null", "not an object"),
    "list": (json.dumps([GOOD]).encode(), "not an object"),
    "not-a-number": (b'{"model": "demo", "messages": [], "temperature": NaN}', "not valid JSON"),
    "invalid-utf8": (b'{"model": "demo", "messages": [{"role": "user", "content": "\xff\xfe"}]}', "not valid UTF-8"),
    "latin-1": ('{"model": "demo", "user": "Zoë"}'.encode("latin-1"), "byte 29 is 0xeb"),
    "utf-16": (json.dumps(GOOD).encode("utf-16"), "not valid UTF-8"),
    "deep-lists": (b'{"model": "demo", "messages": ' + b"[" * DEEP + b"]" * DEEP + b"}", "nests deeper"),
    "deep-lists-unclosed": (b'{"model": "demo", "messages": ' + b"[" * DEEP, "nests deeper"),
    "deep-objects": (b'{"a": ' * DEEP + b"1" + b"}" * DEEP, "nests deeper"),
    "deep-in-an-unknown-member": (json.dumps(GOOD).encode()[:-1] + b', "x": ' + b"[" * DEEP + b"}", "nests deeper"),
    "form": (b"model=demo&messages=hi", "not valid JSON"),
    "lone-surrogate": (b'{"model": "demo", "messages": [{"role": "user", "content": "\\ud800"}]}', ""),
    "control-character": (b'{"model": "demo\x01", "messages": []}', "not valid JSON"),
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read(gateway: Gateway, name: str, surface: str) -> None:
    body, words = BODIES[name]
    answer = gateway.post(SURFACES[surface], body)
    assert_refused(answer, surface, BAD_BODY[surface], "VALIDATION_ERROR", words)
    assert len(answer.body) < 1000, "an error is no place to repeat the request"


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("member", ["model", "messages"])
def test_a_required_member_that_is_missing(gateway: Gateway, member: str, surface: str) -> None:
    answer = gateway.post(SURFACES[surface], {name: value for name, value in GOOD.items() if name != member})
    assert_refused(answer, surface, BAD_BODY[surface], "VALIDATION_ERROR", "required", member)


WRONG: dict[str, list[Any]] = {
    "model": [1, None, [], {}, ""],
    "messages": ["hi", None, [], {}, [1], [None], [{"content": "no role"}], [{"role": "alien", "content": "x"}],
                 [{"role": "user", "content": 5}], [{"role": "user", "content": [1]}], [{"role": 7, "content": "x"}]],
    "stream": ["yes", 1],
    "stream_options": ["x", [], {"include_usage": "yes"}],
    "max_tokens": ["10", 0, -1, 1.5, True],
    "max_completion_tokens": ["10", 0, -1, 1.5, True],
    "n": [0, -1, 1000, "2", 1.5],
    "temperature": ["hot", 3, -1, [], True],
    "top_p": ["x", 2, -0.5],
    "stop": [5, [1], {}],
    "seed": ["x", 1.5, []],
    "presence_penalty": [5, -3, "x"],
    "frequency_penalty": [5, -3, "x"],
    "logprobs": ["yes", 1],
    "top_logprobs": [50, -1, "x"],
    "tools": ["x", [1], {}, [{"type": "function"}], [{"type": "function", "function": {"name": 5}}]],
    "tool_choice": [5, [], True],
    "response_format": ["json", [], 1],
    "parallel_tool_calls": ["x", 1],
    "reasoning_effort": [5, []],
    "user": [5, {}],
    "metadata": ["x", [1]],
}  # fmt: skip
PASSED_ON = {("tools", 3), ("tools", 4)}
"""On the compat surface what stands inside a tool is the upstream's to judge."""
WRONG_TYPES = [(member, place) for member, values in WRONG.items() for place in range(len(values))]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(("member", "place"), WRONG_TYPES)
def test_a_member_of_the_wrong_type_or_range(gateway: Gateway, member: str, place: int, surface: str) -> None:
    answer = gateway.post(SURFACES[surface], GOOD | {member: WRONG[member][place]})
    if surface == "compat" and (member, place) in PASSED_ON:
        assert answer.status == 400, "the demo upstream refuses it"
        return
    assert_refused(answer, surface, BAD_BODY[surface], "VALIDATION_ERROR", member, member)


def _short(text: str) -> str:
    return repr(text)[:12]


HUGE_NUMBERS = ["1e999", "-1e999", "1" * 5000, "0." + "1" * 5000, "1e-999", "-0"]


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("member", ["temperature", "max_tokens", "seed", "n", "unknown"])
@pytest.mark.parametrize("number", HUGE_NUMBERS, ids=_short)
def test_numbers_beyond_all_bounds_are_judged_not_choked_on(
    gateway: Gateway, number: str, member: str, surface: str
) -> None:
    body = json.dumps(GOOD)[:-1] + f', "{member}": {number}}}'
    answer = gateway.post(SURFACES[surface], body.encode())
    assert answer.status in (200, BAD_BODY[surface]), answer.body


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", ["nope", "demo ", "DEMO", "../demo", "demo\x00", "x" * 10_000, "é", "off"], ids=_short)
def test_a_model_that_does_not_exist(gateway: Gateway, name: str, surface: str) -> None:
    answer = gateway.post(SURFACES[surface], GOOD | {"model": name})
    words = "is disabled" if name == "off" else "does not exist"
    assert_refused(answer, surface, 404, "MODEL_NOT_FOUND", words, "model")
    if surface == "compat":
        assert answer.json()["error"]["code"] == "model_not_found"
    assert len(answer.body) < 1000, "an error is no place to repeat the request"


@pytest.mark.parametrize("surface", SURFACES)
def test_a_member_that_stands_twice_has_one_meaning(gateway: Gateway, surface: str) -> None:
    """Refused, or the last one holds everywhere: what is checked and booked is what is called."""
    twice = b'{"model": "nope", "messages": [], "model": "demo", "messages": [{"role": "user", "content": "hi"}]}'
    assert gateway.post(SURFACES[surface], twice).status in (200, BAD_BODY[surface])
    turned = b'{"model": "demo", "messages": [{"role": "user", "content": "hi"}], "model": "nope"}'
    assert gateway.post(SURFACES[surface], turned).status in (404, BAD_BODY[surface])


# -- sizes ------------------------------------------------------------------------------------------------------------


def too_large(size: int) -> bytes:
    return json.dumps(GOOD | {"user": "x" * size}).encode()


@pytest.mark.parametrize("surface", SURFACES)
def test_a_body_of_30_megabytes(gateway: Gateway, surface: str) -> None:
    """A client that sends all it has before it reads gets its answer too."""
    answer = gateway.post(SURFACES[surface], too_large(30 * MEGABYTE))
    assert_refused(answer, surface, 413, "PAYLOAD_TOO_LARGE", "body_limit")


@pytest.mark.parametrize("surface", SURFACES)
def test_a_body_of_30_megabytes_in_chunks(gateway: Gateway, surface: str) -> None:
    head = f"POST {SURFACES[surface]} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gateway.admin_key}\r\n"
    piece = b"f4240\r\n" + b" " * MEGABYTE + b"\r\n"
    with Wire(gateway.url) as wire:
        wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(30):
            if not wire.try_to_send(piece):
                break
        status, body = wire.answer()
    assert status == 413
    assert "body_limit" in json.loads(body)["error"]["message"]


@pytest.mark.parametrize("surface", SURFACES)
def test_a_client_that_asks_before_sending_too_much_is_told_at_once(gateway: Gateway, surface: str) -> None:
    expecting = {"Expect": "100-continue", "Content-Length": str(30 * MEGABYTE)}
    with Wire(gateway.url) as wire:
        wire.send(request_bytes(SURFACES[surface], b"", gateway.admin_key, expecting))
        status, _ = wire.answer()
    assert status == 413


def test_a_large_body_below_the_limit_is_served(gateway: Gateway) -> None:
    assert gateway.post("/oai/v1/chat/completions", too_large(15 * MEGABYTE)).status == 200


HEADER_BOMBS = {
    "one-huge-header": {"X-Bomb": "x" * 100_000},
    "thousands-of-headers": {f"X-{number}": "y" for number in range(5000)},
    "huge-cookie": {"Cookie": "a=" + "b" * 50_000},
    "huge-key": {"X-Api-Key": "k" * 20_000},
}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("name", HEADER_BOMBS)
def test_a_header_bomb(gateway: Gateway, name: str, surface: str) -> None:
    with Wire(gateway.url) as wire:
        wire.try_to_send(request_bytes(SURFACES[surface], GOOD, gateway.admin_key, HEADER_BOMBS[name]))
        status, body = wire.answer()
    assert status in (413, 431)
    message = json.loads(body)["error"]["message"]
    assert "header" in message, f"it is the headers that are too large, not the body: {message}"


def test_a_url_bomb(gateway: Gateway) -> None:
    with Wire(gateway.url) as wire:
        wire.try_to_send(b"GET /v1/models/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _ = wire.answer()
    assert status in (400, 413, 414, 431)


def test_nothing_of_all_this_was_booked_but_the_good_calls(gateway: Gateway) -> None:
    """Runs last. The demo upstream's own refusals (400) are calls, and are booked with nothing used."""
    rows = gateway.usage()
    assert {row["model"] for row in rows} == {"demo"}
    assert {(row["status"], row["total_tokens"]) for row in rows if row["status"] != "completed"} <= {("failed", 0)}
