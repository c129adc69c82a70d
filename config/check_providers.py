"""Cross references inside a provider: which keys its type needs, which mean nothing to it, where its address ends."""

from __future__ import annotations

from collections.abc import Iterator

from config.catalog import Provider
from config.document import Document
from config.explain import Finding
from config.problems import Path, shown
from config.services import SERVICES, Service

DEMO_LACKS = ("api_key", "base_url", "headers", "max_connections", "queue", "probe")
ONLY = {"entra": "azure", "api_version": "azure", "vertex": "google"}
"""Key → the only type that it has a meaning for."""

INSTEAD = {"azure": "entra", "google": "vertex"}
"""Type → what may be written instead of an API key."""

VERSIONS = {"anthropic": ("/v1",), "google": ("/v1", "/v1beta", "/v1beta1")}
"""Dialect → ends of a base URL that belong to the dialect's own path."""

FIRST_WITH_RESPONSES = "2025-03-01"
"""The API version with which Azure's Responses API began."""


def check_providers(document: Document) -> Iterator[Finding]:
    """Everything about providers that one key alone cannot know."""
    for name, provider in document.providers.items():
        path: Path = ("providers", name)
        yield from _meaningless(path, provider)
        yield from _credentials(path, provider)
        yield from _address(path, provider)
        yield from _api(path, provider)
        yield from _headers(path, provider)


def _meaningless(path: Path, provider: Provider) -> Iterator[Finding]:
    for key in provider.model_fields_set:
        hint = ""
        if provider.type == "demo" and key in DEMO_LACKS:
            hint = "remove it: the demo calls nobody"
        elif ONLY.get(key, provider.type) != provider.type:
            hint = f"remove it: it is for providers of type `{ONLY[key]}`"
        elif key == "api" and not provider.service.has_responses:
            types = ", ".join(row.type for row in SERVICES.values() if row.has_responses)
            hint = f"remove it: only some services have both of OpenAI's APIs: {types}"
        if hint:
            message = f"`{key}` has no meaning for a provider of type `{provider.type}`"
            yield Finding((*path, key), message, hint, on="key")


def _credentials(path: Path, provider: Provider) -> Iterator[Finding]:
    instead = INSTEAD.get(provider.type, "")
    has_other = bool(instead) and getattr(provider, instead) is not None
    if has_other and provider.has_key:
        message = f"a provider takes `{instead}` or an `api_key`, not both"
        yield Finding((*path, "api_key"), message, "keep the one that is meant", on="key")
    if provider.service.needs_key and not has_other and not provider.has_key:
        message = f"a provider of type `{provider.type}` needs an `api_key`"
        yield Finding((*path, "api_key"), message, _key_hint(provider.service), on="parent")


def _key_hint(service: Service) -> str:
    written = f"write `api_key: ${{env:{service.key_variable}}}`"
    if service.type == "azure":
        return f"{written}, or `entra: …` for a token of Entra ID"
    if service.type == "google":
        return f"{written}, or `vertex: {{project: …, location: …}}` for Vertex AI"
    return written


def _address(path: Path, provider: Provider) -> Iterator[Finding]:
    here = (*path, "base_url")
    if provider.base_url is None:
        if provider.service.needs_base_url:
            message = f"a provider of type `{provider.type}` needs a `base_url`"
            hint = "write the server's address up to `/v1`, like `http://127.0.0.1:8080/v1`"
            if provider.type == "azure":
                hint = "write the resource's address, like `https://NAME.openai.azure.com`"
            yield Finding(here, message, hint, on="parent")
        return
    message = "`base_url` ends before the dialect's own path"
    for version in VERSIONS.get(provider.service.dialect, ()):
        if provider.base_url.endswith(version):
            yield Finding(here, message, f"write what stands before `{version}`")
    if provider.type == "azure" and "/openai/deployments" in provider.base_url:
        yield Finding(here, message, "write what stands before `/openai`, or the address up to `/openai/v1`")


def _api(path: Path, provider: Provider) -> Iterator[Finding]:
    at_version = provider.type == "azure" and not (provider.base_url or "").endswith("/openai/v1")
    is_old = provider.api_version[:1].isdigit() and provider.api_version < FIRST_WITH_RESPONSES
    if at_version and is_old and provider.api == "responses":
        message = f"Azure has no Responses API in version {provider.api_version}"
        hint = "end `base_url` in `/openai/v1`, or write `api_version: 2025-04-01-preview`"
        yield Finding((*path, "api"), message, hint)


def _headers(path: Path, provider: Provider) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for header in provider.headers:
        first = seen.setdefault(header.lower(), header)
        if first != header:
            message = f"the header {shown(header)} is the same as {shown(first)}"
            yield Finding((*path, "headers", header), message, "keep one of them", on="key")
