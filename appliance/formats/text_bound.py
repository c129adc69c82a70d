"""The most and the likely number of tokens that a text can have, for models of which we have no tokeniser."""

from __future__ import annotations

import unicodedata

BYTES_PER_TOKEN = 4
"""About four bytes of UTF-8 make a token of English; other scripts are near."""


def text_bound(text: str) -> int:
    """More tokens than this no tokeniser makes of the text; what a model puts around it comes on top.

    A token covers at least one byte, but some tokenisers count the bytes of the NFKC form, and that may be longer: one
    ligature can stand for eighteen letters.
    """
    if text.isascii():
        return len(text)
    return max(byte_count(text), byte_count(unicodedata.normalize("NFKC", text)))


def text_estimate(text: str) -> int:
    return -(-byte_count(text) // BYTES_PER_TOKEN)


def byte_count(text: str) -> int:
    """Lone surrogates, which JSON can say and UTF-8 cannot, count as the three bytes that they would take."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
