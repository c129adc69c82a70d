"""`auto`: what the offline library says, exactly, and only when it is asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

import config
from config.price_library import UnknownPrice, _newest, _written, known_price, usd
from config.services import SERVICES

Load = Callable[..., config.Loaded]
HEAD = "providers:\n  o: {type: openai, api_key: k}\n  a: {type: anthropic, api_key: k}\n  d: {type: demo}\n"
MOST_USED = ("openai", "anthropic", "google")
FAR_AHEAD = datetime(2999, 1, 1, 12, tzinfo=UTC)
LIBRARY = {entry.id: entry for entry in providers}
KNOWN = [
    (row, model)
    for row in SERVICES.values()
    if row.prices and row.type != "gemini"  # the same as google
    for model in LIBRARY[row.prices].models[:: 20 if row.type == "openrouter" else 1]
]
TOKENS = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "output_reasoning_mtok"}
ADDED_BY_CALLERS = {"cache_write_1h_mtok", "web_searches_kcount", "storage_searches_kcount"}
USAGES = [
    (plain, cached, written, output)
    for plain in (0, 1, 99_999, 100_001, 199_999, 200_000, 200_001, 271_999, 272_001, 1_000_000)
    for cached, written in ((0, 0), (1, 0), (0, 1), (12_345, 678))
    for output in (0, 16, 64_000)
]


def is_plain_chat(model: ModelInfo) -> bool:
    prices = model.get_prices(FAR_AHEAD)
    keys = {key for key, value in vars(prices).items() if value is not None}
    return {"input_mtok", "output_mtok"} <= keys <= TOKENS | ADDED_BY_CALLERS and not changes_during_the_day(model)


def changes_during_the_day(model: ModelInfo) -> bool:
    conditions = model.prices if isinstance(model.prices, list) else []
    return any(isinstance(entry.constraint, TimeOfDateConstraint) for entry in conditions)


def charged(price: config.Price, plain: int, cached: int, written: int, output: int) -> Decimal:
    """USD of one call, as the price's own words say it."""
    begun = [tier for tier in price.tiers if plain + cached + written > tier.above]
    rates = begun[-1] if begun else price
    nano = plain * rates.input + cached * rates.cached_input + written * rates.cache_write + output * rates.output
    return Decimal(nano) / 10**15


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        (row.type, model.id)
        for row, model in KNOWN
        if is_plain_chat(model) and LIBRARY[row.prices].find_model(model.id) is model
    ],
)
def test_every_chat_model_costs_what_the_library_computes(provider: str, model: str) -> None:
    price = known_price(provider, model)
    assert price.source == f"genai-prices {version('genai-prices')}: {model}"
    for plain, cached, written, output in USAGES if provider in MOST_USED else USAGES[::7]:
        usage = genai_prices.Usage(
            input_tokens=plain + cached + written,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_tokens=output,
        )
        theirs = genai_prices.calc_price(
            usage, model, provider_id=SERVICES[provider].prices, genai_request_timestamp=FAR_AHEAD
        )
        more = charged(price, plain, cached, written, output) - theirs.total_price
        rounded = Decimal(plain + cached + written + output) / 10**15 if provider == "openrouter" else 0
        assert 0 <= more <= rounded, (plain, cached, written, output)


@pytest.mark.parametrize(
    ("provider", "model"), [(row.type, model.id) for row, model in KNOWN if not is_plain_chat(model)]
)
def test_no_other_model_has_a_price(provider: str, model: str) -> None:
    with pytest.raises(UnknownPrice):
        known_price(provider, model)


def test_the_well_known_models_are_known() -> None:
    for provider, model in [
        ("openai", "gpt-4.1-mini"),
        ("openai", "gpt-4o-2024-08-06"),
        ("openai", "o3"),
        ("anthropic", "claude-sonnet-4-5-20250929"),
        ("anthropic", "claude-opus-4-1"),
    ]:
        price = known_price(provider, model)
        assert (price.auto, price.unresolved, price.free) == (True, False, False)


