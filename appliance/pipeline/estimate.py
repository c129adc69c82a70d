"""Token estimates for calls whose upstream reports none, from bytes alone: cheap, and never a stall on large prompts.

About four bytes of UTF-8 make a token of English; for other scripts that is nearer still (a Chinese character is three
bytes and about 0.6 to 0.8 tokens). An image costs what a mid-sized one costs at the large providers.
"""

from __future__ import annotations

import re

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 1_100
# A slash may be written with a backslash before it, as some JSON writers do.
_MEDIA = re.compile(rb"base64,[A-Za-z0-9+/=_\\-]+|\"data\"\s*:\s*\"[A-Za-z0-9+/=_\\-]{64,}")


MEDIA_BOUND_TOKENS = 50_000
HIDDEN_BOUND_TOKENS = 2_048
_URL_MEDIA = re.compile(rb"\"url\"\s*:\s*\"https?:")


def input_bound(body: bytes, system_prompt: str | None) -> int:
    """An upper bound of the input tokens of a request (docs/accounting.md says why it is safe).

    No tokeniser of the providers makes more tokens than bytes of text, and every message brings more bytes of JSON than
    a provider adds tokens for it. Media count at most MEDIA_BOUND_TOKENS a piece, and a provider's own hidden prompts
    (for tools, say) at most HIDDEN_BOUND_TOKENS.
    """
    media = [found.end() - found.start() for found in _MEDIA.finditer(body)]
    remote = sum(1 for _ in _URL_MEDIA.finditer(body)) if b"http" in body else 0
    text = len(body) - sum(media) + len((system_prompt or "").encode())
    known = sum(min(size, MEDIA_BOUND_TOKENS) for size in media)
    return text + known + remote * MEDIA_BOUND_TOKENS + HIDDEN_BOUND_TOKENS


def tokens_of(byte_count: int) -> int:
    return -(-byte_count // BYTES_PER_TOKEN)


def input_tokens(body: bytes) -> int:
    """Input tokens of a request body in any JSON dialect; embedded media count by piece, not by size."""
    media = [found.end() - found.start() for found in _MEDIA.finditer(body)]
    return tokens_of(len(body) - sum(media)) + MEDIA_TOKENS * len(media)
