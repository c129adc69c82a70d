"""What calls cost: Price, its tiers, and the words `free` and `auto`. Written in USD, held in whole nano-USD."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from config.entry import Entry, Listed
from config.problems import flaw
from config.scalars import Money, setting

FREE = "free"
AUTO = "auto"
WRITE = 'write the price, like {input: "15.00", output: "75.00"}'
NOTHING = "0"
"""A unit that is not written costs nothing; check_prices.py asks for those that a model's calls are charged by."""


def _like(other: str, meaning: str) -> Any:
    """A price that is the same as another one until it is written."""
    return Field(default_factory=lambda data: data[other], description=f"{meaning}; default: the {other} price")


class Tier(Entry):
    """A call with more input tokens than `above` is charged wholly at these prices, in USD per million tokens."""

    above: int = Field(ge=1, le=10**12, description="input tokens of one call, those from a cache included")
    input: Money = Field(description="plain input tokens, in USD per million")
    output: Money = Field(description="output tokens, in USD per million")
    cached_input: Money = _like("input", "input read from a cache")
    cache_write: Money = _like("input", "input written to a cache")
    reasoning: Money = _like("output", "output tokens spent on reasoning")


def _ascending(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    starts = [tier.above for tier in tiers]
    if starts != sorted(set(starts)):
        raise flaw("each tier must begin above the one before it", "order the tiers by `above`, each value once")
    return tiers


class Price(Entry):
    """What a call costs: each token is charged once, in its class, in USD per million; what is counted in pieces has
    its price per piece. What a model is charged by has to be written: for chat `input` and `output`; for embedding
    `input`; for image `image`, or `input` and `output`; for audio `audio_minute` (speech written down), or
    `characters` (text spoken), or `input` and `output`; for rerank `search`, or `input`. `free` says on purpose that
    nothing is charged. `auto` takes the published price from the offline price library, for the
    provider types that it knows: a model's `price` that of the first target in its list, enabled or not, a
    target's `cost` that of the target itself; what the library does not know is a problem."""

    input: Money = setting(NOTHING, "plain input tokens, in USD per million")
    output: Money = setting(NOTHING, "output tokens, in USD per million")
    cached_input: Money = _like("input", "input read from a cache")
    cache_write: Money = _like("input", "input written to a cache")
    reasoning: Money = _like("output", "output tokens spent on reasoning")
    image: Money = setting(NOTHING, "one image, in USD")
    audio_minute: Money = setting(NOTHING, "one minute of audio, in USD")
    characters: Money = setting(NOTHING, "characters of text that is spoken, in USD per million")
    search: Money = setting(NOTHING, "one search, in USD: documents sorted by one question")
    request: Money = setting(NOTHING, "one call, in USD, on top of the rest")
    tiers: Annotated[Listed[tuple[Tier, ...]], AfterValidator(_ascending)] = setting(
        [], "other token prices for calls with much input, ascending"
    )

    _auto: bool = PrivateAttr(default=False)
    _source: str = PrivateAttr(default="")

    @property
    def auto(self) -> bool:
        """Written as `auto`. While `source` is empty the amounts are placeholders; load() never returns such a one."""
        return self._auto

    @property
    def source(self) -> str:
        """Where an `auto` price comes from, for people; empty for a written one."""
        return self._source

    @property
    def free(self) -> bool:
        """Costs nothing whatever is used; an `auto` price that was not looked up yet is not free."""
        amounts = [getattr(entry, key) for entry in (self, *self.tiers) for key in TOKEN_CLASSES]
        return not any((*amounts, *(getattr(self, key) for key in PIECES), self.unresolved))

    @property
    def unresolved(self) -> bool:
        """`auto`, and not looked up yet."""
        return self._auto and not self._source

    @classmethod
    def found(cls, written: dict[str, Any], source: str) -> Price:
        """An `auto` price that was looked up."""
        price = cls.model_validate(written)
        price._auto, price._source = True, source
        return price

    @model_validator(mode="wrap")
    @classmethod
    def _read_words(cls, data: Any, handler: Any) -> Price:
        if not isinstance(data, dict | Price) and data not in (FREE, AUTO):
            raise flaw("a price is a mapping, `free` or `auto`", f"{WRITE}, or `free`")
        if data == {}:
            raise flaw("this price says nothing", f"{WRITE}, or `free`")
        price: Price = handler({"input": NOTHING, "output": NOTHING} if data in (FREE, AUTO) else data)
        if data == AUTO:
            price._auto = True
        return price


TOKEN_CLASSES = ("input", "output", "cached_input", "cache_write", "reasoning")
"""What is charged by the token; the price of each is per million."""

PIECES = ("image", "audio_minute", "characters", "search", "request")
"""What is charged by the piece; the price of characters is per million."""


class _OrWords:
    """Tells editors that `free` and `auto` may stand for a price."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"const": FREE}, {"const": AUTO}, handler(schema)]}


Priced = Annotated[Price, _OrWords]
