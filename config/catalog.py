"""What can be called: Provider, and the parameters that a call may begin with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import TypedDict

from config.entry import Entry, Section
from config.scalars import HeaderName, HeaderValue, Name, TimeLimit, Url, setting


class MissingKey:
    """Stands for an `api_key` whose environment variable is not set, until the provider has noted the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Timeouts(Entry):
    """How long one attempt may take in each phase."""

    connect: TimeLimit = setting("5s", "until the connection stands, TLS included")
    first_byte: TimeLimit = setting("2m", "from the request until the answer's first content")
    idle: TimeLimit = setting("60s", "between two pieces of a running answer")
    total: TimeLimit = setting("10m", "for the whole attempt")


class Provider(Entry):
    """A service that answers calls."""

    type: Literal["openai", "anthropic", "custom", "demo"] = Field(
        description="the dialect: `custom` is any server that speaks OpenAI's protocol, `demo` answers by itself"
    )
    api_key: HeaderValue | None = setting(
        None,
        "the provider's key; needed by openai and anthropic, optional for custom. When its environment variable is "
        "not set, the provider is unconfigured: its targets are skipped and the rest works",
        secret=True,
    )
    base_url: Url | None = setting(
        None,
        "everything before the dialect's own path: for openai and custom up to `/v1`, for anthropic without it; "
        "needed by custom",
    )
    headers: Section[dict[HeaderName, HeaderValue]] = setting({}, "further headers sent upstream", secret=True)
    timeouts: Timeouts = setting({}, "time limits of one attempt")
    max_connections: int = Field(256, ge=1, le=100_000, description="connections held open to this provider at most")

    _unconfigured: str | None = PrivateAttr(default=None)

    @property
    def unconfigured(self) -> str | None:
        """Why the provider cannot be called, or None when it can."""
        return self._unconfigured

    @model_validator(mode="wrap")
    @classmethod
    def _note_missing_key(cls, data: Any, handler: Any) -> Provider:
        key = data.get("api_key") if isinstance(data, dict) else None
        if not isinstance(key, MissingKey):
            provider: Provider = handler(data)
            return provider
        provider = handler({**data, "api_key": None})
        provider._unconfigured = key.reason
        return provider


def _stop_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DefaultParams(TypedDict, total=False):
    """Chat parameters that hold when the caller says nothing."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    temperature: Annotated[float, Field(ge=0, le=2, description="randomness, 0 to 2")]
    top_p: Annotated[float, Field(ge=0, le=1, description="nucleus sampling, 0 to 1")]
    max_tokens: Annotated[int, Field(ge=1, description="the most output tokens")]
    stop: Annotated[
        list[Name],
        Field(min_length=1, max_length=16, description="texts that end the answer"),
        BeforeValidator(_stop_list),
    ]
    seed: Annotated[int, Field(description="for repeatable sampling")]
    presence_penalty: Annotated[float, Field(ge=-2, le=2, description="-2 to 2")]
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, description="-2 to 2")]
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"],
        Field(description="how much the model may think"),
    ]
