"""How long a file lasts: exact for WAV, never too short for files at the lowest usual bitrates."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.formats.audio_length import audio_seconds_bound, audio_seconds_estimate


def wav(
    seconds: float, rate: int = 16_000, channels: int = 1, bits: int = 16, form: int = 1, before: bytes = b""
) -> tuple[int, bytes]:
    """A WAV file's size and its beginning."""
    frame = channels * -(-bits // 8)
    extension = struct.pack("<HHIH14s", 22, bits, 0, 1, b"\0" * 14) if form == 0xFFFE else b""
    fmt = struct.pack("<HHIIHH", form, channels, rate, rate * frame, frame, bits) + extension
    data = int(seconds * rate) * frame
    head = b"WAVE" + before + b"fmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", data)
    head = b"RIFF" + struct.pack("<I", len(head) + data) + head
    return len(head) + data, head


@pytest.mark.parametrize("form", [1, 3, 0xFFFE])
def test_wav_is_exact_but_for_its_header(form: int) -> None:
    size, head = wav(60, 44_100, 2, 24, form)
    assert audio_seconds_bound(size, head) == pytest.approx(60, rel=1e-4)
    assert audio_seconds_bound(size, head) >= 60
    assert audio_seconds_estimate(size, head) == audio_seconds_bound(size, head)


@given(st.integers(1, 100), st.sampled_from([8_000, 16_000, 48_000]), st.integers(1, 8), st.sampled_from([8, 12, 16]))
def test_no_wav_is_longer_than_its_bound(seconds: int, rate: int, channels: int, bits: int) -> None:
    size, head = wav(seconds, rate, channels, bits)
    assert seconds <= audio_seconds_bound(size, head) <= seconds + 1


def test_a_chunk_before_the_format_cannot_pose_as_it() -> None:
    fake = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 8, 192_000, 0, 0, 64)
    size, head = wav(60, before=b"LIST" + struct.pack("<I", len(fake)) + fake)
    assert audio_seconds_bound(size, head) >= 60
    assert audio_seconds_bound(size, head) < 61


@pytest.mark.parametrize(
    "head",
    [
        wav(60, form=0x11)[1],  # ADPCM packs tighter
        wav(60, form=0xFFFE)[1].replace(b"\x01\x00" + b"\0" * 14 + b"data", b"\x55\x00" + b"\0" * 14 + b"data"),
        wav(60, rate=0)[1],
        wav(60)[1][:30],
        b"RIFF\0\0\0\0WAVE",
        b"RIFF\0\0\0\0AVI LIST",
        b"OggS" + b"\0" * 40,
        b"\x1aE\xdf\xa3" + b"\0" * 40,
        b"\xff\xf1\x50\x80",  # AAC, not MP3
        b"\xff\xfb",
        b"",
    ],
)
def test_everything_else_is_taken_at_the_lowest_bitrate(head: bytes) -> None:
    assert audio_seconds_bound(1_000_000, head) == 2000
    assert audio_seconds_estimate(1_000_000, head) == 125


@pytest.mark.parametrize("head", [b"ID3\x04", b"\xff\xfb\x90\x00", b"\xff\xe3\x18\xc4", b"\xff\xf3\x18\xc4"])
def test_mp3_has_no_bitrate_below_eight(head: bytes) -> None:
    assert audio_seconds_bound(1_000_000, head) == 1000


def flac(samples: int, rate: int = 44_100) -> bytes:
    packed = (rate << 44 | 1 << 41 | 15 << 36 | samples).to_bytes(8, "big")
    return b"fLaC\0\0\0\x22" + b"\0" * 10 + packed + b"\0" * 16


def test_flac_says_its_length() -> None:
    assert audio_seconds_bound(1_000_000, flac(44_100 * 900)) == 900
    assert audio_seconds_estimate(1_000_000, flac(44_100 * 90)) == 90


def test_a_flac_that_says_little_is_not_believed() -> None:
    assert audio_seconds_bound(1_000_000, flac(1)) == 500
    assert audio_seconds_bound(1_000_000, flac(0)) == 500
    assert audio_seconds_bound(1_000_000, flac(5, rate=0)) == 500
    assert audio_seconds_bound(1_000_000, b"fLaC") == 500
    assert audio_seconds_estimate(1_000_000, b"fLaC") == 125
