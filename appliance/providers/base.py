"""What a provider offers: an Endpoint made at compile time, and the classing of its failures.

A provider is one small class per type; what is the same for all stands here. Everything that can be computed once is
computed in `prepare`, so that a request only looks things up.
"""

from __future__ import annotations

import email.utils
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from appliance.errors import clipped
from appliance.exchange import Failure, FallbackReason, Upload, Upstream
from appliance.formats import responses
from appliance.formats.base import Passthrough, UpstreamError, UpstreamFormat
from appliance.providers.credentials import Credential
from appliance.providers.refusal_reasons import refusal_reason

if TYPE_CHECKING:
    import config  # for its types only: the request path loads no YAML library


SECRET_START = 8
"""So many characters of a secret betray it: texts may have been cut in its middle before they are scrubbed."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    """One configured provider, ready to be called. Timeouts are in seconds; `secrets` are scrubbed from every text.

    `dialect` is the name of what it speaks in chats: callers of the same dialect go through undecoded, with the help of
    `passthrough`; for the others there is `format`. A `credential` is exchanged for a short-lived token before a call.
    """

    name: str
    provider: Provider
    dialect: str
    format: UpstreamFormat
    passthrough: Passthrough | None
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    secrets: tuple[str, ...] = field(repr=False)
    connect_s: float
    first_byte_s: float
    idle_s: float
    total_s: float
    max_connections: int
    unconfigured: str | None = None
    credential: Credential | None = field(default=None, repr=False)
    query: str = ""
    """Put behind every URL, with its question mark."""

    def url(self, operation: str, upstream_model: str = "", stream: bool = False) -> str:
        return self.provider.url(self, operation, upstream_model, stream)

    def scrub(self, text: str) -> str:
        """The text without this provider's secrets, for messages and logs that quote the upstream."""
        for secret in self.secrets:
            text = _without(text, secret)
        return text


PATHS = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "embed": "/embeddings",
    "image": "/images/generations",
    "transcribe": "/audio/transcriptions",
    "translate": "/audio/translations",
    "speak": "/audio/speech",
    "rerank": "/rerank",
    "models": "/models",
}
"""OpenAI's paths, behind a base URL that ends in /v1."""


_TOLD_OF_MODELS = ("owned_by", "display_name", "name", "context_window", "context_length", "max_model_len")


