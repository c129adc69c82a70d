"""What may be used, and how fast: Budget and RateLimits. Says only; what becomes of it is not decided here."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema, model_validator

from config.entry import Entry
from config.nodes import kind
from config.problems import flaw, meant
from config.scalars import NANO, Money, Name, setting

UNLIMITED: Literal["unlimited"] = "unlimited"

KEY_REQUESTS_PER_MINUTE = 60
USER_REQUESTS_PER_MINUTE = 120
TENANT_REQUESTS_PER_MINUTE = 1000
PARTNER_REQUESTS_PER_MINUTE = 5000
UNAUTHENTICATED_REQUESTS_PER_MINUTE = 60
"""What holds when no `requests_per_minute` is written; tokens and concurrent requests are then not limited."""

SMALLEST_ANSWER = 16
"""Output tokens below which a call is refused rather than cut."""

MAX_COUNT = 10**12
MAX_COST = 10**9 * NANO
"""Sums must fit into 64 bits wherever they are stored."""

MILLION = 10**6

_NO_ZONES = {"localtime", "Factory"}


def read_limit(value: Any) -> int | Literal["unlimited"]:
    if value == UNLIMITED:
        return UNLIMITED
    if type(value) is not int:
        wanted = "write a whole number without quotes, or `unlimited`"
        hint = meant(value, [UNLIMITED], wanted) if isinstance(value, str) else wanted
        raise flaw(f"a whole number or `unlimited` is due, found {kind(value)}", hint)
    if value < 1:
        raise flaw("this must be at least 1", "`unlimited` switches the limit off")
    if value > MAX_COUNT:
        raise flaw(f"this must be at most {MAX_COUNT}", "`unlimited` switches the limit off")
    return value


def read_share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise flaw(f"a number from 0 to 1 is due, found {kind(value)}", "write it like `0.8`, without quotes")
    if not 0 <= value <= 1:
        hint = f"write {value:g} % as `{value / 100:g}`" if 1 < value <= 100 else "write 80 % as `0.8`"
        raise flaw("this must be a number from 0 to 1", hint)
    if Decimal(repr(value)) * MILLION % 1:
        raise flaw("this share has more than 6 decimals", "round it, like `0.8`")
    return float(value)


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - _NO_ZONES)


def check_timezone(name: str) -> str:
    if name != "UTC" and name not in _zones():
        otherwise = "write a name of the IANA database, like `Europe/Amsterdam`"
        raise flaw("there is no time zone {}", meant(name, _zones(), otherwise), name)
    return name


def check_cost(nano: int) -> int:
    if nano > MAX_COST:
        raise flaw(f"a cost limit may be at most {MAX_COST // NANO} USD", "leave it out for no limit")
    return nano


_LIMIT_SHAPE = {"anyOf": [{"type": "integer", "minimum": 1}, {"const": UNLIMITED}]}

Limit = Annotated[int | Literal["unlimited"], PlainValidator(read_limit), WithJsonSchema(_LIMIT_SHAPE)]
Count = Annotated[int, Field(ge=1, le=MAX_COUNT)]
Share = Annotated[
    float,
    PlainValidator(read_share),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "x-form": "number"}),
]
Zone = Annotated[str, AfterValidator(check_timezone)]
Cost = Annotated[Money, AfterValidator(check_cost)]


class RateLimits(Entry):
    """How much may be asked in 60 rolling seconds, and at once. Key, user, tenant and partner are each counted, and
    the tightest limit decides. A limit that is not written keeps its default; `unlimited` switches it off."""

    requests_per_minute: Limit | None = Field(
        None,
        description=f"calls; default: {KEY_REQUESTS_PER_MINUTE} for a key, {USER_REQUESTS_PER_MINUTE} for a user, "
        f"{TENANT_REQUESTS_PER_MINUTE} for a tenant, {PARTNER_REQUESTS_PER_MINUTE} for a partner",
    )
    tokens_per_minute: Limit | None = Field(None, description="input and output tokens; default: not limited")
    concurrent_requests: Limit | None = Field(None, description="calls that run at once; default: not limited")


def _unauthenticated(limits: RateLimits) -> RateLimits:
    if limits.tokens_per_minute is not None:
        raise flaw("`tokens_per_minute` has no meaning here", "remove it: calls without a valid key get no tokens")
    if limits.requests_per_minute is not None:
        return limits
    return limits.model_copy(update={"requests_per_minute": UNAUTHENTICATED_REQUESTS_PER_MINUTE})


UnauthenticatedLimits = Annotated[RateLimits, AfterValidator(_unauthenticated)]


class Budget(Entry):
    """What may be used in a period; at least one of the three limits is written. Every budget that applies to a call
    must have room for it: those of the key, the user, the user's groups, the tenant and the partner."""

    name: Name | None = Field(None, description="what people call it")
    period: Literal["daily", "weekly", "monthly", "total"] = Field(
        description="when it starts anew: at midnight, on Monday, on the first of the month, or never"
    )
    cost_limit: Cost | None = Field(None, description="what callers may be charged, in USD")
    token_limit: Count | None = Field(None, description="input and output tokens")
    request_limit: Count | None = Field(None, description="calls")
    soft_limit_pct: Share = Field(
        0.8, description="share of a limit, 0 to 1, at which `budget.soft_limit_reached` is sent, once a period"
    )
    hard_action: Literal["block", "notify", "throttle"] = Field(
        "block",
        description="what happens at the limit: `block` refuses further calls, `notify` only sends "
        "`budget.hard_limit_reached`, `throttle` lowers the rate limits",
    )
    timezone: Zone = setting("UTC", "where midnight is: a name of the IANA database, like `Europe/Amsterdam`")

    @property
    def soft_ppm(self) -> int:
        """The soft limit in millionths, exactly as written."""
        return int(Decimal(repr(self.soft_limit_pct)) * MILLION)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of the three limits are written."""
        limits = ("cost_limit", "token_limit", "request_limit")
        return tuple(limit for limit in limits if getattr(self, limit) is not None)

    @model_validator(mode="after")
    def _limits_something(self) -> Budget:
        if not self.kinds:
            raise flaw("this budget limits nothing", "write at least one of cost_limit, token_limit, request_limit")
        return self
