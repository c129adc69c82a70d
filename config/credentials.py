"""What stands in for an API key: Entra (azure) and Vertex (google); and MissingKey, for a secret that is not there.

Says only; nothing is exchanged for a token here, and no message may repeat what was read.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema

from config.entry import Entry
from config.nodes import kind
from config.problems import flaw
from config.scalars import HeaderValue, Url, read_url, setting

SECRETS = (("api_key",), ("entra", "client_secret"), ("vertex", "service_account"))
"""Where a provider's secrets stand; one that is missing leaves the provider unconfigured, and the rest works."""

ENTRA_STEPS = (("<word>",), ("<client>",))
"""Steps that pydantic puts into an error's location and the YAML does not have."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")
_CLIENT = re.compile(r"[A-Za-z0-9-]{1,64}")
_SCOPE = re.compile(r"[\x21-\x7e]{1,200}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:-]{0,99}")
_LOCATION = re.compile(r"[a-z][a-z0-9-]{0,49}")
_MEMBERS = ("client_email", "private_key", "token_uri")


class MissingKey:
    """Stands for a secret whose environment variable is not set, until the provider has noted the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def missing_keys(data: Any) -> dict[str, str]:
    """The secrets of a provider's mapping that are missing, and why."""
    found = {}
    for path in SECRETS:
        value = data
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, MissingKey):
            found[".".join(path)] = value.reason
    return found


def _none_when_missing(value: Any) -> Any:
    return None if isinstance(value, MissingKey) else value


def _text(value: Any, example: str) -> str:
    if not isinstance(value, str):
        raise flaw(f"a text is due, found {kind(value)}", f"write it like `{example}`")
    return value


def read_client_secret(value: Any) -> str:
    if isinstance(value, MissingKey):
        return ""
    text = _text(value, "${env:AZURE_CLIENT_SECRET}")
    if not text or text != text.strip() or not text.isprintable():
        raise flaw("this is no client secret", "printable text, with no space or line break at its ends")
    return text


def read_service_account(value: Any) -> str | None:
    """The JSON text of a service account's key file, once it is sure that a token can be asked for with it."""
    if isinstance(value, MissingKey):
        return None
    text = _text(value, "${file:service-account.json}")
    try:
        account = json.loads(text)
    except (ValueError, RecursionError):
        account = None
    if not isinstance(account, dict):
        hint = "give the content of the key file: `${file:service-account.json}`"
        raise flaw("this is not the JSON of a service account", hint)
    if account.get("type", "service_account") != "service_account":
        hint = "make a key of a service account in Google's console, and give that file's content"
        raise flaw("this is the JSON of other credentials than a service account's", hint)
    for member in _MEMBERS:
        if not isinstance(account.get(member), str) or not account[member]:
            raise flaw(f"the JSON of this service account lacks `{member}`", "give the key file as Google made it")
    _check_members(account)
    return text


def _check_members(account: dict[str, Any]) -> None:
    hint = "give the key file as Google made it"
    if "PRIVATE KEY-----" not in account["private_key"]:
        raise flaw("the `private_key` of this service account is no PEM text", hint)
    try:
        read_url(account["token_uri"])
    except ValueError:
        raise flaw("the `token_uri` of this service account is no URL", hint) from None


def _matching(pattern: re.Pattern[str], message: str, hint: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise flaw(message, hint)
        return text

    return AfterValidator(check)


_GUID = "write its id, like `11111111-2222-3333-4444-555555555555`"

ApiKey = Annotated[HeaderValue | None, BeforeValidator(_none_when_missing)]
ClientSecret = Annotated[str, PlainValidator(read_client_secret), WithJsonSchema({"type": "string"})]
ServiceAccount = Annotated[str | None, PlainValidator(read_service_account), WithJsonSchema({"type": "string"})]
TenantId = Annotated[str, _matching(_TENANT, "this is no tenant of Entra ID", f"{_GUID}, or its domain")]
ClientId = Annotated[str, _matching(_CLIENT, "this is no application of Entra ID", _GUID)]
Scope = Annotated[str, _matching(_SCOPE, "this is no scope", "write one, like `https://ai.azure.com/.default`")]
Project = Annotated[str, _matching(_PROJECT, "this is no project's id", "write it as Google's console shows it")]
Location = Annotated[
    str, _matching(_LOCATION, "this is no location of Vertex AI", "write one, like `europe-west4` or `global`")
]


class Entra(Entry):
    """An application of Microsoft Entra ID, whose token is sent instead of an API key. Only for azure."""

    tenant_id: TenantId = Field(description="the tenant (directory): its id or domain")
    client_id: ClientId = Field(description="the application (client) id")
    client_secret: ClientSecret = Field(
        repr=False,
        description="the application's secret; when its environment variable is not set, the provider is unconfigured",
    )
    authority: Url = setting("https://login.microsoftonline.com", "who gives the token; other clouds have another")
    scope: Scope = setting("https://cognitiveservices.azure.com/.default", "what the token is for")


class Vertex(Entry):
    """Google's Vertex AI instead of the Gemini API: calls go to a project, with a token instead of an API key. Only for
    google."""

    project: Project = Field(description="the project's id")
    location: Location = Field(description="the region, like `europe-west4`, or `global`")
    service_account: ServiceAccount = Field(
        None,
        repr=False,
        description="the JSON text of a service account's key file, best as `${file:…}`; when its environment variable "
        "is not set, the provider is unconfigured; default: the machine's own account, from Google's metadata server",
    )


def _entra_kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "<word>"
    if value is None:
        return "<nothing>"
    return "<client>" if isinstance(value, dict | Entra) else None


EntraOrIdentity = Annotated[
    Annotated[Literal["managed_identity"], Tag("<word>")]
    | Annotated[Entra, Tag("<client>")]
    | Annotated[None, Tag("<nothing>")],
    Discriminator(
        _entra_kind,
        custom_error_type="flaw",
        custom_error_message="Entra credentials are due",
        custom_error_context={
            "message": "`entra` is a mapping, or the word `managed_identity`",
            "hint": "write `entra: {tenant_id: …, client_id: …, client_secret: …}`",
        },
    ),
]
