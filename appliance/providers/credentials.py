"""Credentials that are exchanged for short-lived tokens: what is asked of whom, and how the answer is read.

Nothing here calls anybody; state/tokens.py does, and keeps the tokens. Sources: Microsoft's OAuth 2.0 client
credentials grant and instance metadata service; Google's JWT bearer grant for service accounts (RFC 7523) and metadata
server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
GOOGLE_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
AZURE_METADATA = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01"
GRANT_S = 3600
"""How long the signed request of a service account holds; also Google's longest token."""

UNSAID_S = 300.0
"""How long a token is taken to live when the answer does not say it."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}


class TokenRequest(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Token(NamedTuple):
    value: str
    expires_in_s: float


class Credential(Protocol):
    @property
    def secrets(self) -> tuple[str, ...]:
        """Texts that no message may repeat."""
        ...

    def request(self, now_unix: float) -> TokenRequest:
        """Raises ValueError when the credential is of no use; its text holds no secret."""
        ...

    def read(self, body: bytes) -> Token:
        """Raises ValueError when the answer holds no token."""
        ...


class _Grant:
    """What all token endpoints answer: {"access_token", "expires_in"}; Azure's metadata service writes it as text."""

    def read(self, body: bytes) -> Token:
        try:
            answer: Any = msgspec.json.decode(body)
        except RecursionError as error:
            raise ValueError("the answer is nested too deep") from error
        value = answer.get("access_token") if isinstance(answer, dict) else None
        # It is going to stand in a header: a line break would make two of one.
        if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()):
            raise ValueError("the answer holds no access_token")
        return Token(value, _seconds(answer.get("expires_in") or UNSAID_S))


def _seconds(value: Any) -> float:
    if not isinstance(value, int | float | str):
        raise ValueError("expires_in is no number")
    try:
        seconds = float(value)
    except OverflowError as error:
        raise ValueError("expires_in is no time") from error
    if not 0 <= seconds < math.inf:
        raise ValueError("expires_in is no time")
    return seconds


@dataclass(frozen=True, slots=True)
class EntraClient(_Grant):
    """An application registered in Entra ID, with its secret."""

    tenant_id: str
    client_id: str
    client_secret: str = field(repr=False)
    authority: str = "https://login.microsoftonline.com"
    scope: str = AZURE_SCOPE

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.client_secret,)

    def request(self, now_unix: float) -> TokenRequest:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "scope": self.scope,
        }
        url = f"{self.authority.rstrip('/')}/{quote(self.tenant_id, safe='')}/oauth2/v2.0/token"
        return TokenRequest("POST", url, _FORM, urlencode(form).encode())


@dataclass(frozen=True, slots=True)
class ManagedIdentity(_Grant):
    """The identity of the Azure machine that we run on."""

    scope: str = AZURE_SCOPE

    @property
    def secrets(self) -> tuple[str, ...]:
        return ()

    def request(self, now_unix: float) -> TokenRequest:
        resource = quote(self.scope.removesuffix("/.default"), safe="")
        return TokenRequest("GET", f"{AZURE_METADATA}&resource={resource}", {"Metadata": "true"}, b"")


@dataclass(frozen=True, slots=True)
class ServiceAccount(_Grant):
    """A Google service account: a request signed with its key is exchanged for a token."""

    client_email: str
    private_key: str = field(repr=False)
    token_uri: str

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.private_key,)

    def request(self, now_unix: float) -> TokenRequest:
        issued = int(now_unix)
        claims = {
            "iss": self.client_email,
            "scope": GOOGLE_SCOPE,
            "aud": self.token_uri,
            "iat": issued,
            "exp": issued + GRANT_S,
        }
        try:
            assertion = jwt.encode(claims, self.private_key, algorithm="RS256")
        except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError):
            raise ValueError("the private_key of the service account is no RSA key that can be read") from None
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        return TokenRequest("POST", self.token_uri, _FORM, urlencode(form).encode())


@dataclass(frozen=True, slots=True)
class GoogleMachine(_Grant):
    """The service account of the Google machine that we run on."""

    @property
    def secrets(self) -> tuple[str, ...]:
        return ()

    def request(self, now_unix: float) -> TokenRequest:
        return TokenRequest("GET", GOOGLE_METADATA, {"Metadata-Flavor": "Google"}, b"")
