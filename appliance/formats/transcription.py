"""Transcription and translation of audio: form fields in, form fields out, and the safe bound.

The file is not here: it is streamed past. Fields are checked before it is read, so a wrong one costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import Usage
from appliance.formats.members import one_of
from appliance.formats.text_bound import text_bound, text_estimate

JSON_FORMATS = ("json", "verbose_json", "diarized_json")
TEXT_FORMATS = ("text", "srt", "vtt")
FORMATS = (*JSON_FORMATS, *TEXT_FORMATS)
GRANULARITIES = ("word", "segment")

INPUT_TOKENS_PER_SECOND = 50
"""Models that charge audio by token make 10 to 32."""
OUTPUT_TOKENS_PER_SECOND = 50
"""The fastest speaker needs about 10 in any script, timestamps as much again."""
LIKELY_INPUT_TOKENS_PER_SECOND = 10
LIKELY_OUTPUT_TOKENS_PER_SECOND = 4
FRAME_TOKENS = 2048

_LISTS = {"timestamp_granularities": "timestamp_granularities[]", "include": "include[]"}
"""Lists by their canonical name; OpenAI's SDKs add the brackets, and both spellings are read."""
_NATIVE = ("model", "language", "prompt", "temperature", "response_format", "timestamp_granularities")


class TranscriptionRequest(Struct, omit_defaults=True):
    """How to transcribe. None: not said by the caller. `translate` asks for English instead of the spoken language."""

    model: str
    translate: bool = False
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    response_format: str = "json"
    timestamp_granularities: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    chunking_strategy: str | None = None
    """As it was written: `auto`, or JSON."""
    extra: dict[str, list[str]] = field(default_factory=dict)
    """Fields that have no canonical meaning, for OpenAI-protocol upstreams, which are all there are."""


Task = Literal["transcribe", "translate"]


def decode_openai(fields: Mapping[str, list[str]], task: Task = "transcribe") -> TranscriptionRequest:
    """The form's fields without the file."""
    form = _Form(fields)
    request = _decode(form, task)
    request.extra = form.rest()
    return request


def decode_native(fields: Mapping[str, list[str]]) -> TranscriptionRequest:
    """A field that has no meaning here is refused; all such fields are named at once."""
    form = _Form(fields)
    request = _decode(form, "transcribe")
    unknown = [name for name in fields if name.removesuffix("[]") not in _NATIVE]
    if unknown:
        message = "is not a field of this endpoint"
        raise GatewayError(
            "VALIDATION_ERROR",
            f"{', '.join(unknown)}: {message}",
            param=unknown[0],
            details=[{"field": name, "message": message} for name in unknown],
        )
    return request


def _decode(form: _Form, task: Task) -> TranscriptionRequest:
    if form.text("stream") not in (None, "false", "False", "0"):
        raise invalid("stream", "transcriptions are not streamed here; leave it out")
    model = form.text("model")
    if not model:
        raise invalid("model", "is required")
    translate = task == "translate"
    if translate and form.text("language") is not None:
        raise invalid("language", "a translation is always into English; leave it out")
    granularities = form.listed("timestamp_granularities")
    for word in granularities:
        if word not in GRANULARITIES:
            raise invalid("timestamp_granularities", f'must hold {one_of(GRANULARITIES)}, not "{word}"')
    request = TranscriptionRequest(
        model=model,
        translate=translate,
        language=form.text("language"),
        prompt=form.text("prompt"),
        temperature=_temperature(form.text("temperature")),
        response_format=form.text("response_format") or "json",
        timestamp_granularities=granularities,
        include=form.listed("include"),
        chunking_strategy=form.text("chunking_strategy"),
    )
    if request.response_format not in FORMATS:
        raise invalid("response_format", f'must be {one_of(FORMATS)}, not "{request.response_format}"')
    if granularities and request.response_format != "verbose_json":
        raise invalid("timestamp_granularities", 'needs response_format "verbose_json"')
    return request


class _Form:
    """Form fields by name; a field that may stand once and stands twice is refused."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields
        self._known: set[str] = set()

    def text(self, name: str) -> str | None:
        self._known.add(name)
        values = self._fields.get(name, [])
        if len(values) > 1:
            raise invalid(name, f"must stand once, not {len(values)} times")
        return values[0] if values and values[0] != "" else None

    def listed(self, name: str) -> list[str]:
        spellings = (name, f"{name}[]")
        self._known.update(spellings)
        return [value for spelling in spellings for value in self._fields.get(spelling, [])]

    def rest(self) -> dict[str, list[str]]:
        return {name: list(values) for name, values in self._fields.items() if name not in self._known}


def _temperature(said: str | None) -> float | None:
    if said is None:
        return None
    try:
        temperature = float(said)
    except ValueError:
        temperature = math.nan
    if not 0 <= temperature <= 1:
        raise invalid("temperature", f'must be a number from 0 to 1, not "{said}"')
    return temperature


def encode_request(request: TranscriptionRequest, upstream_model: str) -> list[tuple[str, str]]:
    """The upstream's form fields, in order, to stand before the file."""
    fields = [("model", upstream_model)]
    said = {
        "language": request.language,
        "prompt": request.prompt,
        "temperature": None if request.temperature is None else str(request.temperature),
        "response_format": request.response_format,
        "chunking_strategy": request.chunking_strategy,
    }
    fields += [(name, value) for name, value in said.items() if value is not None]
    fields += [(_LISTS["timestamp_granularities"], word) for word in request.timestamp_granularities]
    fields += [(_LISTS["include"], word) for word in request.include]
    return fields + [(name, value) for name, values in request.extra.items() for value in values]


# -- usage ------------------------------------------------------------------------------------------------------------


def bound(request: TranscriptionRequest, seconds: float) -> Usage:
    """The most that the call can use. `seconds` is audio_length.audio_seconds_bound; the rates are above those of every
    model, for models that charge by time and by token alike."""
    whole = math.ceil(seconds)
    return Usage(
        input_tokens=whole * INPUT_TOKENS_PER_SECOND + text_bound(request.prompt or "") + FRAME_TOKENS,
        output_tokens=whole * OUTPUT_TOKENS_PER_SECOND + FRAME_TOKENS,
        audio_ms=whole * 1000,
    )


def estimate(request: TranscriptionRequest, seconds: float) -> Usage:
    """What the call likely used, where the upstream does not say. `seconds` is audio_length.audio_seconds_estimate."""
    return Usage(
        input_tokens=math.ceil(seconds * LIKELY_INPUT_TOKENS_PER_SECOND) + text_estimate(request.prompt or ""),
        output_tokens=math.ceil(seconds * LIKELY_OUTPUT_TOKENS_PER_SECOND),
        audio_ms=math.ceil(seconds * 1000),
    )
