"""Text from speech. The form's file lies on disk; it goes to each target from there, piece by piece."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import msgspec

from appliance.exchange import Attempt, Exchange
from appliance.formats import transcription, transcription_reply
from appliance.formats.audio_length import audio_seconds_bound, audio_seconds_estimate
from appliance.formats.chat import Usage
from appliance.formats.transcription_reply import TranscriptionReply
from appliance.pipeline.call import open_upstream, read_whole
from appliance.pipeline.operations.base import Documents, defaults_of, enveloped, native_usage
from appliance.state import State


class Transcribe(Documents):
    name = "transcribe"
    modality = "audio"
    feature = "transcription"
    units = frozenset({"total_tokens", "audio_ms"})
    charged_by = frozenset({"audio_minute", "input", "output", "request"})
    task: ClassVar[transcription.Task] = "transcribe"

    async def prepare(self, exchange: Exchange, state: State) -> None:
        assert exchange.incoming
        exchange.form, exchange.upload = await exchange.incoming.receive()

    def read(self, exchange: Exchange) -> None:
        defaults = defaults_of(exchange, next(iter(exchange.form.get("model", ())), None))
        if defaults.get("response_format") not in transcription.FORMATS:
            defaults.pop("response_format", None)  # that of speech by the same model
        for name in ("response_format", "language") if self.task == "transcribe" else ("response_format",):
            if name in defaults:
                exchange.form.setdefault(name, [defaults[name]])
        if exchange.surface == "native":
            exchange.asked = transcription.decode_native(exchange.form)
        else:
            exchange.asked = transcription.decode_openai(exchange.form, self.task)
        exchange.model_name = exchange.asked.model
        exchange.needs = frozenset({self.feature})

    def most(self, exchange: Exchange) -> Usage:
        assert exchange.upload
        return transcription.bound(exchange.asked, audio_seconds_bound(exchange.upload.size, exchange.upload.head))

    def likely(self, exchange: Exchange) -> Usage:
        assert exchange.upload
        seconds = audio_seconds_estimate(exchange.upload.size, exchange.upload.head)
        return transcription.estimate(exchange.asked, seconds)

    def translate(self, exchange: Exchange, attempt: Attempt) -> None:
        assert exchange.upload
        fields = transcription.encode_request(exchange.asked, attempt.target.upstream_model)
        attempt.upload = dataclasses.replace(exchange.upload, fields=tuple(fields))

    async def fetch(self, exchange: Exchange, attempt: Attempt, state: State) -> None:
        upstream = attempt.upstream = await open_upstream(exchange, attempt, state, self.name, b"")
        body = await read_whole(exchange, attempt, upstream)
        attempt.answer = self.understood(exchange, attempt, body)
        attempt.usage = attempt.answer.usage
        attempt.estimated = attempt.answer.estimated

    def decode_reply(self, exchange: Exchange, attempt: Attempt, body: bytes) -> TranscriptionReply:
        return transcription_reply.decode_reply(body, exchange.asked.response_format)

    async def finish(self, exchange: Exchange, state: State) -> None:
        attempt = exchange.answered
        assert attempt
        reply: TranscriptionReply = attempt.answer
        data = transcription_reply.native_data(reply) if exchange.surface == "native" else None
        if data is None:
            content_type = transcription_reply.content_type(reply.response_format)
            await exchange.client.whole(200, exchange.reply_headers, reply.body, content_type)
        else:
            members = msgspec.json.decode(data, type=dict[str, msgspec.Raw]) | {"usage": native_usage(exchange)}
            await exchange.client.whole(200, exchange.reply_headers, enveloped(exchange, members))

    def decode(self, exchange: Exchange, body: Any) -> Any:
        raise AssertionError("the request is a form")

    def encode(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        raise AssertionError("the request is a form")

    def shown(self, exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
        raise AssertionError("finish writes the answer")


class Translate(Transcribe):
    """Text in English from speech in another language."""

    name = "translate"
    task = "translate"
