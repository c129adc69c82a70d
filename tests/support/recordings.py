"""What the tests of recordings share: a WAV file, the upstreams that hear it, the YAML, a look at what is kept."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

from support import modal_upstream
from support.appliance import Answer, Gateway
from support.modal_rules import Kind

MB = 1024 * 1024
BYTES_PER_SECOND = 32_000
PATHS = {"native": "/v1/inference/audio/transcribe", "compat": "/oai/v1/audio/transcriptions"}


def recording(seconds: float) -> bytes:
    """A WAV file of 16 kHz, 16 bit, one channel, its header counted in; no piece of it can be lost unnoticed."""
    size = int(seconds * BYTES_PER_SECOND) // 4 * 4 - 44
    header = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt "
    header += struct.pack("<IHHIIHH", 16, 1, 1, 16_000, BYTES_PER_SECOND, 2, 16) + b"data" + struct.pack("<I", size)
    return header + struct.pack(f"<{size // 4}I", *range(size // 4))


FILE = recording(90)
"""As long as the upstreams of support.modal_upstream say."""
KIND = Kind(
    operation="transcribe",
    paths=PATHS,
    body={},
    file=FILE,
    good="minute",
    greedy="minute",
    crowd_limit="0.105",
    wrong={
        "response_format": {"response_format": "mp3"},
        "temperature": {"temperature": "2"},
        "timestamp_granularities": {"timestamp_granularities[]": "word", "response_format": "json"},
        "stream": {"stream": "true"},
    },
)
TRANSLATE = replace(KIND, operation="translate", paths={"compat": "/oai/v1/audio/translations"})
YAML = """
server:
  upload_limit: 40MB
providers:
  up: {{type: custom, base_url: "{url}/v1"}}
  demo: {{type: demo}}
models:
  minute: &audio
    modality: audio
    price: {{audio_minute: "0.006"}}
    route: [{{backend: "up:hears"}}]
  tokens: &tokens {{<<: *audio, price: {{input: "6", output: "10"}}, route: [{{backend: "up:hears-tokens"}}]}}
  tokens-untold: {{<<: *tokens, route: [{{backend: "up:untold"}}]}}
  both: {{<<: *tokens, price: {{audio_minute: "0.006", input: "6", output: "10"}}}}
  untold: {{<<: *audio, route: [{{backend: "up:untold"}}]}}
  second: {{<<: *audio, route: [{{backend: "up:fails"}}, {{backend: "up:hears"}}]}}
  cut: {{<<: *audio, route: [{{backend: "up:resets"}}, {{backend: "up:hears"}}]}}
  wrong: {{<<: *audio, route: {{targets: [{{backend: "up:wrong"}}], retries: 0}}}}
  stuck: {{<<: *audio, route: [{{backend: "up:stuck"}}]}}
  dutch: {{<<: *audio, default_params: {{language: nl, response_format: text}}}}
  voice-only: {{<<: *audio, price: {{characters: "15"}}}}
  chat: {{price: free, route: [{{backend: "up:hears"}}]}}
{people}
"""
PLAYS = {
    "hears": modal_upstream.hears,
    "hears-tokens": modal_upstream.hears_in_tokens,
    "untold": modal_upstream.hears_untold,
    "fails": modal_upstream.fails,
    "resets": lambda call: call.reset(),
    "wrong": modal_upstream.says_no_json,
    "stuck": modal_upstream.never,
}


def uploads(gateway: Gateway) -> list[Path]:
    return list((gateway.data_dir / "uploads").iterdir())


def open_uploads(gateway: Gateway) -> int:
    links = Path(f"/proc/{gateway.process.pid}/fd").iterdir()
    return sum("upload-" in str(link.readlink()) for link in links if link.is_symlink())


def text_of(answer: Answer, surface: str) -> str:
    assert answer.status == 200, answer.body
    text: str = (answer.json()["data"] if surface == "native" else answer.json())["text"]
    return text
