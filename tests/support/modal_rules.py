"""What holds for every kind of call alike: budgets, rate limits, modality, named fields. Each test file says its Kind.

people = modal_rules.people()          # the YAML's `partners:` part, with the users that the rules need
modal_rules.check_request_budget(kind, gateway, upstream)
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import yaml

from support.appliance import Answer, Gateway
from support.tenancy import key_of
from support.upstream import Upstream

CROWD = 50
OFF = {"requests_per_minute": "unlimited"}
LIMITLESS = {"rate_limits": OFF, "user_rate_limits": OFF, "key_rate_limits": OFF}
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Kind:
    """A kind of call: where it goes, what it sends, and which frontend models serve the rules.

    `good` is answered with success; `price` is one good call's, `worst` is what is held for it at least.
    """

    operation: str
    paths: Mapping[str, str]
    body: dict[str, Any]
    good: str
    greedy: str
    crowd_limit: str
    wrong: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Field that has to be named → a change of the body that makes it wrong."""
    file: bytes | None = None
    """Sent as a form when set."""


def people(**budgets: dict[str, Any]) -> str:
    """`partners:` with a user for each of the budgets, all in tenant `default`; `limited` and `other` are tenants."""
    users = {name: _user("default", name) | {"budgets": [{"period": "total"} | each]} for name, each in budgets.items()}
    tenants = {
        "default": LIMITLESS | {"users": {"plain": _user("default", "plain")} | users},
        "limited": LIMITLESS
        | {"user_rate_limits": {"requests_per_minute": 2}, "users": {"plain": _user("limited", "plain")}},
        "other": LIMITLESS | {"users": {"plain": _user("other", "plain")}},
    }
    partners = {"default": {"rate_limits": OFF, "tenants": tenants}}
    return yaml.safe_dump({"partners": partners}, sort_keys=False)


def _user(tenant: str, name: str) -> dict[str, Any]:
    return {"roles": ["tenant_user"], "api_keys": [{"name": "k", "key": key_of(tenant, name)}]}


# -- calls ------------------------------------------------------------------------------------------------------------


def call(
    gateway: Gateway, kind: Kind, model: str, surface: str = "native", /, *, key: str = "", **changes: Any
) -> Answer:
    """One call; a change that is None takes the member away."""
    merged = kind.body | {"model": model} | changes
    body = {name: value for name, value in merged.items() if value is not None}
    headers = {"X-Request-ID": f"{kind.operation}-{next(_numbers):06}"}
    if kind.file is None:
        return gateway.post(kind.paths[surface], body, key=key, headers=headers)
    data, content_type = form(body, kind.file)
    return gateway.post(kind.paths[surface], data, key=key, headers=headers | {"Content-Type": content_type})


def form(fields: Mapping[str, Any], file: bytes, filename: str = "speech.wav") -> tuple[bytes, str]:
    """A multipart body, its fields before its file, and its Content-Type."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{each}\r\n'.encode()
        for name, value in fields.items()
        for each in (value if isinstance(value, list) else [value])
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
    parts += [head.encode(), b"Content-Type: audio/wav\r\n\r\n", file, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"


def row_of(gateway: Gateway, answer: Answer) -> dict[str, Any]:
    return gateway.usage_of(answer.headers["X-Request-ID"])


def error_of(answer: Answer) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


def named_in(error: dict[str, Any]) -> set[str | None]:
    """The fields that an error names, in either surface's form."""
    return {error.get("param")} | {detail["field"] for detail in error.get("details") or ()}


def budget_of(gateway: Gateway, user: str) -> dict[str, Any]:
    """The one budget of a user of tenant `default`."""
    answer = gateway.get(f"/v1/accounting/budgets?scope=user&scope_id=default:{user}")
    (budget,) = answer.json()["data"]["items"]
    return dict(budget)


def until(what: str, condition: Callable[[], Any], seconds: float = 3) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


