"""Sanic request → Exchange (inference) or Call (everything else), and the way back.

Every request gets its id, the drain check, one log line, and the net for what nobody foresaw: 500 with the request id,
the traceback in the log only.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request

from appliance.api import envelope
from appliance.api.form import FormReader
from appliance.api.request import answer_and_read_on, is_unread, listen_for_hang_up, never_reuse_after_chunked
from appliance.errors import GatewayError
from appliance.exchange import Exchange, Principal
from appliance.grid.grid import Grid
from appliance.grid.holder import Holder
from appliance.grid.prices import usd
from appliance.people_admin import PeopleAdmin
from appliance.permissions import require
from appliance.pipeline.authenticate import principal_of
from appliance.pipeline.operations import OPERATIONS
from appliance.pipeline.peek import decoded, members
from appliance.pipeline.run import run
from appliance.state import State

if TYPE_CHECKING:
    from appliance.api.routes import Route
    from appliance.reload import Configuration

DRAIN_RETRY_AFTER_S = 5
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{8,128}")
_log = logging.getLogger("scaigrid")

SURFACES = (("/oai/", "openai"), ("/anthropic/", "anthropic"))
FORWARDED = ("anthropic-beta",)
"""Headers of callers that upstreams of the same dialect get."""

SanicHandler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]


class Appliance:
    """What handlers need: the current configuration and everything that has happened."""

    __slots__ = ("configuration_or_none", "holder", "people_or_none", "started_unix", "state")

    def __init__(
        self,
        holder: Holder,
        state: State,
        people: PeopleAdmin | None = None,
        configuration: Configuration | None = None,
    ) -> None:
        self.holder = holder
        self.state = state
        self.people_or_none = people
        self.configuration_or_none = configuration
        self.started_unix = time.time()

    @property
    def configuration(self) -> Configuration:
        assert self.configuration_or_none, "this appliance was built with a fixed configuration"
        return self.configuration_or_none


class Call:
    """One plain API request. `principal` is there unless the route is public."""

    __slots__ = ("appliance", "grid", "params", "principal_or_none", "query", "request_id", "sanic")

    def __init__(self, appliance: Appliance, grid: Grid, sanic: Request, request_id: str) -> None:
        self.appliance = appliance
        self.grid = grid
        self.sanic = sanic
        self.request_id = request_id
        self.query: Mapping[str, str] = {key: values[-1] for key, values in sanic.args.items()}
        self.params: dict[str, str] = {}
        self.principal_or_none: Principal | None = None

    @property
    def state(self) -> State:
        return self.appliance.state

    @property
    def people(self) -> PeopleAdmin:
        assert self.appliance.people_or_none, "an appliance without people serves inference only"
        return self.appliance.people_or_none

    @property
    def principal(self) -> Principal:
        assert self.principal_or_none, "a public route has no principal"
        return self.principal_or_none

    def body(self) -> dict[str, Any]:
        """The JSON object of the request; an empty body is an empty object."""
        if not self.sanic.body:
            return {}
        members(self.sanic.body)
        body: dict[str, Any] = decoded(self.sanic.body)
        return body


def request_id_of(request: Request) -> str:
    """The caller's own id when it is well formed (contract section 5), else a new one. The same at every call."""
    known: str | None = getattr(request.ctx, "request_id", None)
    if known:
        return known
    sent = request.headers.get("x-request-id", "")
    request.ctx.request_id = sent if _REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"
    return str(request.ctx.request_id)


def credential_of(request: Request) -> str | None:
    """The bearer token, or the key in Anthropic's header. A header of another scheme counts as a wrong token."""
    header: str | None = request.headers.get("authorization")
    if header is None:
        key: str | None = request.headers.get("x-api-key")
        return key
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else header


def surface_of(path: str) -> str:
    """The dialect in which a URL's errors are told."""
    return next((dialect for prefix, dialect in SURFACES if path.startswith(prefix)), "native")


def plain(route: Route, appliance: Appliance) -> SanicHandler:
    """A Sanic handler for a route of the native API or the compat surface's lists."""

    async def handle(request: Request, **params: str) -> HTTPResponse:
        never_reuse_after_chunked(request)
        started = time.monotonic()
        request_id = request_id_of(request)
        generation = appliance.holder.enter()
        call = Call(appliance, generation.grid, request, request_id)
        call.params = params
        error: GatewayError | None = None
        try:
            if route.permission != "public":
                _refuse_when_draining(appliance.state)
                now = asyncio.get_running_loop().time()
                credential = credential_of(request)
                call.principal_or_none = principal_of(credential, request.ip, call.grid, appliance.state, now)
                if route.permission != "any":
                    require(call.principal, route.permission)
            assert route.handler
            response = envelope.success(await route.handler(call))
        except GatewayError as failed:
            error = failed
        except Exception as fault:
            error = unforeseen(fault, request_id)
        finally:
            generation.leave()
        if error:
            response = envelope.failure(error, surface_of(request.path), request_id)
        response.headers["X-Request-ID"] = request_id
        if route.logged:
            fields = request_fields(request, request_id, response.status, time.monotonic() - started)
            if call.principal_or_none:
                fields |= {"tenant_id": call.principal.tenant_id, "user_id": call.principal.user_id}
            appliance.state.log.write(fields | error_fields(error))
        return response

    return handle


