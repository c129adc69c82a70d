"""Bad bodies, bad credentials and bad URLs on both surfaces: each gets an answer that names the fault, in its shape.

After every one of them the appliance is healthy, serves a normal call, and has logged no traceback.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Answer, Gateway, running
from support.calling import SURFACES
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
    before = len(gateway.output())
    yield
    assert gateway.get("/health").status == 200
    assert gateway.post("/v1/inference/chat", GOOD).status == 200
    said = gateway.output()[before:]
    assert "traceback" not in said.lower(), said
    assert "INTERNAL_ERROR" not in said, said


def assert_refused(
    answer: Answer, surface: str, status: int, code: str | None, words: str, field: str | None = None
) -> None:
    """The surface's own error shape; `words` stand in the message; `field` is the member that is blamed."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["X-Request-ID"]
    body = answer.json()
    error = body["error"]
    assert words.lower() in error["message"].lower()
    if surface == "native":
        assert set(body) == {"status", "error", "meta"}
        assert body["status"] == "error"
        assert body["meta"]["request_id"] == answer.headers["X-Request-ID"]
        assert error["code"] == code
        if field:
            assert error["details"][0]["field"].startswith(field), error
    else:
        assert set(body) == {"error"}
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"]
        if field:
            assert (error["param"] or "").startswith(field), error


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


# -- URLs, methods, credentials ---------------------------------------------------------------------------------------

ROOTS = {"native": "/v1/", "compat": "/oai/v1/"}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    "path", ["nothing/here", "inference/chat/x", "inference", "%00", "models%00", "%ff%fe", "..%2f.."]
)
def test_an_unknown_url(gateway: Gateway, path: str, surface: str) -> None:
    answer = gateway.post(ROOTS[surface] + path, GOOD)
    assert_refused(answer, surface, answer.status, "NOT_FOUND" if answer.status == 404 else "METHOD_NOT_ALLOWED", "")
    assert answer.status in (404, 405)


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_a_method_that_is_not_served(gateway: Gateway, method: str, surface: str) -> None:
    answer = gateway.request(method, SURFACES[surface])
    assert_refused(answer, surface, 405, "METHOD_NOT_ALLOWED", "POST")
    assert answer.headers["Allow"] == "POST", "405 says what is allowed"


CREDENTIALS = {  # name: Authorization header, code
    "basic": ("Basic YWRtaW46YWRtaW4=", "AUTH_TOKEN_INVALID"),
    "bare-word": ("Bearer", "AUTH_TOKEN_MISSING"),
    "bare-word-and-blank": ("Bearer ", "AUTH_TOKEN_MISSING"),
    "unknown-key": ("Bearer sgk_" + "x" * 43, "AUTH_TOKEN_INVALID"),
    "another-prefix": ("Bearer sk-proj-123", "AUTH_TOKEN_INVALID"),
    "json-web-token": ("Bearer eyJhbGciOiJub25lIn0.e30.", "AUTH_TOKEN_INVALID"),
    "digest-scheme": ('Digest username="x"', "AUTH_TOKEN_INVALID"),
    "long": ("Bearer sgk_" + "x" * 6000, "AUTH_TOKEN_INVALID"),
    "latin-1": ("Bearer sgk_\xe9\xe9", "AUTH_TOKEN_INVALID"),
    "key-without-scheme": ("sgk_" + "x" * 43, "AUTH_TOKEN_INVALID"),
}
GUARDED = {
    "native": ["/v1/inference/chat", "/v1/models", "/v1/me"],
    "compat": ["/oai/v1/chat/completions", "/oai/v1/models"],
}
PLACES = [(surface, path) for surface, paths in GUARDED.items() for path in paths]


