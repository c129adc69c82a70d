"""What a request becomes before any handler sees it: its id, its credential, its surface; and the net beneath all."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sanic import Request

from appliance.api import accept
from appliance.api.accept import Appliance, Call, credential_of, inference, plain, request_id_of, surface_of
from appliance.api.envelope import Page
from appliance.api.routes import Route
from appliance.errors import GatewayError, invalid
from appliance.exchange import Exchange
from appliance.grid.holder import Generation, Holder
from appliance.state import State
from support.build import SECRET, FakePools, FakeUpstream, chat_body, make_grid, make_state
from support.upstream import completion

BEARER = {"authorization": f"Bearer {SECRET}"}


def request_of(headers: dict[str, str] | None = None, **changes: Any) -> Request:
    fields: dict[str, Any] = {
        "headers": headers or {},
        "ctx": SimpleNamespace(),
        "args": {},
        "body": b"",
        "path": "/v1/me",
        "method": "GET",
        "ip": "127.0.0.1",
        "stream": None,
        "transport": None,
        "version": "1.1",
    }
    return cast(Request, SimpleNamespace(**(fields | changes)))


# -- the request id ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["12345678", "req_ABC-1.2:3", "a" * 128, "________"])
def test_a_well_formed_request_id_of_the_caller_is_kept(sent: str) -> None:
    assert request_id_of(request_of({"x-request-id": sent})) == sent


@pytest.mark.parametrize(
    "sent", ["", "1234567", "a" * 129, "has space", "12345678\n", "line\r\nX: y12", "é" * 10, "12345678/", "<script>1"]
)
def test_any_other_is_replaced(sent: str) -> None:
    made = request_id_of(request_of({"x-request-id": sent}))
    assert re.fullmatch(r"req_[0-9a-f]{24}", made)


def test_a_request_keeps_its_id() -> None:
    request = request_of()
    assert request_id_of(request) == request_id_of(request)
    assert request_id_of(request) != request_id_of(request_of())


@given(st.text(max_size=140))
def test_an_id_is_always_one_that_may_stand_in_a_header(sent: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.:-]{8,128}", request_id_of(request_of({"x-request-id": sent})))


# -- the credential ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "credential"),
    [
        (None, None),
        ("Bearer sgk_x", "sgk_x"),
        ("bearer sgk_x", "sgk_x"),
        ("BEARER   sgk_x  ", "sgk_x"),
        ("Bearer ", ""),
        ("Bearer", ""),
        ("sgk_x", "sgk_x"),
        ("Basic c2drX3g=", "Basic c2drX3g="),
    ],
)
def test_the_credential_is_the_bearer_token(header: str | None, credential: str | None) -> None:
    assert credential_of(request_of({} if header is None else {"authorization": header})) == credential


@pytest.mark.parametrize(
    ("headers", "credential"),
    [
        ({"x-api-key": "sgk_x"}, "sgk_x"),
        ({"x-api-key": ""}, ""),
        ({"x-api-key": "sgk_x", "authorization": "Bearer sgk_y"}, "sgk_y"),
        ({"api-key": "sgk_x"}, None),
    ],
)
def test_or_the_key_in_anthropic_s_header(headers: dict[str, str], credential: str | None) -> None:
    assert credential_of(request_of(headers)) == credential


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/v1/me", "native"),
        ("/oai/v1/models", "openai"),
        ("/anthropic/v1/messages", "anthropic"),
        ("/health", "native"),
        ("", "native"),
        ("/oairy", "native"),
        ("/anthropics/v1", "native"),
    ],
)
def test_the_path_says_in_which_dialect_errors_are_told(path: str, surface: str) -> None:
    assert surface_of(path) == surface


# -- the body of a plain request --------------------------------------------------------------------------------------


def call_of(body: bytes = b"", **args: list[str]) -> Call:
    appliance = Appliance(Holder(Generation(make_grid())), make_state())
    return Call(appliance, make_grid(), request_of(body=body, args=args), "req_12345678")


def test_an_empty_body_is_an_empty_object() -> None:
    assert call_of().body() == {}
    assert call_of(b'{"a": [1, null]}').body() == {"a": [1, None]}


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'{"name": "\\ud800"}', b'{"n": 1e999}', b'{"a":' * 500])
def test_a_body_that_cannot_be_read_is_the_caller_s_fault(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        call_of(body).body()
    assert caught.value.code == "VALIDATION_ERROR"


def test_of_a_query_parameter_that_is_given_twice_the_last_counts() -> None:
    assert call_of(limit=["1", "2"]).query == {"limit": "2"}


# -- the net ----------------------------------------------------------------------------------------------------------


class Lines:
    """Stands for the log."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def write(self, fields: dict[str, Any]) -> None:
        self.lines.append(fields)


