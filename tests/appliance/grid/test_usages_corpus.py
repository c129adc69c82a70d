"""1,577 recorded usage bodies, read by us and by another library: the same tokens in the same classes, the same money.

A differential oracle, not the truth: every difference is a question, and those that were answered are listed here.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any

import genai_prices
import pytest

from appliance.formats.anthropic_reply import decode_usage as decode_anthropic
from appliance.formats.chat import Usage
from appliance.formats.google_usage import decode_usage as decode_google
from appliance.formats.openai_usage import decode_usage as decode_openai
from appliance.formats.responses_usage import decode_usage as decode_responses
from appliance.grid.compile import compile_grid
from appliance.grid.prices import NANO, Price
from support.build import load_yaml
from support.fixtures import FIXTURES

CORPUS = FIXTURES / "usages" / "usages.json"
pytestmark = pytest.mark.skipif(not CORPUS.is_file(), reason=f"no recorded usages at {CORPUS} (set SCAIGRID_FIXTURES)")

READINGS = {
    "openai": ("openai", "chat"),
    "anthropic": ("anthropic", "default"),
    "google": ("google", "default"),
    "responses": ("openai", "responses"),
}
SERVICES = {"responses": "openai"}
DECODERS: dict[str, Callable[[Any], Usage | None]] = {
    "openai": decode_openai,
    "anthropic": decode_anthropic,
    "google": decode_google,
    "responses": decode_responses,
}
"""Which of the corpus' readings of a body is its own, by the dialect that it is written in."""


@cache
def entries() -> list[tuple[str, dict[str, Any], dict[str, Any], str]]:
    """(dialect, usage as it was sent, usage as the corpus reads it, model) of every body in a dialect of ours."""
    found = []
    for entry in json.loads(CORPUS.read_bytes()):
        body = entry["body"]
        usage = body.get("usage") or body.get("usageMetadata")
        dialect = dialect_of(usage) if isinstance(usage, dict) else ""
        reading = reading_of(entry, READINGS[dialect]) if dialect else None
        if reading is not None:
            found.append((dialect, usage, reading, str(entry["body"].get("model"))))
    return found


def dialect_of(usage: dict[str, Any]) -> str:
    if {"prompt_tokens", "completion_tokens"} <= usage.keys():
        return "openai"
    if "promptTokenCount" in usage or "totalTokenCount" in usage:
        return "google"
    if "cache_creation_input_tokens" in usage:
        return "anthropic"
    return "responses" if {"input_tokens", "input_tokens_details", "output_tokens"} <= usage.keys() else ""


def reading_of(entry: dict[str, Any], wanted: tuple[str, str]) -> dict[str, Any] | None:
    for extracted in entry["extracted"]:
        for extractor in extracted["extractors"]:
            if (extractor["provider_id"], extractor["api_flavor"]) == wanted:
                reading: dict[str, Any] = extracted["usage"]
                return reading
    return None


def decoded(dialect: str, usage: dict[str, Any]) -> Usage:
    found = DECODERS[dialect](usage)
    assert found is not None
    return found


def answered(dialect: str, usage: dict[str, Any]) -> str:
    """Why we rightly count more than the corpus does; empty where there is no reason to differ."""
    if dialect == "anthropic" and usage.get("iterations"):
        return "iterations: compaction and advisor rounds are billed, and stand in no other member"
    counted = usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
    if dialect == "openai" and usage.get("total_tokens", 0) > counted:
        return "hidden: the total holds thinking that the two counts do not"
    return ""


def test_the_corpus_has_what_is_tested_here() -> None:
    assert Counter(dialect for dialect, *_ in entries()) == {
        "openai": 406,
        "anthropic": 226,
        "google": 451,
        "responses": 254,
    }


def test_every_class_is_what_the_other_library_reads() -> None:
    differences = []
    for dialect, usage, reading, model in entries():
        mine = decoded(dialect, usage)
        counts = (mine.input_tokens, mine.output_tokens, mine.cached_input_tokens, mine.cache_write_tokens)
        names = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
        if counts != tuple(reading.get(name, 0) for name in names) and not answered(dialect, usage):
            differences.append((model, usage, reading))
    assert differences == []


def test_where_we_differ_we_count_more_and_know_why() -> None:
    reasons: Counter[str] = Counter()
    for dialect, usage, reading, _ in entries():
        mine = decoded(dialect, usage)
        total = reading.get("input_tokens", 0) + reading.get("output_tokens", 0)
        if mine.total_tokens != total:
            reasons[answered(dialect, usage).partition(":")[0]] += 1
            assert mine.total_tokens > total
    assert reasons == {"iterations": 5, "hidden": 2}


def test_the_sum_of_the_classes_is_the_provider_s_total() -> None:
    """Each token stands in exactly one of the five classes, and a total that the provider names is their sum."""
    for dialect, usage, _, model in entries():
        mine = decoded(dialect, usage)
        plain = mine.input_tokens - mine.cached_input_tokens - mine.cache_write_tokens
        spoken = mine.output_tokens - mine.reasoning_tokens
        classes = (plain, mine.cached_input_tokens, mine.cache_write_tokens, spoken, mine.reasoning_tokens)
        assert min(classes) >= 0, (model, usage)
        assert sum(classes) == mine.total_tokens
        if dialect in ("openai", "responses") and usage.get("total_tokens"):
            assert mine.total_tokens == usage["total_tokens"], (model, usage)
        elif dialect == "google" and usage.get("totalTokenCount"):
            assert mine.total_tokens == usage["totalTokenCount"], (model, usage)
        elif dialect == "anthropic" and not usage.get("iterations"):
            parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
            assert mine.total_tokens == sum(usage.get(part) or 0 for part in parts), (model, usage)


def test_reasoning_is_what_the_other_library_reads() -> None:
    for dialect, usage, reading, model in entries():
        if "output_reasoning_tokens" in reading and not answered(dialect, usage):
            assert decoded(dialect, usage).reasoning_tokens == reading["output_reasoning_tokens"], (model, usage)


# -- the same money ---------------------------------------------------------------------------------------------------


@cache
def price_of(dialect: str, model: str) -> Price | None:
    """The price that `price: auto` means for this upstream model; None where the library knows none."""
    provider = f"providers: {{p: {{type: {SERVICES.get(dialect, dialect)}, api_key: secret-of-the-test}}}}"
    try:
        loaded = load_yaml(f'{provider}\nmodels: {{m: {{price: auto, route: [{{backend: "p:{model}"}}]}}}}\n')
    except Exception:
        return None
    return compile_grid(loaded, 1).models["m"].price


def library_nano(dialect: str, model: str, usage: Usage) -> Decimal:
    """What the library itself, with the table that is installed, asks for the same counts."""
    counts = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    return genai_prices.calc_price(counts, model, provider_id=SERVICES.get(dialect, dialect)).total_price * NANO


def test_a_price_that_is_looked_up_gives_the_library_s_own_amount_to_the_nano() -> None:
    compared = 0
    for dialect, raw, _, model in entries():
        price = price_of(dialect, model)
        if price is None:
            continue
        usage = decoded(dialect, raw)
        more = price.cost(usage) - library_nano(dialect, model, usage)
        assert 0 <= more < 1, f"{model}: {raw} costs {more} nano-USD more than the library says"
        compared += 1
    assert compared > 350