# -- the rules --------------------------------------------------------------------------------------------------------


def check_request_budget(kind: Kind, gateway: Gateway, upstream: Upstream, user: str = "two") -> None:
    """A budget of two requests: the third is refused before anything goes upstream."""
    before = len(upstream.calls)
    answers = [
        call(gateway, kind, kind.good, surface, key=key_of("default", user)) for surface in (*kind.paths, "native")
    ]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert error_of(answers[-1])["code"] == "BUDGET_EXCEEDED"
    assert len(upstream.calls) == before + 2
    assert budget_of(gateway, user)["used"]["requests"] == 2
    assert gateway.usage(request_id=answers[-1].headers["X-Request-ID"]) == []


def check_small_budget(kind: Kind, gateway: Gateway, upstream: Upstream, user: str = "poor") -> None:
    """A budget that does not cover one call: nothing goes upstream, nothing is booked or left pending."""
    before = len(upstream.calls)
    for surface in kind.paths:
        answer = call(gateway, kind, kind.good, surface, key=key_of("default", user))
        assert answer.status == 429, answer.body
        assert "cost budget" in error_of(answer)["message"]
    assert len(upstream.calls) == before
    budget = budget_of(gateway, user)
    assert (budget["used"]["cost"], budget["pending"]["cost"]) == ("0", "0")


def check_crowd(kind: Kind, gateway: Gateway, user: str = "crowd") -> None:
    """50 calls at once, whose upstream uses as much as it may: settled spend stays within the limit and is used."""
    key = key_of("default", user)
    with ThreadPoolExecutor(CROWD) as pool:
        answers = list(pool.map(lambda _: call(gateway, kind, kind.greedy, key=key), range(CROWD)))
    assert {answer.status for answer in answers} == {200, 429}, "the budget is for some of them"
    budget = budget_of(gateway, user)
    spent, limit = Decimal(budget["used"]["cost"]), Decimal(kind.crowd_limit)
    rows = gateway.usage(user_id=f"default:{user}")
    assert sum(Decimal(row["cost"]) for row in rows) == spent <= limit
    assert all(Decimal(row["cost"]) <= Decimal(row["reserved"]) for row in rows), "never more than was held"
    good = [row for row in rows if row["status"] == "completed"]
    assert len(good) == sum(answer.status == 200 for answer in answers)
    assert spent + Decimal(good[0]["reserved"]) > limit, "what was left would not have covered one more"
    assert (budget["pending"]["cost"], budget["overrun"]) == ("0", "0")


def check_rate_limit(kind: Kind, gateway: Gateway, upstream: Upstream) -> None:
    """Two requests a minute: the third is refused and told when to come again."""
    before = len(upstream.calls)
    answers = [call(gateway, kind, kind.good, key=key_of("limited", "plain")) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert error_of(answers[-1])["code"] == "RATE_LIMITED"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61
    assert len(upstream.calls) == before + 2


def check_wrong_modality(kind: Kind, gateway: Gateway, upstream: Upstream, model: str, modality: str) -> None:
    """A model of another modality is refused by name, on both surfaces, before anything goes upstream."""
    before = len(upstream.calls)
    for surface in kind.paths:
        answer = call(gateway, kind, model, surface)
        assert 400 <= answer.status < 500
        error = error_of(answer)
        assert f"of modality {modality}" in error["message"]
        assert "model" in named_in(error)
    assert len(upstream.calls) == before


def check_wrong_fields(kind: Kind, gateway: Gateway, upstream: Upstream) -> None:
    """Each wrong field is named, on both surfaces."""
    before = len(upstream.calls)
    for name, change in kind.wrong.items():
        for surface in kind.paths:
            answer = call(gateway, kind, kind.good, surface, **change)
            assert 400 <= answer.status < 500, (name, surface, answer.body)
            assert name in named_in(error_of(answer)), (name, surface, answer.body)
    assert len(upstream.calls) == before
