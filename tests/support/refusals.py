"""A refusal in the shape of its surface, and an appliance that is well after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Literal

from support.appliance import Answer, Gateway

Surface = Literal["native", "compat", "anthropic"]
BAD_REQUEST = {"native": 422, "compat": 400, "anthropic": 400}
"""The status of a VALIDATION_ERROR."""


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
    elif surface == "anthropic":
        assert set(body) == {"type", "error", "request_id"}
        assert body["type"] == "error"
        assert body["request_id"] == answer.headers["X-Request-ID"]
        assert set(error) == {"type", "message"}
        assert error["message"].startswith(field or ""), error
    else:
        assert set(body) == {"error"}
        assert set(error) == {"message", "type", "param", "code"}
        assert error["type"]
        if field:
            assert (error["param"] or "").startswith(field), error


@contextlib.contextmanager
def still_well_after(gateway: Gateway) -> Iterator[None]:
    """Whatever happens inside: the appliance is healthy, serves its model `demo`, and has logged no traceback."""
    before = len(gateway.output())
    yield
    assert gateway.get("/health").status == 200
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    assert gateway.post("/v1/inference/chat", body).status == 200
    assert gateway.in_flight() == 0
    said = gateway.output()[before:]
    assert "traceback" not in said.lower(), said
    assert "INTERNAL_ERROR" not in said, said