def appliance_with(state: State | None = None) -> tuple[Appliance, Lines]:
    state = state or make_state()
    lines = Lines()
    state.log = cast(Any, lines)
    return Appliance(Holder(Generation(make_grid())), state), lines


def route_of(handler: Any, permission: str = "any", **changes: Any) -> Route:
    return Route("GET", "/v1/me", permission, "for the test", handler, **changes)


async def answer(call: Call) -> dict[str, Any]:
    return {"user": call.principal.user_id, "params": call.params}


async def handled(handler: Any, request: Request | None = None, **changes: Any) -> tuple[Any, Lines, Appliance]:
    appliance, lines = appliance_with()
    response = await plain(route_of(handler, **changes), appliance)(request or request_of(BEARER), slug="m")
    assert response
    assert appliance.holder.current.inside == 0
    return response, lines, appliance


async def test_a_handler_gets_the_caller_and_the_path_s_parameters() -> None:
    response, lines, _ = await handled(answer)
    assert json.loads(response.body)["data"] == {"user": "acme:alice", "params": {"slug": "m"}}
    (line,) = lines.lines
    assert (line["status"], line["user_id"], line["request_id"]) == (
        200,
        "acme:alice",
        response.headers["X-Request-ID"],
    )
    assert SECRET not in str(lines.lines)


@pytest.mark.parametrize(
    ("headers", "permission", "status"),
    [
        ({}, "any", 401),
        ({"authorization": "Bearer sgk_x"}, "any", 401),
        (BEARER, "models:manage", 403),
        (BEARER, "models:use", 200),
    ],
)
async def test_who_may_not_is_refused_before_the_handler_runs(
    headers: dict[str, str], permission: str, status: int
) -> None:
    ran: list[Call] = []

    async def handler(call: Call) -> dict[str, Any]:
        ran.append(call)
        return {}

    response, _, _ = await handled(handler, request_of(headers), permission=permission)
    assert response.status == status
    assert bool(ran) == (status == 200)


@pytest.mark.parametrize("path", ["/v1/me", "/oai/v1/models"])
async def test_an_address_that_keeps_on_guessing_is_slowed_down_and_others_are_not(path: str) -> None:
    appliance, _ = appliance_with()
    handler = plain(route_of(answer), appliance)

    async def status_of(headers: dict[str, str], ip: str = "192.0.2.1") -> int:
        response = await handler(request_of(headers, ip=ip, path=path))
        assert response
        if response.status == 429:
            assert 0 < int(response.headers["Retry-After"]) <= 61
        return response.status

    guess = {"authorization": "Bearer sgk_guess"}
    assert [await status_of(guess) for _ in range(62)] == [401] * 60 + [429] * 2
    assert await status_of({}) == 429
    assert await status_of(guess, "192.0.2.2") == 401
    assert await status_of(BEARER) == 200


async def test_a_public_route_asks_nobody() -> None:
    async def handler(call: Call) -> Page:
        assert call.principal_or_none is None
        return Page([])

    response, lines, _ = await handled(handler, request_of(), permission="public", logged=False)
    assert response.status == 200
    assert lines.lines == []


async def test_a_handler_s_error_has_the_surface_s_shape() -> None:
    async def handler(call: Call) -> None:
        raise invalid("n", "is wrong")

    native, lines, _ = await handled(handler)
    compat, _, _ = await handled(handler, request_of(BEARER, path="/oai/v1/models"))
    assert (native.status, compat.status) == (422, 400)
    assert (lines.lines[0]["error"], lines.lines[0]["status"]) == ("VALIDATION_ERROR", 422)


async def test_what_nobody_foresaw_is_a_500_that_tells_the_request_id_and_nothing_else() -> None:
    async def handler(call: Call) -> None:
        raise ZeroDivisionError("inner secret")

    response, _, _ = await handled(handler)
    error = json.loads(response.body)["error"]
    assert (response.status, error["code"]) == (500, "INTERNAL_ERROR")
    assert response.headers["X-Request-ID"] in error["message"]
    assert b"inner secret" not in response.body


@pytest.mark.parametrize(("permission", "status"), [("any", 503), ("public", 200)])
async def test_while_draining_only_public_routes_answer(permission: str, status: int) -> None:
    async def handler(call: Call) -> dict[str, Any]:
        return {}

    appliance, _ = appliance_with()
    appliance.state.draining = True
    response = await plain(route_of(handler, permission), appliance)(request_of(BEARER))
    assert response
    assert response.status == status
    assert status == 200 or response.headers["Retry-After"]


INFERENCE = Route("POST", "/v1/inference/chat", "models:use", "for the test", operation="chat")


