"""How many input tokens would a call have? Asked of the upstream where it can tell, else estimated; free of charge."""

from __future__ import annotations

from typing import Any

from appliance.exchange import Attempt, Exchange
from appliance.formats import anthropic, google
from appliance.formats.chat import Usage
from appliance.formats.needs import needs_of_members
from appliance.formats.reply_object import reply_value
from appliance.pipeline.estimate import bound, estimate, size_of, tokens_of
from appliance.pipeline.operations.base import Documents
from appliance.pipeline.operations.chat_request import canonical, with_operator_settings
from appliance.pipeline.peek import decoded, members
from appliance.state import State

COUNTERS: dict[str, Any] = {"anthropic": anthropic, "google": google}
"""Dialects whose upstreams count, and the formats that ask them."""


class Count(Documents):
    name = "count"
    modality = "chat"
    feature = ""
    costs = False

    def decode(self, exchange: Exchange, body: Any) -> Any:
        return anthropic.decode_count_request(body)

    def read(self, exchange: Exchange) -> None:
        exchange.members = exchange.members or members(exchange.body)
        exchange.request = self.decode(exchange, decoded(exchange.body))
        exchange.model_name = exchange.request.model
        exchange.needs = needs_of_members(exchange.surface, exchange.members)

    def most(self, exchange: Exchange) -> Usage:
        assert exchange.model
        size = size_of(exchange.body)
        return Usage(input_tokens=bound(size, exchange.model.system_prompt, exchange.model.context_window))

    def likely(self, exchange: Exchange) -> Usage:
        assert exchange.model
        prompt = len((exchange.model.system_prompt or "").encode())
        return Usage(input_tokens=estimate(size_of(exchange.body)) + tokens_of(prompt))

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        assert exchange.model
        endpoint, upstream_model = attempt.target.endpoint, attempt.target.upstream_model
        request = with_operator_settings(canonical(exchange), exchange.model, {})
        if endpoint.dialect == "google":
            return google.encode_count(request, upstream_model, on_vertex=endpoint.credential is not None)
        if endpoint.dialect == "anthropic":
            return anthropic.encode_count_request(request, upstream_model)
        return {}

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        if attempt.target.endpoint.dialect in COUNTERS:
            await super().fetch(exchange, attempt, state)
        else:
            attempt.answer = exchange.input_estimate

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> int:
        counter = COUNTERS[attempt.target.endpoint.dialect]
        count: int = counter.decode_count(reply_value(body))
        return count

    def is_unknown(self, exchange: Exchange, reported: Usage) -> bool:
        return False

    def used(self, exchange: Exchange, attempt: Attempt) -> Usage | None:
        return Usage()

    def estimate(self, exchange: Exchange, reported: Usage | None) -> Usage:
        """Nothing was used, whoever answered and however it ended."""
        return Usage()

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        return {"input_tokens": attempt.answer}
