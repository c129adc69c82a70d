"""Chat completions in every dialect that callers speak, whole and streamed."""

from __future__ import annotations

import msgspec

from appliance.errors import invalid
from appliance.exchange import Attempt, Exchange
from appliance.formats import FORMATS
from appliance.formats.base import ReplyHead
from appliance.formats.chat import Usage
from appliance.formats.native import usage_object
from appliance.formats.needs import needs_of_members
from appliance.grid.prices import usd
from appliance.pipeline.estimate import bound, estimate, size_of, tokens_of
from appliance.pipeline.operations import chat_answer, chat_request
from appliance.pipeline.operations.base import enveloped
from appliance.pipeline.peek import members
from appliance.state import State

MAX_METADATA_BYTES = 16 * 1024

ID_PREFIXES = {
    "native": "chat_",
    "openai": "chatcmpl-",
    "responses": "resp_",
    "anthropic": "msg_",
    "generate": "gen_",
    "completions": "cmpl-",
}
"""How ids of answers begin, by the caller's dialect."""
SPELT_LIKE = {"generate": "native", "completions": "openai"}
"""Small dialects whose members are those of another."""
ENVELOPED = ("native", "generate")


class Chat:
    name = "chat"
    modality = "chat"
    costs = True

    async def prepare(self, exchange: Exchange, state: State) -> None:
        return

    def read(self, exchange: Exchange) -> None:
        exchange.members = exchange.members or members(exchange.body)
        head = FORMATS[exchange.surface].read_head(exchange.body)
        exchange.request = exchange.request or head.request
        exchange.model_name = head.model
        exchange.stream = head.stream
        exchange.include_usage = head.include_usage
        exchange.n = head.n
        exchange.asked_cap = head.output_cap
        exchange.metadata = head.metadata
        if exchange.metadata and len(msgspec.json.encode(exchange.metadata)) > MAX_METADATA_BYTES:
            raise invalid("metadata", f"is larger than {MAX_METADATA_BYTES} bytes")  # it is kept with the usage row
        if exchange.request is not None and exchange.surface in ENVELOPED:
            exchange.request.metadata = None  # the caller's own notes; they stay with us
        exchange.needs = needs_of_members(SPELT_LIKE.get(exchange.surface, exchange.surface), exchange.members)

    def measure(self, exchange: Exchange) -> None:
        assert exchange.model
        size = size_of(exchange.body)
        exchange.input_bound = bound(size, exchange.model.system_prompt, exchange.model.context_window)
        exchange.input_estimate = min(estimate(size), exchange.input_bound)
        exchange.head = ReplyHead(
            id=ID_PREFIXES[exchange.surface] + exchange.usage_id.removeprefix("usage_"),
            model=exchange.model_name,
            created=int(exchange.received_unix),
            include_usage=exchange.include_usage,
        )

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        attempt.body = chat_request.body_for(exchange, attempt)

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        await (chat_answer.begin_stream if exchange.stream else chat_answer.fetch_whole)(exchange, attempt, state)

    async def send(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        if attempt.reply:
            chat_answer.note_whole(exchange, attempt.reply)
        else:
            await chat_answer.send_stream(exchange, attempt, state)

    async def finish(self, exchange: Exchange, state: State) -> None:
        if exchange.client.started:
            assert exchange.writer and exchange.usage
            cost = usd(exchange.cost_nano)
            await exchange.client.send(exchange.writer.closing(exchange.usage, cost, exchange.estimated))
            await exchange.client.end()
        else:
            await exchange.client.whole(200, exchange.reply_headers, whole_body(exchange))

    def is_unknown(self, exchange: Exchange, reported: Usage) -> bool:
        return False

    def estimate(self, exchange: Exchange, reported: Usage | None) -> Usage:
        """Never less than what the upstream said half-way (Anthropic reports the input first), or than was seen."""
        reported = reported or Usage()
        seen = tokens_of(exchange.output_bytes)
        if exchange.reservation:  # an estimate never passes what was held for the call
            seen = min(seen, exchange.reservation.amount.tokens - exchange.input_bound)
        return Usage(
            input_tokens=reported.input_tokens or min(exchange.input_estimate, exchange.input_bound),
            output_tokens=max(reported.output_tokens, seen),
            cached_input_tokens=reported.cached_input_tokens,
            cache_write_tokens=reported.cache_write_tokens,
            reasoning_tokens=reported.reasoning_tokens,
        )


def whole_body(exchange: Exchange) -> bytes:
    attempt = exchange.answered
    assert attempt and attempt.reply and exchange.head and exchange.usage
    answer = msgspec.structs.replace(attempt.reply, usage=exchange.usage)
    if attempt.passthrough:
        return attempt.passthrough.reply(attempt.reply_body, answer, exchange.head)
    data = FORMATS[exchange.surface].encode_reply(answer, exchange.head)
    if exchange.surface not in ENVELOPED:
        return msgspec.json.encode(data)
    data["usage"] = usage_object(exchange.usage, usd(exchange.cost_nano), exchange.estimated)
    return enveloped(exchange, data)
