"""Speech from text, for callers and for OpenAI-protocol upstreams. The answer is audio and goes through as it is.

Nothing here touches the audio but its first bytes, to tell an answer from an error.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field

from appliance.errors import invalid
from appliance.formats.chat import Usage
from appliance.formats.members import Members, kind, one_of
from appliance.formats.refused_members import refuse_unknown
from appliance.formats.reply_object import mismatch, reply_object
from appliance.formats.text_bound import text_bound, text_estimate

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
DEFAULT_FORMAT = "mp3"
AUDIO_TOKENS_PER_SECOND = 25
"""Token-priced models make about 21."""
SECONDS_PER_CHARACTER = 1.0
"""No voice needs longer at its slowest for one character, digits and ideographs included."""
LIKELY_SECONDS_PER_CHARACTER = 0.07
FRAME_TOKENS = 256


class SpeechRequest(Struct, omit_defaults=True):
    """Text to speak. `voice` is a name, or an object with the id of a voice of one's own."""

    model: str
    input: str
    voice: str | dict[str, Any]
    response_format: str = DEFAULT_FORMAT
    speed: float | None = None
    instructions: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def decode_openai(body: dict[str, Any]) -> SpeechRequest:
    members = Members(body)
    request = _decode(members)
    request.extra = members.rest()
    return request


def decode_native(body: dict[str, Any]) -> SpeechRequest:
    members = Members(body)
    request = _decode(members)
    refuse_unknown(members)
    return request


def _decode(members: Members) -> SpeechRequest:
    if members.value("stream_format") not in (None, "audio"):
        raise invalid("stream_format", 'must be "audio": the audio itself is streamed here, not events')
    asked = members.text("response_format") or DEFAULT_FORMAT
    if asked not in CONTENT_TYPES:
        raise invalid("response_format", f'must be {one_of(tuple(CONTENT_TYPES))}, not "{asked}"')
    return SpeechRequest(
        model=members.needed_text("model"),
        input=members.needed_text("input"),
        voice=_voice(members),
        response_format=asked,
        speed=members.number("speed", 0.25, 4),
        instructions=members.text("instructions"),
    )


def _voice(members: Members) -> str | dict[str, Any]:
    voice = members.needed("voice")
    if isinstance(voice, dict):
        Members(voice, "voice").needed_text("id")
        return voice
    if not isinstance(voice, str) or not voice:
        raise invalid("voice", f"must be a voice's name, or an object with its id, not {kind(voice)}")
    return voice


def encode_request(request: SpeechRequest, upstream_model: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        **request.extra,
        "model": upstream_model,
        "input": request.input,
        "voice": request.voice,
        "response_format": request.response_format,
    }
    said = {"speed": request.speed, "instructions": request.instructions}
    return body | {name: value for name, value in said.items() if value is not None}


def check_reply(content_type: str, first: bytes) -> None:
    """Raises UPSTREAM_SHAPE_MISMATCH when an answer with status 200 is no audio; `first` is its first chunk."""
    if not first:
        raise mismatch("is empty")
    named = content_type.partition(";")[0].strip().lower()
    if named == "application/json" or named.endswith("+json"):
        reply_object(first)  # says what the error was
        raise mismatch("is JSON, no audio")
    if named.startswith("text/"):
        raise mismatch("is text, no audio")


# -- usage ------------------------------------------------------------------------------------------------------------


def usage(request: SpeechRequest) -> Usage:
    """What is known for certain: characters, as Unicode counts them. Tokens the audio does not tell."""
    return Usage(characters=len(request.input))


def estimate(request: SpeechRequest) -> Usage:
    """The same with the likely tokens, for models that are priced by them."""
    seconds = len(request.input) * LIKELY_SECONDS_PER_CHARACTER / (request.speed or 1)
    return Usage(
        input_tokens=text_estimate(request.input) + text_estimate(request.instructions or ""),
        output_tokens=_audio_tokens(seconds),
        characters=len(request.input),
    )


def bound(request: SpeechRequest) -> Usage:
    """The most that the call can use. Safe, because characters are counted, not guessed, and the tokens of the audio
    are those of a voice that takes a whole second for each character."""
    seconds = len(request.input) * SECONDS_PER_CHARACTER / (request.speed or 1)
    return Usage(
        input_tokens=text_bound(request.input) + text_bound(request.instructions or "") + FRAME_TOKENS,
        output_tokens=_audio_tokens(seconds) + FRAME_TOKENS,
        characters=len(request.input),
    )


def _audio_tokens(seconds: float) -> int:
    return int(seconds * AUDIO_TOKENS_PER_SECOND) + 1
