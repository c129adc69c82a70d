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


def tokens_of(byte_count: int) -> int:
    return -(-byte_count // BYTES_PER_TOKEN)


def input_tokens(body: bytes) -> int:
    """Input tokens of a request body in any JSON dialect; embedded media count by piece, not by size."""
    media = [found.end() - found.start() for found in _MEDIA.finditer(body)]
    return tokens_of(len(body) - sum(media)) + MEDIA_TOKENS * len(media)
