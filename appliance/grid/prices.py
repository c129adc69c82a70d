"""Integer price arithmetic. Prices are nano-USD per million tokens, amounts are nano-USD, cost is rounded up once."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.formats.chat import Usage

NANO = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of each class cost, in nano-USD."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0

    def cost(self, usage: Usage) -> int:
        """Nano-USD for the usage; every token class is charged exactly once (contract section 4)."""
        # A provider that reports more cached than input tokens must not make the plain share negative.
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        plain = usage.input_tokens - cached - written
        amount = (
            plain * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + usage.output_tokens * self.output
        )
        assert amount >= 0, amount
        return -(-amount // 1_000_000)


def usd_price(nano: int) -> str:
    """A price as people write it, with at least two decimals: 400_000_000 → "0.40"."""
    whole, _, decimals = usd(nano).partition(".")
    return f"{whole}.{decimals:0<2}"


def usd(nano: int) -> str:
    """Nano-USD → decimal string without trailing zeros: 7_275_000 → "0.007275"."""
    whole, rest = divmod(abs(nano), NANO)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nano < 0 else text
