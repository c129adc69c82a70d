"""Chats of the Responses API: the same as all others, but an answer may be kept, and a later call go on from it."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from appliance.errors import GatewayError, clipped, invalid
from appliance.exchange import Exchange
from appliance.formats import responses
from appliance.grid.prices import usd
from appliance.pipeline.operations.chat import Chat, whole_body
from appliance.pipeline.peek import decoded, members
from appliance.state import State
from appliance.state.responses import ConversationTooLarge, StoredResponse

_log = logging.getLogger("scaigrid")


class Respond(Chat):
    name = "respond"

    async def prepare(self, exchange: Exchange, state: State) -> None:
        """Put the earlier turns in place of `previous_response_id`: from here on the call stands alone."""
        assert exchange.principal
        exchange.members = members(exchange.body)
        body = decoded(exchange.body)
        exchange.own_items = responses.items_of_input(body.get("input"))
        previous_id = body.get("previous_response_id")
        if previous_id is None:
            return
        if not isinstance(previous_id, str) or not previous_id:
            raise invalid("previous_response_id", "must be the id of an earlier response")
        kept = state.responses
        try:
            # As large as a caller may send at once: a conversation is no way around that.
            limit = exchange.grid.body_limit
            items = await kept.history(exchange.principal.tenant_id, previous_id, limit) if kept else None
        except ConversationTooLarge:
            message = "the conversation behind previous_response_id is larger than server.body_limit allows"
            raise GatewayError("PAYLOAD_TOO_LARGE", message, param="previous_response_id") from None
        if items is None:
            raise GatewayError(
                "NOT_FOUND",
                f"there is no stored response {clipped(previous_id)!r}; answers are kept for a limited time, and only "
                "those made without store: false",
                param="previous_response_id",
            )
        exchange.previous_id = previous_id
        exchange.body = msgspec.json.encode(responses.expanded(body, items))
        exchange.members = members(exchange.body)

    def measure(self, exchange: Exchange) -> None:
        super().measure(exchange)
        assert exchange.head
        shown = {name: value for name, value in exchange.members.items() if name != "input"}
        echo = responses.echo_of({name: msgspec.json.decode(value) for name, value in shown.items()})
        exchange.head.echo = echo | {"previous_response_id": exchange.previous_id or None}

    async def finish(self, exchange: Exchange, state: State) -> None:
        """An answer is kept before its last bytes leave: whoever has it may go on from it at once."""
        if exchange.client.started:
            assert exchange.writer and exchange.usage
            last = exchange.writer.closing(exchange.usage, usd(exchange.cost_nano), exchange.estimated)
            await self._keep(exchange, state, _response_in(last))
            await exchange.client.send(last)
            await exchange.client.end()
        else:
            body = whole_body(exchange)
            await self._keep(exchange, state, msgspec.json.decode(body))
            await exchange.client.whole(200, exchange.reply_headers, body)

    async def _keep(self, exchange: Exchange, state: State, response: dict[str, Any]) -> None:
        store = exchange.members.get("store")
        if state.responses is None or (store is not None and bytes(store) == b"false"):
            return
        assert exchange.principal
        kept = StoredResponse(
            id=response["id"],
            tenant_id=exchange.principal.tenant_id,
            user_id=exchange.principal.user_id,
            previous_id=exchange.previous_id,
            created_unix=exchange.received_unix,
            items=exchange.own_items,
            response=response,
        )
        try:
            await state.responses.keep(kept)
        except Exception as error:  # the answer is there and booked: the caller gets it, whatever the disk says
            _log.error("response %s could not be kept: %s", kept.id, error)


def _response_in(last: bytes) -> dict[str, Any]:
    """The whole response object, which the last event of a stream holds."""
    mark = b"\ndata: "  # with its line end, which JSON never holds: the answer's own text may speak of event streams
    data = last[last.rindex(mark) + len(mark) :]
    response: dict[str, Any] = msgspec.json.decode(data)["response"]
    return response