async def inferred(
    state: State, headers: dict[str, str] | None = None, **changes: Any
) -> tuple[Any, dict[str, Any], Appliance]:
    appliance, lines = appliance_with(state)
    fields = {"body": chat_body(), "path": INFERENCE.path, "method": "POST"} | changes
    request = request_of(BEARER if headers is None else headers, **fields)
    response = await inference(INFERENCE, appliance, 1_000_000)(request)
    assert appliance.holder.current.inside == 0
    assert state.in_flight == 0
    (line,) = lines.lines
    return response, line, appliance


async def test_an_inference_call_goes_down_the_line_and_leaves_one_log_line() -> None:
    pools = FakePools(FakeUpstream(json.dumps(completion()).encode()))
    response, line, _ = await inferred(make_state(pools=pools))
    assert response.status == 200
    assert response.headers["X-Request-ID"] == line["request_id"]
    assert response.headers["X-Scaigrid-Backend"] == "one:a"
    assert {name: line[name] for name in ("outcome", "model", "backend", "attempts", "cost", "tenant_id")} == {
        "outcome": "completed",
        "model": "m",
        "backend": "one:a",
        "attempts": 1,
        "cost": "0.000013",
        "tenant_id": "acme",
    }


async def test_inference_while_draining_is_refused() -> None:
    state = make_state()
    state.draining = True
    response, line, _ = await inferred(state)
    assert (response.status, line["error"]) == (503, "SHUTTING_DOWN")


async def test_a_fault_of_ours_in_the_line_is_a_500() -> None:
    class Faulty(FakePools):
        async def open(self, *_: Any) -> Any:
            raise ZeroDivisionError("inner secret")

    response, line, _ = await inferred(make_state(pools=Faulty()))
    assert (response.status, line["error"]) == (500, "INTERNAL_ERROR")
    assert b"inner secret" not in response.body


async def test_failures_of_upstreams_are_in_the_log_line_without_secrets() -> None:
    error = json.dumps({"error": {"message": "bad key secret-of-one"}}).encode()
    pools = FakePools(FakeUpstream(error, status=401), FakeUpstream(json.dumps(completion()).encode()))
    _, line, _ = await inferred(make_state(pools=pools))
    assert line["attempts"] == 2
    assert "one:a" in line["failures"][0]
    assert "secret-of-one" not in str(line)


async def test_guesses_at_inference_and_elsewhere_are_counted_together_by_address() -> None:
    state = make_state()
    guess = {"authorization": "Bearer sgk_guess"}
    appliance, _ = appliance_with(state)
    for _ in range(60):
        response = await plain(route_of(answer), appliance)(request_of(guess, ip="192.0.2.1"))
        assert response
        assert response.status == 401
    refused, line, _ = await inferred(state, guess, ip="192.0.2.1")
    assert (refused.status, line["error"]) == (429, "RATE_LIMITED")
    other, _, _ = await inferred(state, guess, ip="192.0.2.2")
    assert other.status == 401


async def test_what_the_caller_says_about_the_dialect_goes_with_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    async def line(exchange: Exchange, state: State) -> None:
        seen.append((exchange.surface, exchange.credential, dict(exchange.forwarded), exchange.incoming))
        await exchange.client.whole(200, {}, b"{}")

    monkeypatch.setattr(accept, "run", line)
    route = Route("POST", "/anthropic/v1/messages", "models:use", "for the test", operation="chat")
    upload = Route("POST", "/oai/v1/audio", "models:use", "for the test", operation="transcribe", upload=True)
    named = Route("POST", "/oai/v1/responses", "models:use", "for the test", operation="respond", surface="responses")
    headers = {"x-api-key": "sgk_x", "anthropic-beta": "context-1m", "anthropic-version": "2023-06-01", "cookie": "c"}
    for each in (route, upload, named):
        appliance, _ = appliance_with()
        response = await inference(each, appliance, 1_000_000)(request_of(headers, path=each.path, method="POST"))
        assert response
        assert response.status == 200
    forwarded = {"anthropic-beta": "context-1m"}
    assert [entry[:3] for entry in seen] == [
        (surface, "sgk_x", forwarded) for surface in ("anthropic", "openai", "responses")
    ]
    assert [entry[3] is not None for entry in seen] == [False, True, False]


async def test_the_caller_s_rate_limit_stands_in_the_answer_s_headers() -> None:
    pools = FakePools(FakeUpstream(json.dumps(completion()).encode()))
    response, _, _ = await inferred(make_state(pools=pools))
    assert response.headers["X-Scaigrid-Ratelimit-Limit"] == "60"
    assert response.headers["X-Scaigrid-Ratelimit-Remaining"] == "59"
    assert int(response.headers["X-Scaigrid-Ratelimit-Reset"]) > time.time() + 58


def test_an_appliance_without_people_serves_inference_only() -> None:
    with pytest.raises(AssertionError, match="without people"):
        _ = call_of().people