def inference(route: Route, appliance: Appliance, upload_limit: int) -> SanicHandler:
    """A Sanic handler that takes the request down the line."""
    operation = OPERATIONS[route.operation]

    async def handle(request: Request, **params: str) -> HTTPResponse | None:
        never_reuse_after_chunked(request)
        state = appliance.state
        request_id = request_id_of(request)
        client = SanicClient(request, request_id)
        generation = appliance.holder.enter()
        loop = asyncio.get_running_loop()
        exchange = Exchange(
            request_id=request_id,
            surface=route.surface or surface_of(route.path),
            operation=operation,
            grid=generation.grid,
            client=client,
            credential=credential_of(request),
            body=request.body or b"",
            received_at=loop.time(),
            received_unix=time.time(),
            clock=loop.time,
            ip=request.ip,
            usage_id=f"usage_{secrets.token_hex(12)}",
        )
        if route.upload:
            exchange.incoming = FormReader(request, upload_limit, state.spool)
        else:
            listen_for_hang_up(request)
        for name in FORWARDED:
            if (value := request.headers.get(name)) is not None:
                exchange.forwarded = {**exchange.forwarded, name: value}
        state.in_flight += 1
        try:
            _refuse_when_draining(state)
            await run(exchange, state)
        except GatewayError as error:
            exchange.error = error
            client.response = envelope.failure(error, exchange.surface, request_id)
        except Exception as fault:
            exchange.error = unforeseen(fault, request_id)
            if client.started:
                await client.break_off()
            else:
                client.response = envelope.failure(exchange.error, exchange.surface, request_id)
        finally:
            state.in_flight -= 1
            generation.leave()
            if exchange.incoming:
                exchange.incoming.discard()
            status = client.response.status if client.response else 200 if client.started else 499
            fields = request_fields(request, request_id, status, loop.time() - exchange.received_at)
            state.log.write(fields | _exchange_fields(exchange) | error_fields(exchange.error))
        if client.response is not None:
            client.response.headers["X-Request-ID"] = request_id
            if route.upload and is_unread(request):
                await answer_and_read_on(request, client.response)
                return None
        return client.response

    return handle


def _refuse_when_draining(state: State) -> None:
    if state.draining:
        raise GatewayError(
            "SHUTTING_DOWN", "the appliance is shutting down; try again shortly", retry_after=DRAIN_RETRY_AFTER_S
        )


def unforeseen(error: Exception, request_id: str) -> GatewayError:
    _log.error("request %s failed on a fault of ours", request_id, exc_info=error)
    return GatewayError("INTERNAL_ERROR", f"a fault of the gateway; please report the request id {request_id}")


# -- the log line -----------------------------------------------------------------------------------------------------


def request_fields(request: Request, request_id: str, status: int, seconds: float) -> dict[str, Any]:
    return {
        "unix": time.time(),
        "event": "request",
        "request_id": request_id,
        "method": request.method,
        "path": request.path,
        "status": status,
        "latency_ms": round(seconds * 1000, 1),
        "ip": request.ip,
    }


def _exchange_fields(exchange: Exchange) -> dict[str, Any]:
    fields: dict[str, Any] = {"outcome": exchange.status}
    if exchange.principal:
        fields |= {"tenant_id": exchange.principal.tenant_id, "user_id": exchange.principal.user_id}
    if exchange.model_name:
        fields |= {"model": exchange.model_name, "stream": exchange.stream}
    if exchange.attempts:
        shown = exchange.answered or exchange.attempts[-1]
        fields |= {"backend": shown.target.backend, "attempts": len(exchange.attempts)}
    if exchange.begun and exchange.usage:
        fields |= {
            "input_tokens": exchange.usage.input_tokens,
            "output_tokens": exchange.usage.output_tokens,
            "estimated": exchange.estimated,
            "cost": usd(exchange.cost_nano),
        }
    failures = [f"{a.target.backend}: {a.failure.detail or a.failure.message}" for a in exchange.attempts if a.failure]
    return fields | ({"failures": failures} if failures else {})


def error_fields(error: GatewayError | None) -> dict[str, Any]:
    return {"error": error.code, "message": error.message} if error else {}


class SanicClient:
    """The way back to the caller: a whole response that the handler returns, or a stream that is sent at once."""

    __slots__ = ("_request", "_request_id", "_stream", "response", "started")

    def __init__(self, request: Request, request_id: str) -> None:
        self._request = request
        self._request_id = request_id
        self._stream: HTTPResponse | None = None
        self.response: HTTPResponse | None = None
        self.started = False

    async def whole(
        self, status: int, headers: dict[str, str], body: bytes, content_type: str = "application/json"
    ) -> None:
        self.response = HTTPResponse(body, status, headers, content_type)

    async def start_stream(
        self, headers: dict[str, str], content_type: str = "text/event-stream; charset=utf-8"
    ) -> None:
        self.started = True
        fixed = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Request-ID": self._request_id}
        self._stream = await self._request.respond(status=200, headers=headers | fixed, content_type=content_type)

    async def send(self, data: bytes) -> None:
        assert self._stream
        await self._stream.send(data)

    async def end(self) -> None:
        assert self._stream
        await self._stream.eof()  # type: ignore[no-untyped-call]

    async def break_off(self) -> None:
        """Cut the connection: after an unforeseen fault in mid-stream a clean end would be a lie."""
        transport: Any = self._request.transport
        if transport:
            transport.abort()