@pytest.mark.parametrize(("surface", "path"), PLACES)
@pytest.mark.parametrize("name", [*CREDENTIALS, "none"])
def test_a_credential_that_is_none(gateway: Gateway, name: str, surface: str, path: str) -> None:
    header, code = CREDENTIALS.get(name, (None, "AUTH_TOKEN_MISSING"))
    body = GOOD if path.endswith(("chat", "completions")) else None
    headers = {"Authorization": header} if header is not None else {}
    answer = gateway.request("POST" if body else "GET", path, body, key=None, headers=headers)
    assert_refused(answer, surface, 401, code, "API key" if code == "AUTH_TOKEN_INVALID" else "Authorization")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    if code == "AUTH_TOKEN_INVALID":
        assert header
        assert header[-20:] not in answer.body.decode(), "an error does not quote the credential"
    if surface == "compat":
        assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_says(gateway: Gateway, scheme: str) -> None:
    answer = gateway.get("/v1/me", key=None, headers={"Authorization": f"{scheme} {gateway.admin_key}"})
    assert answer.status == 200


def test_two_credentials_give_no_more_access_than_one(gateway: Gateway) -> None:
    bad = b"Authorization: Bearer sgk_" + b"x" * 43 + b"\r\n"
    good = f"Authorization: Bearer {gateway.admin_key}\r\n".encode()
    for pair in (bad + bad, bad + b"Authorization: \r\n"):
        with Wire(gateway.url) as wire:
            wire.send(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n" + pair + b"\r\n")
            assert wire.answer()[0] in (400, 401)
    with Wire(gateway.url) as wire:
        wire.send(b"GET /v1/me HTTP/1.1\r\nHost: x\r\n" + bad + good + b"\r\n")
        assert wire.answer()[0] in (200, 400, 401)


KEY_BODIES: dict[str, Any] = {
    "no-name": {},
    "name-is-a-number": {"name": 5},
    "blank-name": {"name": "  "},
    "long-name": {"name": "x" * 1000},
    "unknown-member": {"name": "x", "scopes": ["all"]},
    "past-expiry": {"name": "x", "expires_at": "2020-01-01"},
    "expiry-is-no-time": {"name": "x", "expires_at": "soon"},
    "expiry-is-a-number": {"name": "x", "expires_at": 5},
    "expiry-beyond-time": {"name": "x", "expires_at": "9999-12-31T23:59:59-23:59"},
    "unknown-user": {"name": "x", "assigned_user_id": "nobody:nobody"},
    "user-is-a-list": {"name": "x", "assigned_user_id": ["a"]},
    "list": [],
    "malformed": b"{",
}


@pytest.mark.parametrize("name", KEY_BODIES)
def test_a_bad_request_for_a_key(gateway: Gateway, name: str) -> None:
    assert_refused(gateway.post("/v1/api-keys", KEY_BODIES[name]), "native", 422, "VALIDATION_ERROR", "")


def test_the_list_of_keys_survived_all_that(gateway: Gateway) -> None:
    answer = gateway.get("/v1/api-keys")
    assert answer.status == 200
    assert [key["id"] for key in answer.json()["data"]["items"]] == ["apikey_admin"], "a refused key was kept"


BAD_QUERIES = [
    "limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1e3", "limit=%D9%A3", "limit=" + "9" * 5000,
    "cursor=!!!", "cursor=%ff", "cursor=" + "A" * 4000, "start=yesterday", "end=2026-13-01", "start=-1",
    "period=aeon",
]  # fmt: skip


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda query: query[:40])
def test_a_bad_query(gateway: Gateway, query: str) -> None:
    answer = gateway.get(f"/v1/accounting/usage?{query}")
    assert_refused(answer, "native", 422, "VALIDATION_ERROR", query.partition("=")[0], query.partition("=")[0])


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59", "2026-11-22T10:00"])
def test_a_time_at_the_edge_of_all_times(gateway: Gateway, time: str) -> None:
    assert gateway.get(f"/v1/accounting/usage?start={time}&end={time}").status in (200, 422)


def test_an_unknown_group_of_the_summary(gateway: Gateway) -> None:
    answer = gateway.get("/v1/accounting/usage/summary?group_by=moon")
    assert_refused(answer, "native", 422, "VALIDATION_ERROR", "group_by", "group_by")


def test_nothing_of_all_this_was_booked_but_the_good_calls(gateway: Gateway) -> None:
    """Runs last. The demo upstream's own refusals (400) are calls, and are booked with nothing used."""
    rows = gateway.usage()
    assert {row["model"] for row in rows} == {"demo"}
    assert {(row["status"], row["total_tokens"]) for row in rows if row["status"] != "completed"} <= {("failed", 0)}
