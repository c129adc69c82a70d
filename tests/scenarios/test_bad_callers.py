"""Bad URLs, methods, credentials and queries: each gets an answer that names the fault, in its surface's shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.calling import SURFACES
from support.refusals import assert_refused, still_well_after
from support.wire import Wire

GOOD: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    yaml_text = """
providers:
  demo: {type: demo}
models:
  demo: {price: free, route: [{backend: "demo:demo"}]}
"""
    with running(yaml_text, tmp_path_factory.mktemp("bad")) as gateway:
        yield gateway


@pytest.fixture(autouse=True)
def still_well(gateway: Gateway) -> Iterator[None]:
    with still_well_after(gateway):
        yield


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
