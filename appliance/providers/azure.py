"""Azure OpenAI: deployments in the path and an API version behind it, or the newer /openai/v1 API.

A key or an Entra token opens it.

`PROVIDER:DEPLOYMENT` in a target names the deployment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from appliance.providers.base import PATHS, Endpoint
from appliance.providers.credentials import Credential, EntraClient, ManagedIdentity
from appliance.providers.openai import OpenAI

if TYPE_CHECKING:
    import config  # for its types only: the request path loads no YAML library

V1 = "/openai/v1"


class Azure(OpenAI):
    type = "azure"

    def auth_headers(self, entry: config.Provider) -> dict[str, str]:
        return {"api-key": entry.api_key} if entry.api_key else {}

    def credential(self, entry: config.Provider) -> Credential | None:
        entra = entry.entra
        if entra is None or entry.unconfigured:
            return None
        if isinstance(entra, str):
            return ManagedIdentity()
        return EntraClient(entra.tenant_id, entra.client_id, entra.client_secret, entra.authority, entra.scope)

    def base_url(self, entry: config.Provider) -> str:
        return (entry.base_url or "").removesuffix("/openai")

    def query(self, entry: config.Provider) -> str:
        """The /openai/v1 API needs no version, and refuses those that are dates."""
        if self.base_url(entry).endswith(V1) and "api_version" not in entry.model_fields_set:
            return ""
        return f"?api-version={quote(entry.api_version, safe='')}"

    def url(self, endpoint: Endpoint, operation: str, upstream_model: str, stream: bool) -> str:
        path = self.path(endpoint, operation)
        if endpoint.base_url.endswith(V1):
            return endpoint.base_url + path + endpoint.query
        if operation == "models" or path == PATHS["responses"]:
            return f"{endpoint.base_url}/openai{path}{endpoint.query}"
        return f"{endpoint.base_url}/openai/deployments/{quote(upstream_model, safe='')}{path}{endpoint.query}"
