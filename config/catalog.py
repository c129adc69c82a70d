"""What can be called: Provider, its time limits, how it is reached, and where calls wait for it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PrivateAttr, model_validator

from config.credentials import ApiKey, EntraOrIdentity, Vertex, missing_keys
from config.entry import Entry, Section
from config.problems import flaw
from config.scalars import HeaderName, HeaderValue, TimeLimit, Url, setting
from config.services import SERVICES, Api, Service, ServiceType

_API_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?|preview|latest|v1")


def check_api_version(text: str) -> str:
    if not _API_VERSION.fullmatch(text):
        raise flaw("{} is no API version of Azure's", "write a date, like `2024-10-21` or `2025-04-01-preview`", text)
    return text


def _usual_api(data: dict[str, Any]) -> Api:
    return SERVICES[data["type"]].api


class Timeouts(Entry):
    """How long one attempt may take in each phase."""

    connect: TimeLimit = setting("5s", "until the connection stands, TLS included")
    first_byte: TimeLimit = setting("2m", "from the request until the answer's first content")
    idle: TimeLimit = setting("60s", "between two pieces of a running answer")
    total: TimeLimit = setting("10m", "for the whole attempt")


class Queue(Entry):
    """Where calls wait while `max_connections` calls run. Tenants take turns, each by its weight."""

    size: int = Field(
        100, ge=0, le=100_000, description="calls that may wait; further ones go to the next target, or get 429"
    )
    wait: TimeLimit = setting("30s", "the longest that a call waits; then it goes to the next target, or gets 429")


def check_interval(seconds: float) -> float:
    if seconds < 1:
        raise flaw("a target is probed once a second at most", "write it like `30s`")
    return seconds


class Probe(Entry):
    """Asks the provider itself, beside the calls, whether it is there. Costs no tokens."""

    interval: Annotated[TimeLimit, AfterValidator(check_interval)] = setting("30s", "from one probe to the next")


class Provider(Entry):
    """A service that answers calls."""

    type: ServiceType = Field(
        description="which service it is: `custom` is any server that speaks OpenAI's protocol, "
        "`demo` answers by itself"
    )
    api_key: ApiKey = setting(
        None,
        "the provider's key; needed unless the service is self-hosted, `custom` or `demo`. When its environment "
        "variable is not set, the provider is unconfigured: its targets are skipped and the rest works",
        secret=True,
    )
    entra: EntraOrIdentity = Field(
        None,
        repr=False,
        description="azure only, instead of `api_key`: an application of Entra ID, or `managed_identity` for the "
        "identity of the machine",
    )
    vertex: Vertex | None = Field(
        None, repr=False, description="google only, instead of `api_key`: Vertex AI instead of the Gemini API"
    )
    base_url: Url | None = setting(
        None,
        "everything before the dialect's own path: in OpenAI's dialect up to `/v1`, for anthropic and google without "
        "a version, for azure `https://NAME.openai.azure.com` or the same with `/openai/v1`; needed by azure and "
        "custom, otherwise the service's own",
    )
    api_version: Annotated[str, AfterValidator(check_api_version)] = setting(
        "2024-10-21",
        "azure only: the version of the API; to a `base_url` that ends in `/openai/v1` only sent when it is written",
    )
    api: Api = Field(
        default_factory=_usual_api,
        description="which of OpenAI's APIs is called for chats, where the service has both; default: `chat`, for "
        "perplexity `responses`",
    )
    headers: Section[dict[HeaderName, HeaderValue]] = setting({}, "further headers sent upstream", secret=True)
    timeouts: Timeouts = setting({}, "time limits of one attempt")
    max_connections: int = Field(256, ge=1, le=100_000, description="connections held open to this provider at most")
    queue: Section[Queue] = setting({}, "where calls wait for a connection")
    probe: Probe | None = Field(None, description="ask the provider now and then whether it is there; default: never")

    _missing: dict[str, str] = PrivateAttr(default_factory=dict)

    @property
    def service(self) -> Service:
        """What is known about all providers of this type."""
        return SERVICES[self.type]

    @property
    def unconfigured(self) -> str | None:
        """Why the provider cannot be called, or None when it can."""
        return next(iter(self._missing.values()), None)

    @property
    def has_key(self) -> bool:
        """An API key is written, also when its environment variable is not set."""
        return self.api_key is not None or "api_key" in self._missing

    @model_validator(mode="wrap")
    @classmethod
    def _note_missing_keys(cls, data: Any, handler: Any) -> Provider:
        provider: Provider = handler(data)
        provider._missing = missing_keys(data)
        return provider
