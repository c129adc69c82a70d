"""Google: the URLs of the Gemini API and of Vertex AI, how it lets us in, and which limit is a used-up quota."""

from __future__ import annotations

import json
from typing import Any

import pytest

from appliance.exchange import Failure
from appliance.formats import google
from appliance.grid.compile import compile_grid
from appliance.providers.base import Endpoint
from appliance.providers.credentials import GoogleMachine, ServiceAccount
from support.build import load_yaml

KEY = "AIza-abcdefghijklmnopqrst"
GEMINI = "https://generativelanguage.googleapis.com/v1beta"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvAabcdefghijklmnop\n-----END PRIVATE KEY-----\n"
ACCOUNT = {
    "type": "service_account",
    "client_email": "gateway@acme.iam.gserviceaccount.com",
    "private_key": PEM,
    "token_uri": "https://oauth2.googleapis.com/token",
}


def endpoint(entry: str = f"api_key: {KEY}", **environ: str) -> Endpoint:
    text = f"providers: {{up: {{type: google, {entry}}}}}\n"
    return compile_grid(load_yaml(text, environ), 1).endpoints["up"]


def vertex(location: str = "europe-west4", extra: str = "", account: bool = True) -> Endpoint:
    service_account = ", service_account: '${env:ACCOUNT}'" if account else ""
    entry = f"vertex: {{project: acme-ai, location: {location}{service_account}}}{extra}"
    return endpoint(entry, ACCOUNT=json.dumps(ACCOUNT))


# -- URLs -------------------------------------------------------------------------------------------------------------

METHODS = [
    ("chat", False, "generateContent"),
    ("chat", True, "streamGenerateContent?alt=sse"),
    ("embed", False, "batchEmbedContents"),
    ("image", False, "predict"),
    ("count", False, "countTokens"),
]


@pytest.mark.parametrize(("operation", "stream", "method"), METHODS)
def test_the_gemini_api(operation: str, stream: bool, method: str) -> None:
    assert endpoint().url(operation, "gemini-3-pro", stream) == f"{GEMINI}/models/gemini-3-pro:{method}"


@pytest.mark.parametrize(("operation", "stream", "method"), METHODS)
@pytest.mark.parametrize(
    ("location", "host"),
    [("global", "aiplatform.googleapis.com"), ("europe-west4", "europe-west4-aiplatform.googleapis.com")],
)
def test_vertex_has_a_host_for_each_region_and_one_for_all(
    location: str, host: str, operation: str, stream: bool, method: str
) -> None:
    method = "predict" if operation == "embed" else method  # Vertex has no batchEmbedContents
    models = f"https://{host}/v1beta1/projects/acme-ai/locations/{location}/publishers/google/models"
    assert vertex(location).url(operation, "gemini-3-pro", stream) == f"{models}/gemini-3-pro:{method}"


def test_the_operator_s_address_stands_before_the_version() -> None:
    made = endpoint(f"api_key: {KEY}, base_url: 'http://proxy.test/gemini/'")
    assert made.url("chat", "g") == "http://proxy.test/gemini/v1beta/models/g:generateContent"
    private = vertex(extra=", base_url: 'http://proxy.test/vertex'")
    prefix = "http://proxy.test/vertex/v1beta1/projects/acme-ai/locations/europe-west4"
    assert private.url("chat", "g") == f"{prefix}/publishers/google/models/g:generateContent"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("gemini-embedding-001@default", "gemini-embedding-001@default"),
        ("models/gemini-3-pro", "gemini-3-pro"),
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a:b", "a%3Ab"),
        ("a#b", "a%23b"),
    ],
)
def test_a_model_s_name_cannot_leave_its_place(name: str, written: str) -> None:
    assert endpoint().url("chat", name) == f"{GEMINI}/models/{written}:generateContent"


def test_where_models_are_listed() -> None:
    assert endpoint().url("models") == f"{GEMINI}/models?pageSize=1000"
    above = "https://europe-west4-aiplatform.googleapis.com/v1beta1"
    assert vertex().url("models") == f"{above}/publishers/google/models?pageSize=1000"
    odd = vertex(extra=", base_url: 'http://proxy.test/projects/x'")
    assert odd.url("models") == "http://proxy.test/projects/x/v1beta1/publishers/google/models?pageSize=1000"


# -- the list of models -----------------------------------------------------------------------------------------------


def test_the_gemini_api_s_list() -> None:
    body = {
        "models": [
            {
                "name": "models/gemini-3-pro",
                "displayName": "Gemini 3 Pro",
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent"],
            }
        ],
        "nextPageToken": "x",
    }
    assert endpoint().provider.models_of(body) == [
        {
            "id": "gemini-3-pro",
            "display_name": "Gemini 3 Pro",
            "context_window": 1048576,
            "max_output_tokens": 65536,
        }
    ]


