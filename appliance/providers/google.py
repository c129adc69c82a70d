"""Google's Gemini API, with a key, and the same models on Vertex AI, with a service account."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from appliance.exchange import Failure
from appliance.formats import google
from appliance.providers.base import Endpoint, Provider
from appliance.providers.credentials import Credential, GoogleMachine, ServiceAccount

if TYPE_CHECKING:
    import config  # for its types only: the request path loads no YAML library

METHODS = {
    "chat": "generateContent",
    "embed": "batchEmbedContents",
    "image": "predict",
    "count": "countTokens",
}


class Google(Provider):
    """`base_url` stands before /v1beta (contract section 5); on Vertex before /v1beta1/projects."""

    type = "google"
    format_name = "google"
    format = google

    def auth_headers(self, entry: config.Provider) -> dict[str, str]:
        return {"x-goog-api-key": entry.api_key} if entry.api_key else {}

    def credential(self, entry: config.Provider) -> Credential | None:
        if entry.vertex is None or entry.unconfigured:
            return None
        if not entry.vertex.service_account:
            return GoogleMachine()
        account: dict[str, Any] = msgspec.json.decode(entry.vertex.service_account)
        return ServiceAccount(account["client_email"], account["private_key"], account["token_uri"])

    def base_url(self, entry: config.Provider) -> str:
        """Everything before `models/…`."""
        vertex = entry.vertex
        if vertex is None:
            return f"{super().base_url(entry)}/v1beta"
        region = "" if vertex.location == "global" else f"{vertex.location}-"
        host = entry.base_url or f"https://{region}aiplatform.googleapis.com"
        return f"{host}/v1beta1/projects/{vertex.project}/locations/{vertex.location}/publishers/google"

    def url(self, endpoint: Endpoint, operation: str, upstream_model: str, stream: bool) -> str:
        if operation == "models":
            return f"{_listed_at(endpoint)}/models?pageSize=1000"
        method = "streamGenerateContent?alt=sse" if operation == "chat" and stream else METHODS[operation]
        if operation == "embed" and endpoint.credential:
            method = "predict"  # Vertex has no batchEmbedContents
        return f"{endpoint.base_url}/models/{quote(upstream_model.removeprefix('models/'), safe='@')}:{method}"

    def classify(self, endpoint: Endpoint, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """Google says «you exceeded your current quota» for every limit; only the one of a day is a used-up quota."""
        failure = super().classify(endpoint, status, headers, body)
        if failure.kind == "quota" and status == 429 and b"PerDay" not in body:  # one answer may name several limits
            failure.kind = "rate_limited"
            failure.message = f"provider {endpoint.name} limits the gateway"
        return failure

    def models_of(self, body: Any) -> list[dict[str, Any]]:
        listed = body["publisherModels"] if "publisherModels" in body else body["models"]
        return [
            {
                "id": model["name"].rpartition("models/")[2],
                "display_name": model.get("displayName"),
                "context_window": model.get("inputTokenLimit"),
                "max_output_tokens": model.get("outputTokenLimit"),
            }
            for model in listed
        ]


def _listed_at(endpoint: Endpoint) -> str:
    """Vertex lists the models of all projects in one place, above the projects."""
    if endpoint.credential is None:
        return endpoint.base_url
    return endpoint.base_url.rpartition("/projects/")[0] + "/publishers/google"
