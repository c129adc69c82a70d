"""Entra and Vertex instead of an API key: what they hold, and what happens when their secrets are missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

import config
from config.credentials import MissingKey, missing_keys

Load = Callable[..., config.Loaded]
ENTRA = (
    "providers:\n  a: {type: azure, base_url: 'https://h', "
    "entra: {tenant_id: t, client_id: c, client_secret: SECRET}}\n"
)
VERTEX = "providers:\n  g: {type: google, vertex: {project: p, location: global, service_account: SECRET}}\n"
ACCOUNT = json.dumps(
    {
        "type": "service_account",
        "client_email": "a@p.iam.gserviceaccount.com",
        "private_key": "-----BEGIN PRIVATE KEY-----\nCANARY\n-----END PRIVATE KEY-----\n",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
)


def test_an_application_of_entra_has_microsofts_public_cloud_without_being_asked(load_text: Load) -> None:
    entra = load_text(ENTRA.replace("SECRET", "'${env:S}'"), {"S": "CANARY"}).document.providers["a"].entra
    assert isinstance(entra, config.Entra)
    assert (entra.tenant_id, entra.client_id, entra.client_secret) == ("t", "c", "CANARY")
    assert entra.authority == "https://login.microsoftonline.com"
    assert entra.scope == "https://cognitiveservices.azure.com/.default"


def test_the_identity_of_the_machine_is_one_word(load_text: Load) -> None:
    text = "providers:\n  a: {type: azure, base_url: 'https://h', entra: '${env:WORD}'}\n"
    provider = load_text(text, {"WORD": "managed_identity"}).document.providers["a"]
    assert (provider.entra, provider.unconfigured, provider.has_key) == ("managed_identity", None, False)


def test_a_service_account_is_kept_as_the_text_that_was_given(load_text: Load, folder: Path) -> None:
    (folder / "sa.json").write_text(ACCOUNT + "\n")
    loaded = load_text(VERTEX.replace("SECRET", "'${file:sa.json}'"))
    vertex = loaded.document.providers["g"].vertex
    assert vertex is not None
    assert (vertex.project, vertex.location, vertex.service_account) == ("p", "global", ACCOUNT)
    assert folder / "sa.json" in loaded.files


def test_without_a_service_account_the_machines_own_is_meant(load_text: Load) -> None:
    provider = load_text(VERTEX.replace(", service_account: SECRET", "")).document.providers["g"]
    assert provider.vertex == config.Vertex(project="p", location="global")
    assert provider.unconfigured is None


@pytest.mark.parametrize(("text", "name"), [(ENTRA, "a"), (VERTEX, "g")])
def test_a_provider_whose_secret_is_not_set_is_unconfigured(load_text: Load, text: str, name: str) -> None:
    provider = load_text(text.replace("SECRET", "'${env:MISSING}'")).document.providers[name]
    assert provider.unconfigured == "environment variable MISSING is not set"
    assert provider.has_key is False


def test_an_empty_secret_is_a_missing_one(load_text: Load) -> None:
    entra = load_text(ENTRA.replace("SECRET", "'${env:S:-}'")).document.providers["a"]
    assert entra.unconfigured == "the reference in client_secret gives an empty text"
    vertex = load_text(VERTEX.replace("SECRET", "'${env:S}'"), {"S": ""}).document.providers["g"]
    assert vertex.unconfigured == "the reference in service_account gives an empty text"


def test_what_else_is_wrong_beside_a_missing_secret_is_still_reported(
    problems_of: Callable[..., list[str]],
) -> None:
    text = ENTRA.replace("SECRET", "'${env:MISSING}', tenant: x").replace("tenant_id: t, ", "")
    assert [line.partition(": ")[2].partition(" (")[0] for line in problems_of(text)] == [
        "`tenant_id` is missing",
        "unknown key `tenant`",
    ]


def test_secrets_are_not_printed(load_text: Load) -> None:
    entra = load_text(ENTRA.replace("SECRET", "'${env:S}'"), {"S": "CANARY"})
    vertex = load_text(VERTEX.replace("SECRET", "'${env:S}'"), {"S": ACCOUNT})
    for document, member in ((entra.document.providers["a"], "entra"), (vertex.document.providers["g"], "vertex")):
        assert "CANARY" not in f"{document!r} {document} {getattr(document, member)!r} {getattr(document, member)}"


def test_an_account_nested_too_deeply_is_refused_without_being_shown() -> None:
    with pytest.raises(ValidationError, match="not the JSON of a service account") as caught:
        config.Vertex.model_validate({"project": "p", "location": "global", "service_account": "[" * 100_000})
    assert "[[" not in str(caught.value)


def test_missing_secrets_are_found_where_they_may_stand() -> None:
    missing = MissingKey("why")
    data = {"api_key": "k", "entra": {"client_secret": missing}, "vertex": missing, "base_url": missing}
    assert missing_keys(data) == {"entra.client_secret": "why"}
    assert missing_keys({"api_key": missing, "entra": "managed_identity"}) == {"api_key": "why"}
    assert missing_keys("text") == {}
