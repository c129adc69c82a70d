"""Document: the whole of what may be said, and Server, its static part."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from config.catalog import Provider
from config.entry import Entry, Listed, Section
from config.limits import UNAUTHENTICATED_REQUESTS_PER_MINUTE, UnauthenticatedLimits
from config.models import FrontendModel
from config.nodes import kind
from config.problems import flaw
from config.routing import RoutingPolicy
from config.scalars import Address, Duration, ExistingFile, FilePath, ModelName, Name, Size, Slug, setting
from config.tenancy import Partner


def _number_one(value: Any) -> Any:
    """Literal[1] alone would take true and 1.0 for 1."""
    if type(value) is not int:
        raise flaw(f"the number 1 is due, found {kind(value)}", "write `1`, without quotes")
    return value


One = Annotated[Literal[1], BeforeValidator(_number_one)]


class Tls(Entry):
    """Serve HTTPS with these two files (PEM)."""

    certificate: ExistingFile = Field(description="the certificate and its chain")
    key: ExistingFile = Field(description="the private key")


class Server(Entry):
    """The static part: a change takes effect at the next start."""

    listen: Address = setting(
        "127.0.0.1:8000",
        "HOST:PORT, `[::1]:8000`, `:8000` (every IPv4 interface) or `unix:/PATH`; port 0 is any free one",
    )
    tls: Tls | None = Field(None, description="serve HTTPS; default: plain HTTP")
    data_dir: FilePath = setting("./var", "folder of the database, the journal and `admin.key`")
    database: Literal["sqlite"] = Field("sqlite", description="where records are kept: `scaigrid.db` in `data_dir`")
    shared_state: Literal["memory"] = Field("memory", description="where counters live")
    workers: One = Field(1, description="processes that serve")
    body_limit: Size = setting("20MB", "the largest request body, uploads excepted")
    upload_limit: Size = setting("100MB", "the largest upload, such as a recording to be written down")
    responses_retention: Duration = setting(
        "720h",
        "how long answers of `/oai/v1/responses` are kept, for `previous_response_id`; `0s` keeps none",
    )
    unauthenticated_rate_limits: UnauthenticatedLimits = setting(
        {},
        "for calls without a valid key, by IP address; default: "
        f"{UNAUTHENTICATED_REQUESTS_PER_MINUTE} requests per minute",
    )
    config_writable: bool = Field(
        True, description="whether the API, and with it `scaigrid switch`, may change these files"
    )
    drain_timeout: Duration = setting("30s", "how long running calls may finish after SIGTERM")


class Document(Entry):
    """A whole configuration."""

    version: One = Field(description="the version of this format: `version: 1`")
    include: Listed[tuple[Name, ...]] = setting([], "globs of further files, relative to this one, merged into it")
    server: Server = setting({}, "the static part: a change takes effect at the next start")
    providers: Section[dict[Slug, Provider]] = setting({}, "the services that answer calls, by name")
    models: Section[dict[ModelName, FrontendModel]] = setting({}, "frontend models: the names that callers ask for")
    routing_policies: Section[dict[Slug, RoutingPolicy]] = setting({}, "policies that models share, by name")
    partners: Section[dict[Slug, Partner]] = setting(
        {}, "partners, their tenants, users and keys; partner and tenant `default` exist without being written"
    )
