"""/oai/v1/responses/{id}: answers that were kept. Another tenant's does not exist."""

from __future__ import annotations

from urllib.parse import unquote

from appliance.api.accept import Call
from appliance.api.envelope import Plain, limit_of
from appliance.errors import GatewayError, clipped, invalid
from appliance.formats.responses_input_items import shown_items
from appliance.state.responses import StoredResponse

DEFAULT_ITEMS = "20"


async def get_response(call: Call) -> Plain:
    return Plain((await _find(call)).response)


async def delete_response(call: Call) -> Plain:
    kept = await _find(call)
    assert call.state.responses
    await call.state.responses.delete(kept.tenant_id, kept.id)
    return Plain({"id": kept.id, "object": "response", "deleted": True})


async def list_input_items(call: Call) -> Plain:
    """The newest first unless `order` says otherwise, as OpenAI lists them."""
    kept = await _find(call)
    limit = limit_of(call.query.get("limit", DEFAULT_ITEMS))
    items = shown_items(kept.items, kept.id)
    if _order(call) == "desc":
        items.reverse()
    after = call.query.get("after")
    if after:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise invalid("after", f"{clipped(after)!r} is no input item of this response")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = len(items) > limit
    return Plain({"object": "list", "data": page, "has_more": more, "first_id": first, "last_id": last})


def _order(call: Call) -> str:
    order = call.query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise invalid("order", "must be asc or desc")
    return order


async def _find(call: Call) -> StoredResponse:
    response_id = unquote(call.params["response_id"])
    stored = call.state.responses
    kept = await stored.get(call.principal.tenant_id, response_id) if stored else None
    if kept is None:
        raise GatewayError("NOT_FOUND", f"there is no stored response {clipped(response_id)!r}")
    return kept