def test_a_price_is_that_of_the_first_target_and_a_cost_that_of_its_own(load_text: Load) -> None:
    text = (
        "models:\n"
        "  own:\n    price: auto\n    route:\n"
        "      - {backend: 'o:gpt-4.1-mini', enabled: false, cost: auto}\n      - {backend: 'd:x', cost: free}\n"
        "  named: {price: auto, route: shared}\n"
        "  written: {price: {input: '1', output: '2'}, route: shared}\n"
        "routing_policies:\n"
        "  shared: {targets: [{backend: 'a:claude-opus-4-1'}, {backend: 'o:gpt-4.1-mini', priority: 0, cost: auto}]}\n"
    )
    document = load_text(HEAD + text).document
    mini, opus = known_price("openai", "gpt-4.1-mini"), known_price("anthropic", "claude-opus-4-1")
    own, named, written = (document.models[name] for name in ("own", "named", "written"))
    assert isinstance(own.route, config.RoutingPolicy)
    assert (own.price, own.route.targets[0].cost) == (mini, mini)
    assert (mini.input, mini.output, mini.cached_input) == (400_000_000, 1_600_000_000, 100_000_000)
    assert (own.price.auto, own.price.source) == (True, f"genai-prices {genai_prices.__version__}: gpt-4.1-mini")
    assert named.price == opus
    assert [target.cost for target in document.routing_policies["shared"].targets] == [None, mini]
    assert (written.price.auto, written.price.source) == (False, "")


def test_a_price_may_be_auto_by_reference(load_text: Load) -> None:
    text = "models:\n  m: {price: '${env:P}', route: [{backend: 'o:${env:M}'}]}\n"
    price = load_text(HEAD + text, {"P": "auto", "M": "gpt-4.1-mini"}).document.models["m"].price
    assert price == known_price("openai", "gpt-4.1-mini")


def test_an_embedding_needs_no_price_of_output() -> None:
    price = known_price("openai", "text-embedding-3-small", "embedding")
    assert (price.input, price.output, price.auto) == (20_000_000, 0, True)
    with pytest.raises(UnknownPrice, match="no known price for the tokens"):
        known_price("openai", "text-embedding-3-small")


def test_sound_is_priced_by_its_minutes_and_speech_by_its_characters() -> None:
    heard = known_price("openai", "whisper-1", "audio")
    assert (heard.audio_minute, heard.model_fields_set) == (6_000_000, {"audio_minute"})
    spoken = known_price("openai", "tts-1", "audio")
    assert (spoken.characters, spoken.model_fields_set) == (15 * 10**9, {"characters"})


def test_a_minute_that_is_no_whole_number_of_nano_usd_is_rounded_up() -> None:
    assert _written(ModelPrice(audio_hours=Decimal("0.1")), "audio") == {"audio_minute": "0.001666667"}


@pytest.mark.parametrize(
    "prices",
    [
        {},
        {"audio_hours": Decimal(1), "input_audio_hours": Decimal(2)},
        {"audio_hours": Decimal(1), "input_mchars": Decimal(1)},
        {"audio_hours": TieredPrices(Decimal(1), [Tier(100, Decimal(2))])},
        {"audio_hours": Decimal(1), "input_mtok": Decimal(1), "output_mtok": Decimal(1)},
    ],
)
def test_sound_with_two_prices_or_none_is_unknown(prices: dict[str, Any]) -> None:
    with pytest.raises(UnknownPrice):
        _written(ModelPrice(**prices), "audio")


def test_tokens_that_cost_more_as_an_image_or_sound_are_unknown() -> None:
    for model, modality in (("gpt-image-1", "image"), ("gpt-4o-transcribe", "audio")):
        with pytest.raises(UnknownPrice, match="depends on more than its tokens"):
            known_price("openai", model, modality)  # type: ignore[arg-type]


def test_the_modality_of_a_shared_policy_is_that_of_its_models(load_text: Load) -> None:
    text = (
        "models:\n  v: {price: auto, modality: embedding, route: shared}\n"
        "routing_policies:\n  shared: {targets: [{backend: 'o:text-embedding-3-small', cost: auto}]}\n"
    )
    cost = load_text(HEAD + text).document.routing_policies["shared"].targets[0].cost
    assert cost == known_price("openai", "text-embedding-3-small", "embedding")


def test_services_that_are_not_in_the_library_have_no_auto() -> None:
    with pytest.raises(UnknownPrice, match="of type `ollama`"):
        known_price("ollama", "gpt-4.1-mini")


