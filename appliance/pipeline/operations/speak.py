"""Speech from text: the audio is streamed through as it comes, and never held whole."""

from __future__ import annotations

import asyncio
from typing import Any

from appliance.errors import GatewayError
from appliance.exchange import Attempt, Exchange, Upstream, UpstreamCut
from appliance.formats import speech
from appliance.formats.base import Frame
from appliance.formats.chat import Usage
from appliance.formats.speech import SpeechRequest
from appliance.pipeline.call import AttemptFailed, cut, mismatch, open_upstream, too_slow
from appliance.pipeline.operations.base import Documents, defaults_of
from appliance.pipeline.operations.chat_answer import broke
from appliance.state import State


class Sound:
    """Audio that has begun to arrive. The last piece is kept back until the call is booked."""

    def __init__(self, first: bytes) -> None:
        self.last = first
        self.complete = True
        """HTTP says where a body ends; an end that came too early is an UpstreamCut."""

    async def frames(self) -> list[Frame]:
        return []


class Speak(Documents):
    name = "speak"
    modality = "audio"
    feature = "speech"
    units = frozenset({"total_tokens", "characters"})
    charged_by = frozenset({"characters", "input", "output", "request"})

    def decode(self, exchange: Exchange, body: Any) -> SpeechRequest:
        defaults = defaults_of(exchange, body.get("model"))
        if defaults.get("response_format") not in speech.CONTENT_TYPES:
            defaults.pop("response_format", None)  # that of transcripts by the same model
        for name in ("voice", "response_format"):
            if body.get(name) is None and name in defaults:
                body[name] = defaults[name]
        return speech.decode_native(body) if exchange.surface == "native" else speech.decode_openai(body)

    def most(self, exchange: Exchange) -> Usage:
        return speech.bound(exchange.asked)

    def likely(self, exchange: Exchange) -> Usage:
        return speech.estimate(exchange.asked)

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        return speech.encode_request(exchange.asked, attempt.target.upstream_model)

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        """In hand with the first piece of audio: until then another target may take over."""
        upstream = attempt.upstream = await open_upstream(exchange, attempt, state, self.name, attempt.body)
        endpoint = attempt.target.endpoint
        try:
            async with asyncio.timeout_at(min(attempt.started_at + endpoint.first_byte_s, exchange.deadline_at)):
                first = await upstream.chunk()
            attempt.content_type = upstream.headers.get("Content-Type", "")
            speech.check_reply(attempt.content_type, first)
        except TimeoutError:
            raise AttemptFailed(too_slow(attempt, "no audio came in time")) from None
        except UpstreamCut as broken:
            raise AttemptFailed(cut(attempt, broken)) from broken
        except GatewayError as error:
            raise AttemptFailed(mismatch(attempt, error.message)) from error
        attempt.answer = sound = Sound(first)
        attempt.stream = sound
        # Tokens the audio does not tell: where the price counts them they are estimated, and marked.
        attempt.usage = speech.usage(exchange.asked)

    async def send(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        assert attempt.upstream and exchange.principal
        sound: Sound = attempt.answer
        name = attempt.target.endpoint.name
        try:
            while piece := await self._next(exchange, attempt, attempt.upstream):
                state.directory.check(exchange.principal)  # a revoked key or suspended tenant ends here
                # Not before there is a byte to send: what breaks until then is told as an error with its status.
                if not exchange.client.started:
                    await exchange.client.start_stream(exchange.reply_headers, _content_type(exchange, attempt))
                await exchange.client.send(sound.last)
                sound.last = piece
        except TimeoutError:
            message = f"provider {name} stopped in the middle of its answer"
            raise broke(attempt, "BACKEND_TIMEOUT", message, "nothing came within idle or total") from None
        except UpstreamCut as short:
            raise broke(attempt, "BACKEND_ERROR", f"provider {name} cut its answer short", str(short)) from short
        finally:
            if attempt.failure and not exchange.client.started:
                exchange.answered = None  # no byte of it left: it is no answer, and nothing is owed for it
            attempt.latency_ms = int((exchange.clock() - attempt.started_at) * 1000)
            attempt.upstream.close()

    async def _next(self, exchange: Exchange, attempt: Attempt, upstream: Upstream) -> bytes:
        endpoint = attempt.target.endpoint
        limit = min(exchange.clock() + endpoint.idle_s, attempt.started_at + endpoint.total_s)
        async with asyncio.timeout_at(limit):
            return await upstream.chunk()

    async def finish(self, exchange: Exchange, state: State) -> None:
        attempt = exchange.answered
        assert attempt
        client, last = exchange.client, attempt.answer.last
        if client.started:
            await client.send(last)
            await client.end()
        else:
            await client.whole(200, exchange.reply_headers, last, _content_type(exchange, attempt))

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> Any:
        raise AssertionError("audio is not decoded")

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        raise AssertionError("audio is not shown as JSON")


def _content_type(exchange: Exchange, attempt: Attempt) -> str:
    return attempt.content_type or speech.CONTENT_TYPES[exchange.asked.response_format]