class Provider:
    """What an OpenAI-like provider does; the others override what differs. One instance per type, without state."""

    type: str
    format_name: str = "openai"
    format: UpstreamFormat
    passthrough: Passthrough | None = None
    in_process: ClassVar[bool] = False

    def auth_headers(self, entry: config.Provider) -> dict[str, str]:
        return {"Authorization": f"Bearer {entry.api_key}"} if entry.api_key else {}

    def credential(self, entry: config.Provider) -> Credential | None:
        """What has to be exchanged for a token first; only some providers have it."""
        return None

    def base_url(self, entry: config.Provider) -> str:
        return entry.base_url or entry.service.base_url

    def url(self, endpoint: Endpoint, operation: str, upstream_model: str, stream: bool) -> str:
        return endpoint.base_url + self.path(endpoint, operation) + endpoint.query

    def path(self, endpoint: Endpoint, operation: str) -> str:
        is_responses = operation == "chat" and endpoint.dialect == "responses"
        return PATHS["responses" if is_responses else operation]

    def query(self, entry: config.Provider) -> str:
        return ""

    def spoken(self, entry: config.Provider) -> tuple[str, UpstreamFormat, Passthrough | None]:
        """The dialect of its chats: name, format, and the way through for callers of the same dialect."""
        if entry.api == "responses":
            return "responses", responses, responses.PASSTHROUGH
        return self.format_name, self.format, self.passthrough

    def prepare(self, name: str, entry: config.Provider) -> Endpoint:
        """Compile time: everything a call needs, from one entry of the YAML."""
        credential = self.credential(entry)
        texts = (entry.api_key, *entry.headers.values(), *(credential.secrets if credential else ()))
        secrets = [text for text in texts if text and len(text) >= SECRET_START]
        fixed = {"Accept-Encoding": "identity", "User-Agent": "scaigrid"}
        dialect, chat_format, passthrough = self.spoken(entry)
        return Endpoint(
            name=name,
            provider=self,
            dialect=dialect,
            format=chat_format,
            passthrough=passthrough,
            base_url=self.base_url(entry),
            headers=overridden(fixed | self.auth_headers(entry), entry.headers),
            secrets=tuple(sorted(secrets, key=len, reverse=True)),  # one may begin another
            connect_s=entry.timeouts.connect,
            first_byte_s=entry.timeouts.first_byte,
            idle_s=entry.timeouts.idle,
            total_s=entry.timeouts.total,
            max_connections=entry.max_connections,
            unconfigured=entry.unconfigured,
            credential=credential,
            query=self.query(entry),
        )

    def classify(self, endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return classify(endpoint, status, headers, body)

    def models_of(self, body: Any) -> list[dict[str, Any]]:
        """What a list of models says: id, and what else is told. Raises KeyError or TypeError for another shape."""
        return [
            {"id": model["id"]} | {name: model[name] for name in _TOLD_OF_MODELS if model.get(name) is not None}
            for model in (body if isinstance(body, list) else body["data"])
        ]

    async def open(self, endpoint: Endpoint, operation: str, body: bytes, upload: Upload | None = None) -> Upstream:
        """Only providers that answer inside the process have it; all others are called over HTTP by state.pools."""
        raise AssertionError(f"{self.type} is called over HTTP")


def overridden(ours: Mapping[str, str], operators: Mapping[str, str]) -> dict[str, str]:
    """The operator's headers take the place of ours, however they are spelt: which of two counts, nobody knows."""
    written = {name.lower() for name in operators}
    return {name: value for name, value in ours.items() if name.lower() not in written} | dict(operators)


def _without(text: str, secret: str) -> str:
    start = secret[:SECRET_START]
    place = text.find(start)
    while place >= 0:
        end = place + len(start)
        while end < len(text) and end - place < len(secret) and text[end] == secret[end - place]:
            end += 1
        text = f"{text[:place]}[redacted]{text[end:]}"
        place = text.find(start, place + len("[redacted]"))
    return text


_QUOTA_WORDS = ("insufficient_quota", "billing", "credit balance", "exceeded your current quota", "quota_exceeded")
_BAD_KEY_WORDS = ("api key not valid", "api_key_invalid", "invalid api key", "incorrect api key")

CALLERS_STATUSES = (400, 413, 422)
REFUSALS: dict[FallbackReason, str] = {
    "context_window": "refused the request: its input is too long for the model",
    "content_filter": "refused the request: its content filter objects to it",
}


def classify(endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """An error answer → whose fault it is (contract section 3). Status first; text only where status says little."""
    error = endpoint.format.decode_error(status, body)
    text = endpoint.scrub(error.message)
    detail = f"{endpoint.name} answered {status}: {text}"
    if reason := refusal_reason(status, error):
        return _refused(endpoint, status, error, reason, detail)
    quota = _is_quota(error)
    if status == 400 and quota:
        message = f"provider {endpoint.name} refuses the gateway: its quota or credit is used up"
        return Failure("quota", "BACKEND_ERROR", message, status, detail=detail)
    if status == 400 and any(word in _words(error) for word in _BAD_KEY_WORDS):
        return Failure("operator", "BACKEND_ERROR", _operator_message(endpoint, 401), status, detail=detail)
    if status in CALLERS_STATUSES:
        return Failure("caller", "VALIDATION_ERROR", text, status, param=_param(endpoint, error), detail=detail)
    if status == 429:
        wait = retry_after(headers, time.time())
        if wait is None:
            wait = error.retry_after
        message = f"provider {endpoint.name} limits the gateway" + (": its quota is used up" if quota else "")
        return Failure(
            "quota" if quota else "rate_limited", "BACKEND_RATE_LIMITED", message, status, wait, None, detail
        )
    if status in (408, 504):
        return Failure(
            "timeout", "BACKEND_TIMEOUT", f"provider {endpoint.name} answered {status}", status, detail=detail
        )
    if status >= 500:
        wait = retry_after(headers, time.time())
        message = f"provider {endpoint.name} answered {status}"
        return Failure("server_error", "BACKEND_ERROR", message, status, wait, None, detail)
    return Failure("operator", "BACKEND_ERROR", _operator_message(endpoint, status), status, detail=detail)


def _refused(endpoint: Endpoint, status: int, error: UpstreamError, reason: FallbackReason, detail: str) -> Failure:
    """The request itself is refused, whatever the status says: no target of this model is asked with it again.

    Behind a status that is not the caller's, the text may name the operator's account (xAI's does) and stays here.
    """
    message, param = f"provider {endpoint.name} {REFUSALS[reason]}", None
    if status in CALLERS_STATUSES:
        message, param = endpoint.scrub(error.message), _param(endpoint, error)
    return Failure("caller", "VALIDATION_ERROR", message, status, param=param, detail=detail, reason=reason)


def _param(endpoint: Endpoint, error: UpstreamError) -> str | None:
    return clipped(endpoint.scrub(error.param)) if error.param else None


def _words(error: UpstreamError) -> str:
    return f"{error.type} {error.code} {error.message}".lower()


def _is_quota(error: UpstreamError) -> bool:
    """Texts of passing limits name the page where a higher one is bought: OpenAI's and Groq's have `billing` in it."""
    return error.code != "rate_limit_exceeded" and any(word in _words(error) for word in _QUOTA_WORDS)


def _operator_message(endpoint: Endpoint, status: int) -> str:
    reasons = {
        401: "refused the gateway's credentials",
        402: "asks for payment",
        403: "refused the gateway's credentials",
        404: "does not know the backend model or URL",
    }
    reason = reasons.get(status, "did not accept the gateway's call")
    return f"provider {endpoint.name} {reason} ({status}); the operator has to mend its entry in scaigrid.yaml"


def retry_after(headers: Mapping[str, str], now_unix: float) -> float | None:
    """Retry-After in seconds from its three forms: milliseconds (OpenAI's own header), seconds, HTTP date."""
    for header, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(header, "nan")) / unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now_unix)
    except (ValueError, TypeError, OverflowError):
        return None
