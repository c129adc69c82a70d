"""The Sanic application: routes from the one list, limits, and the shape of errors that never reach a handler."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from sanic import HTTPResponse, Request, Sanic
from sanic.exceptions import MethodNotAllowed, NotFound, PayloadTooLarge, RequestCancelled, SanicException
from sanic.handlers import ErrorHandler

from appliance.api import accept, envelope
from appliance.api.request import StrictRequest, never_reuse_after_chunked
from appliance.api.routes import ROUTES
from appliance.errors import GatewayError, clipped
from appliance.state import State

READ_TIMEOUT_S = 60
"""A request must arrive whole within this time, so that half-sent ones cannot pile up."""
KEEP_ALIVE_S = 75
LINGER_S = 3.0
LINGER_BYTES = 256 * 1024 * 1024
NEVER_S = 24 * 3600
"""Sanic's own clock for answers is switched off in effect: the phases of a call have their own time limits."""


def build(appliance: accept.Appliance, body_limit: int, upload_limit: int) -> Sanic[Any, Any]:
    app: Sanic[Any, Any] = Sanic(
        "scaigrid", request_class=StrictRequest, error_handler=_Errors(appliance.state), configure_logging=False
    )
    app.config.update(
        {
            "REQUEST_MAX_SIZE": body_limit,
            "REQUEST_TIMEOUT": READ_TIMEOUT_S,
            "RESPONSE_TIMEOUT": NEVER_S,
            "KEEP_ALIVE_TIMEOUT": KEEP_ALIVE_S,
            "ACCESS_LOG": False,
            "TOUCHUP": True,
            "MOTD": False,
        }
    )
    for route in ROUTES:
        name = f"{route.method} {route.path}".translate(_NAME)
        methods = ["GET", "HEAD"] if route.method == "GET" else [route.method]
        handler = (
            accept.inference(route, appliance, upload_limit) if route.operation else accept.plain(route, appliance)
        )
        app.add_route(handler, route.path, methods=methods, name=name, strict_slashes=False, stream=route.upload)
    return app


_NAME = str.maketrans({character: "_" for character in " /<>:-."})


class _Errors(ErrorHandler):
    """What Sanic refuses by itself (unknown URL, wrong method, too large, bad HTTP), in the surface's own shape."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self._state = state

    def default(self, request: Request, exception: Exception) -> HTTPResponse | Coroutine[Any, Any, None]:  # type: ignore[override]
        never_reuse_after_chunked(request)
        request_id = accept.request_id_of(request)
        error = _as_gateway_error(request, exception)
        response = envelope.failure(error, accept.surface_of(request.path), request_id)
        response.headers["X-Request-ID"] = request_id
        if isinstance(exception, MethodNotAllowed) and "Allow" in exception.headers:
            response.headers["Allow"] = exception.headers["Allow"]
        if not isinstance(exception, RequestCancelled):  # a hang-up; its handler has logged it
            fields = accept.request_fields(request, request_id, response.status, 0.0)
            self._state.log.write(fields | accept.error_fields(error))
        if error.code == "PAYLOAD_TOO_LARGE":
            return _answer_and_linger(request, response)
        return response


async def _answer_and_linger(request: Request, response: HTTPResponse) -> None:
    """Answer at once, then read on for a while and throw it away.

    A socket that is closed with unread bytes is reset, and the reset overtakes the answer: callers who send everything
    before they read would see a broken connection instead of the 413.
    """
    sent = await request.respond(response)
    await sent.send(end_stream=True)
    http: Any = request.stream
    left = LINGER_BYTES
    try:
        async with asyncio.timeout(LINGER_S):
            while left > 0:
                http.recv_buffer.clear()
                await http._receive_more()
                left -= len(http.recv_buffer)
    except TimeoutError:
        pass


def _as_gateway_error(request: Request, exception: Exception) -> GatewayError:
    if isinstance(exception, NotFound):
        return GatewayError("NOT_FOUND", f"there is no {request.method} {clipped(request.path)} here")
    if isinstance(exception, MethodNotAllowed):
        allowed = ", ".join(sorted(exception.headers.get("Allow", "").split(", ")))
        return GatewayError("METHOD_NOT_ALLOWED", f"{request.method} is not served here; use {allowed}")
    if isinstance(exception, PayloadTooLarge):
        if "header" in str(exception):
            return GatewayError("PAYLOAD_TOO_LARGE", "the request's headers are larger than 8 KB")
        return GatewayError("PAYLOAD_TOO_LARGE", "the body is larger than server.body_limit allows")
    if isinstance(exception, SanicException | RequestCancelled):
        return GatewayError("VALIDATION_ERROR", f"the request is not valid HTTP here: {exception}"[:300])
    return accept.unforeseen(exception, accept.request_id_of(request))
