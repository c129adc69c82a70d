"""Azure: the URL of every operation in both of its APIs, and the three ways to be let in."""

from __future__ import annotations

import pytest

from appliance.formats import openai, responses
from appliance.formats.openai_passthrough import PASSTHROUGH
from appliance.grid.compile import compile_grid
from appliance.providers.base import Endpoint
from appliance.providers.credentials import EntraClient, ManagedIdentity
from support.build import load_yaml

KEY = "azure-key-abcdefghijklmnop"
SECRET = "entra-secret-abcdefghijklmnop"
HOST = "https://acme.openai.azure.com"
VERSION = "?api-version=2024-10-21"
ENTRA = f"{{tenant_id: acme.example, client_id: 1111-2222, client_secret: {SECRET}}}"


def endpoint(extra: str = "", *, base_url: str = HOST, auth: str = f"api_key: {KEY}", **environ: str) -> Endpoint:
    text = f"providers: {{up: {{type: azure, base_url: '{base_url}', {auth}{extra}}}}}\n"
    return compile_grid(load_yaml(text, environ), 1).endpoints["up"]


OPERATIONS = {
    "chat": "/chat/completions",
    "embed": "/embeddings",
    "image": "/images/generations",
    "transcribe": "/audio/transcriptions",
    "translate": "/audio/translations",
    "speak": "/audio/speech",
}


@pytest.mark.parametrize("base_url", [HOST, f"{HOST}/", f"{HOST}/openai", f"{HOST}/openai/"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_deployment_stands_in_the_path(operation: str, stream: bool, base_url: str) -> None:
    path = f"/openai/deployments/gpt-4o-prod{OPERATIONS[operation]}{VERSION}"
    assert endpoint(base_url=base_url).url(operation, "gpt-4o-prod", stream) == HOST + path


@pytest.mark.parametrize("operation", [*OPERATIONS, "models"])
def test_the_newer_api_knows_no_deployments_and_no_version(operation: str) -> None:
    made = endpoint(base_url=f"{HOST}/openai/v1")
    path = OPERATIONS.get(operation, "/models")
    assert made.url(operation, "gpt-4o-prod") == f"{HOST}/openai/v1{path}"


def test_to_the_newer_api_a_version_is_sent_when_it_is_written() -> None:
    made = endpoint(", api_version: preview", base_url=f"{HOST}/openai/v1/")
    assert made.url("chat", "d") == f"{HOST}/openai/v1/chat/completions?api-version=preview"


def test_the_operator_s_version_is_asked_for() -> None:
    made = endpoint(", api_version: '2025-04-01-preview'")
    assert made.url("chat", "d").endswith("/openai/deployments/d/chat/completions?api-version=2025-04-01-preview")


def test_models_are_listed_beside_the_deployments() -> None:
    assert endpoint().url("models") == f"{HOST}/openai/models{VERSION}"


@pytest.mark.parametrize(
    ("base_url", "version", "url"),
    [
        (HOST, ", api_version: 2025-04-01-preview", f"{HOST}/openai/responses?api-version=2025-04-01-preview"),
        (f"{HOST}/openai/v1", "", f"{HOST}/openai/v1/responses"),
    ],
)
def test_with_api_responses_the_deployment_stands_in_the_body_only(base_url: str, version: str, url: str) -> None:
    made = endpoint(f", api: responses{version}", base_url=base_url)
    assert made.url("chat", "gpt-4o-prod", stream=True) == url
    assert (made.dialect, made.format, made.passthrough) == ("responses", responses, responses.PASSTHROUGH)
    assert "/embeddings" in made.url("embed", "e")


@pytest.mark.parametrize("name", ["a/b", "a?b", "a#b", "a b", "../models", "ä"])
def test_a_deployment_s_name_cannot_leave_its_place(name: str) -> None:
    path = endpoint().url("chat", name).removeprefix(f"{HOST}/openai/deployments/")
    inside, _, rest = path.partition("/")
    assert rest == f"chat/completions{VERSION}"
    assert not set("?# ä") & set(inside)


def test_a_private_address_may_have_a_path_of_its_own() -> None:
    made = endpoint(base_url="http://proxy.test/azure")
    assert made.url("chat", "d") == f"http://proxy.test/azure/openai/deployments/d/chat/completions{VERSION}"


# -- who is let in ----------------------------------------------------------------------------------------------------


def test_the_key_has_its_own_header() -> None:
    made = endpoint()
    assert made.headers["api-key"] == KEY
    assert "Authorization" not in made.headers
    assert (made.credential, made.secrets) == (None, (KEY,))


def test_an_application_of_entra_asks_for_a_token() -> None:
    made = endpoint(auth=f"entra: {ENTRA}")
    assert made.credential == EntraClient("acme.example", "1111-2222", SECRET)
    assert made.secrets == (SECRET,)
    assert not {"api-key", "Authorization"} & set(made.headers)
    assert made.unconfigured is None
    assert SECRET not in repr(made)


def test_other_clouds_have_another_authority_and_scope() -> None:
    entra = ENTRA.replace(
        "}", ", authority: 'https://login.microsoftonline.us', scope: 'https://ai.azure.us/.default'}"
    )
    made = endpoint(auth=f"entra: {entra}").credential
    assert made == EntraClient(
        "acme.example", "1111-2222", SECRET, "https://login.microsoftonline.us", "https://ai.azure.us/.default"
    )


def test_a_machine_in_azure_needs_no_secret() -> None:
    made = endpoint(auth="entra: managed_identity")
    assert made.credential == ManagedIdentity()
    assert made.secrets == ()


def test_without_its_client_secret_it_is_unconfigured_and_asks_for_nothing() -> None:
    auth = f"entra: {ENTRA.replace(SECRET, chr(39) + '${env:NO_SUCH}' + chr(39))}"
    made = endpoint(auth=auth)
    assert made.unconfigured == "environment variable NO_SUCH is not set"
    assert made.credential is None
    assert endpoint(auth=auth, NO_SUCH=SECRET).credential == EntraClient("acme.example", "1111-2222", SECRET)


def test_it_speaks_openai_s_dialect() -> None:
    made = endpoint()
    assert (made.dialect, made.format, made.passthrough) == ("openai", openai, PASSTHROUGH)
    assert made.provider.type == "azure"