def test_vertex_s_list() -> None:
    body = {"publisherModels": [{"name": "publishers/google/models/gemini-3-pro", "versionId": "default"}]}
    (found,) = vertex().provider.models_of(body)
    assert found["id"] == "gemini-3-pro"


@pytest.mark.parametrize("body", [{}, [], {"models": [{}]}, {"models": 3}, {"publisherModels": None}, None, 7])
def test_what_is_no_list_is_said_to_be_none(body: Any) -> None:
    with pytest.raises((KeyError, TypeError)):
        endpoint().provider.models_of(body)


# -- who is let in ----------------------------------------------------------------------------------------------------


def test_the_key_has_its_own_header_and_never_stands_in_the_url() -> None:
    made = endpoint()
    assert made.headers["x-goog-api-key"] == KEY
    assert "Authorization" not in made.headers
    assert (made.credential, made.secrets) == (None, (KEY,))
    assert KEY not in made.url("chat", "g", stream=True) + made.url("models")


def test_a_service_account_asks_for_a_token() -> None:
    made = vertex()
    assert made.credential == ServiceAccount(ACCOUNT["client_email"], PEM, ACCOUNT["token_uri"])
    assert made.secrets == (PEM,)
    assert "x-goog-api-key" not in made.headers
    assert "MIIEvA" not in repr(made)


def test_a_machine_at_google_needs_no_key() -> None:
    made = vertex(account=False)
    assert made.credential == GoogleMachine()
    assert made.secrets == ()


def test_without_its_service_account_it_is_unconfigured_and_asks_for_nothing() -> None:
    made = endpoint("vertex: {project: acme-ai, location: global, service_account: '${env:NO_SUCH}'}")
    assert made.unconfigured == "environment variable NO_SUCH is not set"
    assert made.credential is None


def test_it_speaks_its_own_dialect() -> None:
    for made in (endpoint(), vertex()):
        assert (made.dialect, made.format, made.passthrough) == ("google", google, None)


# -- whose fault an error is ------------------------------------------------------------------------------------------

EXCEEDED = "You exceeded your current quota, please check your plan and billing details."


def judged(status: int, message: str, word: str, *details: dict[str, Any]) -> Failure:
    made = endpoint()
    body = {"error": {"code": status, "message": message, "status": word, "details": list(details)}}
    return made.provider.classify(made, status, {}, json.dumps(body).encode())


def quota(*ids: str) -> dict[str, Any]:
    violations = [{"quotaMetric": "generate_requests", "quotaId": quota_id} for quota_id in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
WAIT = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17s"}


def test_the_limit_of_a_minute_passes() -> None:
    failure = judged(429, EXCEEDED, "RESOURCE_EXHAUSTED", quota(PER_MINUTE), WAIT)
    assert (failure.kind, failure.code, failure.retry_after) == ("rate_limited", "BACKEND_RATE_LIMITED", 17)
    assert "used up" not in failure.message
    assert "up" in failure.message


@pytest.mark.parametrize(
    "details",
    [
        (quota(PER_DAY),),
        (quota(PER_DAY), WAIT),
        (quota(PER_MINUTE, PER_DAY), WAIT),
        (WAIT, quota(PER_MINUTE), quota(PER_DAY)),
        ({"reason": "RATE_LIMIT_EXCEEDED", "metadata": {}}, quota(PER_DAY)),
    ],
)
def test_the_limit_of_a_day_is_a_used_up_quota(details: tuple[dict[str, Any], ...]) -> None:
    failure = judged(429, EXCEEDED, "RESOURCE_EXHAUSTED", *details)
    assert (failure.kind, failure.code) == ("quota", "BACKEND_RATE_LIMITED")
    assert "used up" in failure.message


def test_a_limit_that_is_not_named_passes() -> None:
    assert judged(429, EXCEEDED, "RESOURCE_EXHAUSTED").kind == "rate_limited"
    assert judged(429, "Resource exhausted. Please try again later.", "RESOURCE_EXHAUSTED").kind == "rate_limited"


@pytest.mark.parametrize(
    ("status", "message", "word", "kind"),
    [
        (400, "Invalid value at 'contents'", "INVALID_ARGUMENT", "caller"),
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", "operator"),
        (401, "Request had invalid authentication credentials.", "UNAUTHENTICATED", "operator"),
        (403, "Permission denied", "PERMISSION_DENIED", "operator"),
        (404, "models/nope is not found", "NOT_FOUND", "operator"),
        (500, "An internal error has occurred", "INTERNAL", "server_error"),
        (503, "The model is overloaded.", "UNAVAILABLE", "server_error"),
        (504, "Deadline expired", "DEADLINE_EXCEEDED", "timeout"),
    ],
)
def test_its_documented_errors(status: int, message: str, word: str, kind: str) -> None:
    failure = judged(status, message, word)
    assert failure.kind == kind
    assert message in failure.detail
