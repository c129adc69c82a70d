"""Where a call may go: RoutingPolicy, its Targets, and what may hold a target back or double a call."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from config.capabilities import Capabilities
from config.conditions import When
from config.entry import Entry, Listed, Section
from config.limits import Share
from config.prices import Priced
from config.problems import flaw
from config.scalars import TimeLimit, setting
from config.switches import OrOff, OrOnOff

RetryClass = Literal["timeout", "connect", "rate_limited", "server_error"]

UNION_STEPS = (("<name>",), ("<policy>",))
"""Steps that pydantic puts into an error's location and the YAML does not have."""


def check_backend(text: str) -> str:
    provider, colon, upstream_model = text.partition(":")
    if not (provider and colon and upstream_model) or text != text.strip() or not text.isprintable():
        raise flaw("{} is no backend", "write PROVIDER:UPSTREAM_MODEL, like `openai:gpt-4.1-mini`", text)
    return text


class Target(Entry):
    """One backend model that a policy may use."""

    backend: Annotated[str, AfterValidator(check_backend)] = Field(
        description="PROVIDER:UPSTREAM_MODEL; the upstream's name may itself hold colons"
    )
    priority: int | None = Field(
        None,
        ge=0,
        description="lower is asked first; default: 1, or the place in the list when no target of a `priority` policy "
        "names a priority or a weight",
    )
    weight: int | None = Field(
        None, ge=0, le=1_000_000, description="share among targets of the same priority; default: none, the same as 1"
    )
    cost: Priced | None = Field(None, description="what we pay, `free` or `auto`; default: the model's price")
    capabilities: Section[Capabilities] = setting(
        {}, "what the operator knows better than the built-in data about what this backend model can do"
    )
    enabled: bool = Field(True, description="false takes the target out of use")
    when: When | None = Field(None, description="calls that the target is for; default: all of them")

    @property
    def provider(self) -> str:
        return self.backend.partition(":")[0]

    @property
    def upstream_model(self) -> str:
        return self.backend.partition(":")[2]


class CircuitBreaker(Entry):
    """When a target that keeps failing is left alone. Failures that a caller caused do not count."""

    failures: int = Field(5, ge=1, le=10_000, description="failures within the window that open the circuit")
    window: TimeLimit = setting("30s", "how long a failure counts")
    cooldown: TimeLimit = setting("15s", "how long nothing is sent to the target; then one call tries it again")


class Hedge(Entry):
    """A second target is asked too when the first is slower than it usually is; the first answer wins, the other call
    is cut off. What it cost is ours, never the caller's."""

    percentile: int = Field(
        95, ge=50, le=99, description="of the target's own times to first token: so long it may take before that"
    )
    min_delay: TimeLimit = setting("200ms", "the second target is never asked earlier than this")
    max_share: Share = Field(
        0.05, description="the most calls that are hedged, as a share of all calls of the policy, 0 to 1"
    )


class RoutingPolicy(Entry):
    """Targets and how to choose among them."""

    strategy: Literal["priority", "weighted", "latency", "cost"] = Field(
        "priority",
        description="all ask the lower priority first. Inside one priority `priority` and `weighted` draw by weight, "
        "`latency` asks the fastest to its first token first, `cost` the cheapest, and weights decide among equals. "
        "Where no priority and no weight is written, `priority` means the order of the list, the others equal shares",
    )
    targets: Listed[tuple[Target, ...]] = Field(min_length=1, description="a list of at least one target")
    retries: int = Field(2, ge=0, le=10, description="further attempts after the first, over all targets")
    retry_on: Listed[frozenset[RetryClass]] = setting(
        ["timeout", "connect", "rate_limited", "server_error"], "failures after which the next attempt is made"
    )
    deadline: TimeLimit = setting("10m", "for all attempts of one call together")
    explore: Share = Field(
        0.05, description="`latency` only: share of calls, 0 to 1, that try another than the fastest target"
    )
    sticky: Literal["none", "conversation", "user"] = Field(
        "none",
        description="what stays with one target as long as it can serve: the calls of a conversation, or of a user",
    )
    circuit_breaker: OrOff[CircuitBreaker] = setting({}, "when a failing target is left alone; `off`: never")
    hedge: OrOnOff[Hedge] = setting("off", "ask a second target when the first is slow: `true`, `off`, or how")


def _read_route(value: Any) -> Any:
    return {"targets": value} if isinstance(value, list) else value


def _route_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<name>"
    return "<policy>" if isinstance(value, dict | RoutingPolicy) else None


Route = Annotated[
    Annotated[str, Tag("<name>")] | Annotated[RoutingPolicy, Tag("<policy>")],
    Discriminator(
        _route_kind,
        custom_error_type="flaw",
        custom_error_message="a route is due",
        custom_error_context={
            "message": "a route is a policy's name, a policy, or a list of targets",
            "hint": "write `route: POLICY`, or `- backend: PROVIDER:MODEL` lines under it",
        },
    ),
    BeforeValidator(_read_route),
]
