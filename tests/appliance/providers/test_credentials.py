"""What is asked of the endpoints that give tokens, byte for byte, and how their answers are read."""

from __future__ import annotations

import traceback
from dataclasses import replace
from typing import Any, cast
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from appliance.providers.credentials import (
    Credential,
    EntraClient,
    GoogleMachine,
    ManagedIdentity,
    ServiceAccount,
    Token,
)

NOW = 1_800_000_000.75
PRIVATE = rsa.generate_private_key(65537, 2048)
PEM = PRIVATE.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
ENTRA = EntraClient("acme.example", "1111-2222", "s3cret&more=+%")
ACCOUNT = ServiceAccount("gateway@acme.iam.gserviceaccount.com", PEM, "https://oauth2.test/token")
ALL: list[Credential] = [ENTRA, ManagedIdentity(), ACCOUNT, GoogleMachine()]
FORM = "application/x-www-form-urlencoded"


def name_of(credential: Credential) -> str:
    return type(credential).__name__


# -- what is asked ----------------------------------------------------------------------------------------------------


def test_entra_is_asked_with_the_client_credentials_grant() -> None:
    request = ENTRA.request(NOW)
    assert (request.method, request.url) == (
        "POST",
        "https://login.microsoftonline.com/acme.example/oauth2/v2.0/token",
    )
    assert request.headers["Content-Type"] == FORM
    assert parse_qsl(request.body.decode(), strict_parsing=True) == [
        ("grant_type", "client_credentials"),
        ("client_id", "1111-2222"),
        ("client_secret", "s3cret&more=+%"),
        ("scope", "https://cognitiveservices.azure.com/.default"),
    ]


def test_another_cloud_s_authority_and_scope() -> None:
    client = EntraClient("t/../x", "c", "s", "https://login.other.test/", "https://ai.other.test/.default")
    request = client.request(NOW)
    assert request.url == "https://login.other.test/t%2F..%2Fx/oauth2/v2.0/token"
    assert parse_qs(request.body.decode())["scope"] == ["https://ai.other.test/.default"]


def test_the_metadata_service_of_an_azure_machine() -> None:
    request = ManagedIdentity().request(NOW)
    split = urlsplit(request.url)
    assert (request.method, split.scheme, split.netloc, request.body) == ("GET", "http", "169.254.169.254", b"")
    assert split.path == "/metadata/identity/oauth2/token"
    assert parse_qs(split.query) == {
        "api-version": ["2018-02-01"],
        "resource": ["https://cognitiveservices.azure.com"],
    }
    assert request.headers["Metadata"] == "true", "without it the service refuses, lest a proxy be tricked into asking"


def test_the_metadata_server_of_a_google_machine() -> None:
    request = GoogleMachine().request(NOW)
    assert (request.method, request.body) == ("GET", b"")
    assert request.url == ("http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token")
    assert request.headers["Metadata-Flavor"] == "Google"


def test_a_service_account_signs_what_it_asks() -> None:
    request = ACCOUNT.request(NOW)
    assert (request.method, request.url) == ("POST", "https://oauth2.test/token")
    assert request.headers["Content-Type"] == FORM
    form = dict(parse_qsl(request.body.decode(), strict_parsing=True))
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    claims = jwt.decode(
        form["assertion"],
        PRIVATE.public_key(),
        algorithms=["RS256"],
        audience="https://oauth2.test/token",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims == {
        "iss": "gateway@acme.iam.gserviceaccount.com",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.test/token",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    }
    assert "BEGIN" not in request.body.decode()


def test_a_signature_of_another_key_is_none_of_ours() -> None:
    stranger = rsa.generate_private_key(65537, 2048).public_key()
    assertion = dict(parse_qsl(ACCOUNT.request(NOW).body.decode()))["assertion"]
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(assertion, stranger, algorithms=["RS256"], audience="https://oauth2.test/token")


def encrypted_pem() -> str:
    locked = serialization.BestAvailableEncryption(b"password")
    return PRIVATE.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked).decode()


def curve_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "no PEM",
        "-----BEGIN PRIVATE KEY-----\nAAAAsecret\n-----END PRIVATE KEY-----\n",
        encrypted_pem(),
        curve_pem(),
    ],
    ids=["empty", "text", "garbage", "encrypted", "another kind"],
)
def test_a_key_that_cannot_sign_is_told_without_a_word_of_it(pem: str) -> None:
    with pytest.raises(ValueError, match="private_key of the service account") as caught:
        ServiceAccount("a@b.test", pem, "https://oauth2.test/token").request(NOW)
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value)) < 100


# -- what is kept to ourselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ALL, ids=name_of)
def test_a_credential_does_not_show_its_secrets(credential: Credential) -> None:
    shown = repr(credential) + str(credential)
    assert [secret for secret in credential.secrets if secret in shown] == []
    assert "PRIVATE" not in shown


def test_its_secrets_are_those_that_it_was_given() -> None:
    assert ENTRA.secrets == ("s3cret&more=+%",)
    assert ACCOUNT.secrets == (PEM,)
    assert ManagedIdentity().secrets == GoogleMachine().secrets == ()


@pytest.mark.parametrize("credential", ALL, ids=name_of)
def test_equal_credentials_share_a_token(credential: Credential) -> None:
    """Tokens are kept by the credential: after a reload it is another object."""
    assert replace(cast(Any, credential)) == credential
    assert {credential: "token"}[replace(cast(Any, credential))] == "token"
    assert EntraClient("acme.example", "1111-2222", "another") not in {ENTRA: "token"}


# -- what is answered -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("credential", ALL, ids=name_of)
@pytest.mark.parametrize(
    ("body", "token"),
    [
        (b'{"access_token": "t", "expires_in": 3599, "token_type": "Bearer"}', Token("t", 3599)),
        (b'{"access_token": "t", "expires_in": "3599"}', Token("t", 3599)),
        (b'{"access_token": "t"}', Token("t", 300)),
        (b'{"access_token": "t", "expires_in": null}', Token("t", 300)),
    ],
)
def test_an_answer_with_a_token(credential: Credential, body: bytes, token: Token) -> None:
    assert credential.read(body) == token


NO_TOKEN = [
    b"",
    b"null",
    b"[]",
    b'"t"',
    b"<html>",
    b"{}",
    b'{"access_token": ""}',
    b'{"access_token": null}',
    b'{"access_token": 7}',
    b'{"access_token": ["t"]}',
    b'{"access_token": "t", "expires_in": "soon"}',
    b'{"access_token": "t", "expires_in": [1]}',
    b'{"access_token": "t", "expires_in": {"s": 1}}',
    b'{"access_token": "t", "expires_in": NaN}',
    b'{"access_token": "t", "expires_in": "nan"}',
    b'{"access_token": "t", "expires_in": "inf"}',
    b'{"access_token": "t", "expires_in": -5}',
    b'{"access_token": "two\\r\\nX-Lines: 1"}',
    b'{"access_token": "nul\\u0000"}',
    b'{"access_token": "\\u20ac"}',
    b'{"access_token": "\xff"}',
]


@pytest.mark.parametrize("body", NO_TOKEN, ids=lambda body: repr(body[:60]))
def test_an_answer_without_one_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        ENTRA.read(body)


@given(st.one_of(st.binary(max_size=200), st.from_regex(rb'\{"access_token":.{0,50}\}', fullmatch=True)))
def test_any_answer_is_a_token_or_a_value_error(body: bytes) -> None:
    try:
        token = ENTRA.read(body)
    except ValueError:
        return
    assert token.value.isascii()
    assert token.value.isprintable()
    assert 0 <= token.expires_in_s < float("inf")
