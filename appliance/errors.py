"""GatewayError and the table of codes: the one place that says what each failure means over HTTP.

The tree (who has to act):

    caller's fault     AUTH_*, AUTHZ_*, VALIDATION_ERROR, *_NOT_FOUND, MODEL_ACCESS_DENIED, SLUG_CONFLICT, NOT_FOUND,
                       IN_USE, PROVIDER_HAS_BACKENDS, CONFIG_CONFLICT, CONFIG_NOT_WRITABLE, EDIT_REFUSED
    limits             RATE_LIMITED, BUDGET_EXCEEDED, QUOTA_EXCEEDED
    upstream           BACKEND_ERROR, BACKEND_TIMEOUT, BACKEND_RATE_LIMITED, UPSTREAM_SHAPE_MISMATCH, MODEL_UNAVAILABLE
    ours               INTERNAL_ERROR, SHUTTING_DOWN, JOURNAL_UNAVAILABLE, STORAGE_UNAVAILABLE

Codes and statuses follow section 2.10 of the API reference; a code that is not in the table cannot be raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Code:
    """What a code means: HTTP status (native surface), whether a later try may succeed, a line for the docs."""

    status: int
    retryable: bool
    meaning: str


CODES: dict[str, Code] = {
    "AUTH_TOKEN_MISSING": Code(401, False, "no Authorization header"),
    "AUTH_TOKEN_INVALID": Code(401, False, "the key is unknown, expired or revoked"),
    "AUTH_INSUFFICIENT_SCOPE": Code(403, False, "the key lacks a needed scope"),
    "AUTHZ_PERMISSION_DENIED": Code(403, False, "the user lacks the permission"),
    "VALIDATION_ERROR": Code(422, False, "the request is malformed; `details` names the fields"),
    "PAYLOAD_TOO_LARGE": Code(413, False, "the body is larger than server.body_limit"),
    "NOT_FOUND": Code(404, False, "no such URL or resource"),
    "METHOD_NOT_ALLOWED": Code(405, False, "the URL exists, but not with this method"),
    "SLUG_CONFLICT": Code(409, False, "the name is already taken"),
    "DECLARED_IN_CONFIG": Code(409, False, "the entry is declared in scaigrid.yaml and can only be changed there"),
    "IN_USE": Code(409, False, "other entries need it, or callers reach it; the message says what to change first"),
    "CONFIG_CONFLICT": Code(
        409,
        False,
        "somebody else changed the configuration: a file on disk that does not serve yet (`details` has the diff), or "
        "another generation serves than `If-Match` names",
    ),
    "CONFIG_NOT_WRITABLE": Code(403, False, "`server.config_writable: false` forbids changes over the API"),
    "EDIT_REFUSED": Code(
        409, False, "the file cannot be changed that way, or not be written; `details` has the place and what to do"
    ),
    "MODEL_NOT_FOUND": Code(404, False, "no frontend model has that name"),
    "MODEL_ACCESS_DENIED": Code(403, False, "the model exists, but is not enabled for the tenant"),
    "MODEL_UNAVAILABLE": Code(503, True, "no target of the model can serve at the moment"),
    "BACKEND_NOT_FOUND": Code(404, False, "no backend model has that id"),
    "BACKEND_ERROR": Code(502, True, "the upstream answered with an error"),
    "BACKEND_TIMEOUT": Code(504, True, "the upstream was too slow"),
    "BACKEND_RATE_LIMITED": Code(429, True, "the upstream limits us; see retry_after"),
    "UPSTREAM_SHAPE_MISMATCH": Code(502, False, "the upstream's answer could not be understood"),
    "PROVIDER_NOT_FOUND": Code(404, False, "no provider has that name"),
    "PROVIDER_HAS_BACKENDS": Code(409, False, "targets still refer to the provider"),
    "PROVIDER_DISCOVERY_ERROR": Code(502, True, "the provider did not tell which models it offers"),
    "RATE_LIMITED": Code(429, True, "a rate limit of the gateway; see retry_after"),
    "QUOTA_EXCEEDED": Code(429, False, "a hard quota is used up"),
    "BUDGET_EXCEEDED": Code(429, False, "a budget is used up until its period rolls over"),
    "SHUTTING_DOWN": Code(503, True, "the appliance is draining; another instance or a later try will serve"),
    "JOURNAL_UNAVAILABLE": Code(503, True, "usage cannot be written, so no call may be made"),
    "STORAGE_UNAVAILABLE": Code(503, True, "the upload cannot be put on disk at the moment"),
    "INTERNAL_ERROR": Code(500, False, "a fault of the gateway; the log has the traceback under the request id"),
}


class GatewayError(Exception):
    """A failure with a code of the table.

    `param` names the offending request member; `retry_after` is in seconds; `details` lists {field, message}, or
    {file, line, column, message, hint} for problems of the configuration, or {file, diff} for what others changed;
    `status` overrides the table's status where a surface asks for it. `message` is for humans and holds no secret.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: float | None = None,
        details: Sequence[Mapping[str, str | int]] | None = None,
        cause: BaseException | None = None,
    ) -> None:
        assert code in CODES, code
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if details is None and param:
            details = [{"field": param, "message": message}]
        self.details = details
        self.__cause__ = cause

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds, rounded up, where the wait is known; the challenge that a 401 owes.

        OpenAI's and Anthropic's SDKs retry every 409, 429 and 5xx unless `x-should-retry` forbids it: a used-up budget
        is not to be asked three times.
        """
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        if not CODES[self.code].retryable and (self.status in (409, 429) or self.status >= 500):
            headers["x-should-retry"] = "false"
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        return headers

    def body(self) -> dict[str, Any]:
        """The native `error` object: code, message and what else is known."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.retry_after is not None:
            error["retry_after"] = self.retry_after if self.retry_after % 1 else int(self.retry_after)
        if self.details:
            error["details"] = self.details
        return error


NAME_SHOWN = 100


def clipped(name: str) -> str:
    """A caller's own word, as a message may repeat it."""
    return name if len(name) <= NAME_SHOWN else name[: NAME_SHOWN - 1] + "…"


def invalid(field: str, message: str) -> GatewayError:
    """A VALIDATION_ERROR about one member of the request."""
    return GatewayError(
        "VALIDATION_ERROR", f"{field}: {message}", param=field, details=[{"field": field, "message": message}]
    )