def test_tiers_are_gathered_over_all_classes() -> None:
    two = TieredPrices(Decimal(1), [Tier(100, Decimal(2)), Tier(200, Decimal(3))])
    one = TieredPrices(Decimal(10), [Tier(150, Decimal(20))])
    price = config.Price.found(
        _written(ModelPrice(input_mtok=two, output_mtok=one, cache_read_mtok=Decimal("0.5"))), "t"
    )
    assert [(tier.above, tier.input, tier.output, tier.cached_input, tier.cache_write) for tier in price.tiers] == [
        (100, 2 * 10**9, 10 * 10**9, 5 * 10**8, 2 * 10**9),
        (150, 2 * 10**9, 20 * 10**9, 5 * 10**8, 2 * 10**9),
        (200, 3 * 10**9, 20 * 10**9, 5 * 10**8, 3 * 10**9),
    ]
    assert (price.input, price.output) == (10**9, 10 * 10**9)


def test_a_tier_from_the_first_token_on_is_the_price_itself() -> None:
    plain = TieredPrices(Decimal(1), [Tier(0, Decimal(2))])
    written = _written(ModelPrice(input_mtok=plain, output_mtok=Decimal(3)))
    assert (written["input"], written["tiers"]) == ("2.000000000", [])


def test_reasoning_has_its_own_price_where_the_library_has_one() -> None:
    written = _written(ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), output_reasoning_mtok=Decimal(3)))
    assert config.Price.found(written, "t").reasoning == 3 * 10**9


@pytest.mark.parametrize("more", ["input_audio_mtok", "requests_kcount", "cache_write_5m_mtok"])
def test_a_class_that_is_not_counted_is_no_silent_zero(more: str) -> None:
    prices = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2), **{more: Decimal(3)})
    with pytest.raises(UnknownPrice, match="depends on more than its tokens"):
        _written(prices)


@pytest.mark.parametrize("half", ["input_mtok", "output_mtok"])
def test_half_a_price_is_none(half: str) -> None:
    with pytest.raises(UnknownPrice, match="no known price"):
        _written(ModelPrice(**{half: Decimal(1)}))


def test_the_newest_price_counts_in_whatever_order_they_stand() -> None:
    old, new = ModelPrice(input_mtok=Decimal(1)), ModelPrice(input_mtok=Decimal(2))
    first = ConditionalPrice(prices=old)
    second = ConditionalPrice(StartDateConstraint(date(2998, 1, 1)), prices=new)
    assert _newest([first, second]) is new
    assert _newest([second, first]) is new


def test_a_price_that_changes_during_the_day_is_no_price() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC).timetz()
    with pytest.raises(UnknownPrice, match="time of day"):
        _newest([ConditionalPrice(TimeOfDateConstraint(noon, noon), prices=ModelPrice())])


@pytest.mark.parametrize(
    ("amount", "written"),
    [
        ("0.4", "0.400000000"),
        ("15", "15.000000000"),
        ("3.125", "3.125000000"),
        ("1E-9", "0.000000001"),
        ("0.0000000001", "0.000000001"),
        ("1.0000000001", "1.000000001"),
        ("0", "0.000000000"),
    ],
)
def test_amounts_are_exact_and_rounded_up_where_they_cannot_be(amount: str, written: str) -> None:
    assert usd(Decimal(amount)) == written


def test_the_library_is_imported_only_when_auto_is_used(folder: Path) -> None:
    program = "import sys, config; config.load(sys.argv[1], {}); print('genai_prices' in sys.modules)"

    def imported(price: str) -> str:
        text = f"version: 1\n{HEAD}models: {{m: {{price: {price}, route: [{{backend: 'o:gpt-4.1-mini'}}]}}}}\n"
        Path("s.yaml").write_text(text)
        command = [sys.executable, "-c", program, str(folder / "s.yaml")]
        root = Path(__file__).parents[2]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout.strip()

    assert imported("free") == "False"
    assert imported("auto") == "True"


def test_the_network_is_not_touched(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    load_text(HEAD + "models:\n  m: {price: auto, route: [{backend: 'o:gpt-4.1-mini'}]}\n")
