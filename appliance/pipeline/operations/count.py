"""How many input tokens would a call have? Asked of the upstream where it can tell, else estimated; free of charge."""

from __future__ import annotations

from typing import Any

from appliance.exchange import Attempt, Exchange
from appliance.formats import anthropic, google
from appliance.formats.base import OperatorSettings
from appliance.formats.chat import Usage
from appliance.formats.needs import needs_of_members
from appliance.formats.reply_object import reply_value
from appliance.pipeline.estimate import bound, estimate, size_of, tokens_of
from appliance.pipeline.operations.base import Documents
from appliance.pipeline.operations.chat_request import with_operator_settings
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
        exchange.model_name = anthropic.read_count_head(exchange.body).model
        exchange.needs = needs_of_members(exchange.surface, exchange.members)

    def most(self, exchange: Exchange) -> Usage:
        assert exchange.model
        size = size_of(exchange.body)
        return Usage(input_tokens=bound(size, exchange.model.system_prompt, exchange.model.context_window))

    def likely(self, exchange: Exchange) -> Usage:
        assert exchange.model
        prompt = len((exchange.model.system_prompt or "").encode())
        return Usage(input_tokens=estimate(size_of(exchange.body)) + tokens_of(prompt))

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        """In its own dialect a request goes through undecoded, as the call would that it asks about."""
        assert exchange.model
        if attempt.target.endpoint.dialect == "anthropic":
            settings = OperatorSettings(system_prompt=exchange.model.system_prompt)
            members = exchange.members
            attempt.body = anthropic.PASSTHROUGH.request(members, attempt.target.upstream_model, settings)
        else:
            super().translate(exchange, attempt)

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        """Refuses by name what the call itself could not carry, also where nobody is asked."""
        assert exchange.model
        exchange.request = exchange.request or self.decode(exchange, decoded(exchange.body))
        request = with_operator_settings(exchange.request, exchange.model, {})
        endpoint = attempt.target.endpoint
        if endpoint.dialect == "google":
            on_vertex = endpoint.credential is not None
            return google.encode_count(request, attempt.target.upstream_model, on_vertex=on_vertex)
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
