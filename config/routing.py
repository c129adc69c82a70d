"""Where a call may go: RoutingPolicy and Target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from config.capabilities import Capabilities
from config.entry import Entry, Listed, Section
from config.prices import Priced
from config.problems import flaw
from config.scalars import TimeLimit, setting

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

    @property
    def provider(self) -> str:
        return self.backend.partition(":")[0]

    @property
    def upstream_model(self) -> str:
        return self.backend.partition(":")[2]


class RoutingPolicy(Entry):
    """Targets and how to choose among them."""

    strategy: Literal["priority", "weighted"] = Field(
        "priority",
        description="both ask the lower priority first and draw by weight inside one priority; where nothing is "
        "written, `priority` means the order of the list and `weighted` equal shares",
    )
    targets: Listed[tuple[Target, ...]] = Field(min_length=1, description="a list of at least one target")
    retries: int = Field(2, ge=0, le=10, description="further attempts after the first, over all targets")
    retry_on: Listed[frozenset[RetryClass]] = setting(
        ["timeout", "connect", "rate_limited", "server_error"], "failures after which the next attempt is made"
    )
    deadline: TimeLimit = setting("10m", "for all attempts of one call together")


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
