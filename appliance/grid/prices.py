"""Integer price arithmetic. Prices are nano-USD per million tokens, amounts are nano-USD, cost is rounded up once."""

from __future__ import annotations

from dataclasses import dataclass

from appliance.formats.chat import Usage

NANO = 1_000_000_000
MILLION = 1_000_000
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Rates:
    """What a million tokens of each class cost, in nano-USD. `above`: holds for calls with more input tokens."""

    input: int = 0
    output: int = 0
    cached_input: int = 0
    cache_write: int = 0
    reasoning: int = 0
    above: int = 0

    def amount(self, usage: Usage) -> int:
        """Nano-USD times a million; every token class is charged exactly once (contract section 4)."""
        # A provider that reports more of a part than of the whole must not make the rest negative.
        cached = min(usage.cached_input_tokens, usage.input_tokens)
        written = min(usage.cache_write_tokens, usage.input_tokens - cached)
        reasoning = min(usage.reasoning_tokens, usage.output_tokens)
        amount = (
            (usage.input_tokens - cached - written) * self.input
            + cached * self.cached_input
            + written * self.cache_write
            + (usage.output_tokens - reasoning) * self.output
            + reasoning * self.reasoning
        )
        assert amount >= 0, amount
        return amount

    @property
    def dearest_input(self) -> int:
        return max(self.input, self.cached_input, self.cache_write)

    @property
    def dearest_output(self) -> int:
        return max(self.output, self.reasoning)


@dataclass(frozen=True, slots=True)
class Price:
    """A model's price: the base rates, dearer ones for long contexts (ascending), and what is charged by the piece.

    `request`, `image` and `search` are nano-USD for one; `audio_minute` for a minute; `characters` for a million.
    """

    base: Rates = Rates()
    tiers: tuple[Rates, ...] = ()
    request: int = 0
    image: int = 0
    audio_minute: int = 0
    characters: int = 0
    search: int = 0
    written: frozenset[str] = frozenset()
    """Which prices the operator wrote: what he did not write has no price, which is not the same as none to pay."""

    def rates(self, input_tokens: int) -> Rates:
        """A call whose input passes a tier's bound is charged wholly at that tier's rates, as providers do."""
        chosen = self.base
        for tier in self.tiers:
            if input_tokens > tier.above:
                chosen = tier
        return chosen

    def cost(self, usage: Usage) -> int:
        """Nano-USD for the usage, rounded up once."""
        amount = self.rates(usage.input_tokens).amount(usage)
        if not (usage.images or usage.audio_ms or usage.characters or usage.searches):
            return -(-amount // MILLION) + self.request
        return self._with_pieces(amount, usage)

    def worst(self, input_bound: int, output_bound: int) -> int:
        """Nano-USD that no call with at most so many tokens can exceed: the dearest rate of each kind, in any tier."""
        dearest_input, dearest_output = self._dearest(input_bound)
        return -(-(input_bound * dearest_input + output_bound * dearest_output) // MILLION) + self.request

    def worst_of(self, bound: Usage) -> int:
        """The same for a call that is also charged by the piece."""
        dearest_input, dearest_output = self._dearest(bound.input_tokens)
        amount = bound.input_tokens * dearest_input + bound.output_tokens * dearest_output
        return self._with_pieces(amount, bound)

    def _with_pieces(self, amount: int, usage: Usage) -> int:
        """`amount` is in nano-USD times a million; all is brought to one denominator, so that it is rounded up once."""
        by_share = (amount + usage.characters * self.characters) * MINUTE_MS
        by_share += usage.audio_ms * self.audio_minute * MILLION
        whole = usage.images * self.image + usage.searches * self.search + self.request
        return -(-by_share // (MILLION * MINUTE_MS)) + whole

    def output_covered(self, input_bound: int, money: int) -> int:
        """The most output tokens whose worst case fits into `money` nano-USD; far more than any answer when free."""
        dearest_input, dearest_output = self._dearest(input_bound)
        left = (money - self.request) * MILLION - input_bound * dearest_input
        if left < 0:
            return 0
        return left // dearest_output if dearest_output else 1 << 60

    def _dearest(self, input_bound: int) -> tuple[int, int]:
        reachable = [self.base, *(tier for tier in self.tiers if input_bound > tier.above)]
        return max(rates.dearest_input for rates in reachable), max(rates.dearest_output for rates in reachable)


def usd_price(nano: int) -> str:
    """A price as people write it, with at least two decimals: 400_000_000 → "0.40"."""
    whole, _, decimals = usd(nano).partition(".")
    return f"{whole}.{decimals:0<2}"


def usd(nano: int) -> str:
    """Nano-USD → decimal string without trailing zeros: 7_275_000 → "0.007275"."""
    whole, rest = divmod(abs(nano), NANO)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return f"-{text}" if nano < 0 else text
