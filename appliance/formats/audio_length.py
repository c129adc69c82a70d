"""How long an audio file lasts, from its size and first bytes: a safe bound for the reservation, and a fair guess.

The audio is streamed through and never held, so this is all that is known before the upstream tells. WAV is exact:
samples × channels × bytes a second fill the file. A compressed file could be longer than its usual bitrate says, so the
bound takes the lowest bitrate in practical use: MP3 has none below 8 kbit/s, speech codecs in Ogg, WebM and MP4 none
below 4. FLAC says its length, and sound does not fit into less than 16 kbit/s of it whatever it says. Only hours of
digital silence are packed tighter than all this. What the upstream bills is booked in any case.
"""

from __future__ import annotations

HEAD_BYTES = 4096
"""What `head` should hold: enough for the header, also behind some metadata."""

LOWEST_BYTES_PER_SECOND = 500
LOWEST_OF_MP3 = 1000
LOWEST_OF_FLAC = 2000
LIKELY_BYTES_PER_SECOND = 8000
"""64 kbit/s."""

PCM_FORMATS = (1, 3)
"""Whole numbers and floats."""
EXTENSIBLE = 0xFFFE
"""The longer header, which names the form further down."""


def audio_seconds_bound(size_bytes: int, head: bytes) -> float:
    """The file does not last longer. `head` is its beginning, HEAD_BYTES long if the file is."""
    if (rate := _wav_bytes_per_second(head)) is not None:
        return size_bytes / rate
    if head.startswith(b"fLaC"):
        return max(_flac_seconds(head), size_bytes / LOWEST_OF_FLAC)
    lowest = LOWEST_OF_MP3 if _is_mp3(head) else LOWEST_BYTES_PER_SECOND
    return size_bytes / lowest


def audio_seconds_estimate(size_bytes: int, head: bytes) -> float:
    """How long the file likely lasts."""
    if (rate := _wav_bytes_per_second(head)) is not None:
        return size_bytes / rate
    return _flac_seconds(head) or size_bytes / LIKELY_BYTES_PER_SECOND


def _wav_bytes_per_second(head: bytes) -> int | None:
    """None for what is no WAV file of plain samples. Not the header's own byte rate: decoders do not look at it."""
    if head[:4] not in (b"RIFF", b"RF64") or head[8:12] != b"WAVE":
        return None
    fields = _wav_format(head)
    if len(fields) < 16:
        return None
    form, channels = _number(fields[0:2]), _number(fields[2:4])
    rate, bits = _number(fields[4:8]), _number(fields[14:16])
    if form == EXTENSIBLE:
        form = _number(fields[24:26])
    if form not in PCM_FORMATS or not channels or not rate or not bits:
        return None
    return rate * channels * -(-bits // 8)


def _wav_format(head: bytes) -> bytes:
    """The content of the `fmt ` chunk. Chunk by chunk, since others before it may hold any bytes."""
    at = 12
    while at + 8 <= len(head):
        size = _number(head[at + 4 : at + 8])
        if head[at : at + 4] == b"fmt ":
            return head[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return b""


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _flac_seconds(head: bytes) -> float:
    """What STREAMINFO says; 0 where it does not."""
    packed = head[18:26]
    if not head.startswith(b"fLaC") or len(packed) < 8:
        return 0
    value = int.from_bytes(packed, "big")
    rate, samples = value >> 44, value & (2**36 - 1)
    return samples / rate if rate else 0


def _is_mp3(head: bytes) -> bool:
    """An ID3 tag, or the eleven set bits of a frame of layer III."""
    if head.startswith(b"ID3"):
        return True
    return len(head) > 2 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[2] >> 4 != 0
