"""Recordings written down and translated, through the running gateway: forms, units, prices, failures, rules."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from support.appliance import Gateway, running
from support.modal_rules import (
    Kind,
    call,
    check_crowd,
    check_rate_limit,
    check_request_budget,
    check_small_budget,
    check_wrong_fields,
    check_wrong_modality,
    error_of,
    form,
    named_in,
    people,
    row_of,
    until,
)
from support.modal_upstream import TRANSCRIPTS, WORDS, by_model, form_of
from support.recordings import FILE, KIND, PATHS, PLAYS, TRANSLATE, YAML, text_of, uploads
from support.upstream import Upstream

TEXT_FORMATS = ("text", "srt", "vtt")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        upstream.answer(by_model(PLAYS))
        yield upstream


@pytest.fixture(scope="module")
def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    everybody = people(two={"request_limit": 2}, poor={"cost_limit": "0.008"}, crowd={"cost_limit": KIND.crowd_limit})
    with running(YAML.format(url=upstream.url, people=everybody), tmp_path_factory.mktemp("audio")) as gateway:
        yield gateway
        until("nothing is in flight", lambda: gateway.in_flight() == 0)
        assert uploads(gateway) == [], "every upload is removed when its call has ended"


# -- forms ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize("asked", [None, *TRANSCRIPTS])
def test_every_response_format(gateway: Gateway, surface: str, asked: str | None) -> None:
    answer = call(gateway, KIND, "minute", surface, response_format=asked)
    assert answer.status == 200, answer.body
    expected = TRANSCRIPTS[asked or "json"]
    if asked in TEXT_FORMATS:
        assert answer.body == expected
        assert answer.headers["Content-Type"].startswith("text/plain")
    elif surface == "compat":
        assert answer.json() == expected
    else:
        data = answer.json()["data"]
        assert {**data, "usage": 0} == {**expected, "usage": 0}
        assert (data["usage"]["audio_seconds"], data["usage"]["cost"]) == (90, "0.009")
    row = row_of(gateway, answer)
    assert (row["operation"], row["status"]) == ("transcribe", "completed")
    assert (row["units"], row["cost"]) == ({"audio_ms": 90_000}, "0.009")
    assert row["estimated"] is (asked in TEXT_FORMATS), "text forms do not say how long the recording was"


@pytest.mark.parametrize("surface", PATHS)
def test_verbose_json_with_words(gateway: Gateway, upstream: Upstream, surface: str) -> None:
    fields: dict[str, Any] = {
        "response_format": "verbose_json",
        "timestamp_granularities[]": ["word", "segment"],
        "language": "en",
    }
    answer = call(gateway, KIND, "minute", surface, prompt="names: Ada", temperature="0.2", **fields)
    data = answer.json()["data"] if surface == "native" else answer.json()
    assert data["words"] == WORDS
    sent = form_of(upstream.calls[-1])
    assert sent.pop("file") == [FILE]
    assert sent == {
        "model": [b"hears"],
        "language": [b"en"],
        "prompt": [b"names: Ada"],
        "temperature": [b"0.2"],
        "response_format": [b"verbose_json"],
        "timestamp_granularities[]": [b"word", b"segment"],
    }


@pytest.mark.parametrize("surface", PATHS)
def test_the_operators_defaults_hold_when_the_caller_says_nothing(
    gateway: Gateway, upstream: Upstream, surface: str
) -> None:
    answer = call(gateway, KIND, "dutch", surface)
    assert answer.body == TRANSCRIPTS["text"]
    assert form_of(upstream.calls[-1])["language"] == [b"nl"]
    assert text_of(call(gateway, KIND, "dutch", surface, response_format="json", language="en"), surface)
    assert form_of(upstream.calls[-1])["language"] == [b"en"]


def test_fields_may_stand_behind_the_file(gateway: Gateway) -> None:
    data, content_type = form({}, FILE)
    boundary = content_type.partition("boundary=")[2]
    field = f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nminute\r\n--{boundary}--\r\n'
    body = data.removesuffix(f"--{boundary}--\r\n".encode()) + field.encode()
    answer = gateway.post(PATHS["compat"], body, headers={"Content-Type": content_type})
    assert text_of(answer, "compat") == "hello there"


@pytest.mark.parametrize("response_format", [None, "text"])
def test_translations(gateway: Gateway, upstream: Upstream, response_format: str | None) -> None:
    answer = call(gateway, TRANSLATE, "minute", "compat", response_format=response_format)
    assert answer.status == 200
    assert upstream.calls[-1].path == "/v1/audio/translations"
    row = row_of(gateway, answer)
    assert (row["operation"], row["cost"], row["units"]) == ("translate", "0.009", {"audio_ms": 90_000})


def test_a_translation_is_into_english(gateway: Gateway, upstream: Upstream) -> None:
    answer = call(gateway, TRANSLATE, "minute", "compat", language="nl")
    assert (answer.status, error_of(answer)["param"]) == (400, "language")
    assert call(gateway, TRANSLATE, "dutch", "compat").status == 200
    assert "language" not in form_of(upstream.calls[-1]), "an operator's default for transcripts is not its own"


# -- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "cost", "estimated"),
    [
        ("minute", "0.009", False),
        ("tokens", "0.0057", False),  # (900 × 6 + 30 × 10) / 1e6
        ("untold", "0.009", True),  # a WAV file says how long it is
        ("tokens-untold", "0.009", True),  # 90 s are estimated as 900 and 360 tokens
    ],
)
def test_prices(gateway: Gateway, model: str, cost: str, estimated: bool) -> None:
    row = row_of(gateway, call(gateway, KIND, model))
    assert row["estimated"] is estimated
    assert Decimal(row["cost"]) == pytest.approx(Decimal(cost), abs=Decimal("0.00002"))
    assert Decimal(row["cost"]) <= Decimal(row["reserved"])


def test_a_price_by_both_charges_both(gateway: Gateway) -> None:
    row = row_of(gateway, call(gateway, KIND, "both"))
    assert (row["input_tokens"], row["output_tokens"]) == (900, 30)
    assert row["estimated"] is True, "the upstream told tokens, not how long the recording was"
    assert Decimal(row["cost"]) == pytest.approx(Decimal("0.0147"), abs=Decimal("0.00002"))


@pytest.mark.parametrize("surface", PATHS)
def test_a_model_priced_by_characters_only_writes_nothing_down(
    gateway: Gateway, upstream: Upstream, surface: str
) -> None:
    before = len(upstream.calls)
    answer = call(gateway, KIND, "voice-only", surface)
    assert 400 <= answer.status < 500
    assert "model" in named_in(error_of(answer))
    assert len(upstream.calls) == before


# -- what can go wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("surface", PATHS)
def test_a_form_without_a_file_is_refused_by_name(gateway: Gateway, surface: str) -> None:
    whole, content_type = form({"model": "minute"}, b"")
    boundary = whole.partition(b"\r\n")[0]
    body = whole[: whole.rindex(boundary + b"\r\n")] + boundary + b"--\r\n"
    answer = gateway.post(PATHS[surface], body, headers={"Content-Type": content_type})
    assert 400 <= answer.status < 500
    assert "file" in named_in(error_of(answer))


@pytest.mark.parametrize("surface", PATHS)
@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"model": "minute"}', "application/json"),
        (b"not a form", "multipart/form-data; boundary=x"),
        (b"", "multipart/form-data"),
    ],
)
def test_what_is_no_form_is_the_callers_fault(gateway: Gateway, surface: str, body: bytes, content_type: str) -> None:
    answer = gateway.post(PATHS[surface], body, headers={"Content-Type": content_type})
    assert 400 <= answer.status < 500, answer.body
    assert "form" in error_of(answer)["message"]


@pytest.mark.parametrize("surface", PATHS)
def test_an_answer_that_is_none_is_an_error(gateway: Gateway, surface: str) -> None:
    answer = call(gateway, KIND, "wrong", surface)
    assert answer.status == 502
    row = row_of(gateway, answer)
    assert (row["status"], row["cost"], row["error"]) == ("failed", "0", "UPSTREAM_SHAPE_MISMATCH")


# -- rules ------------------------------------------------------------------------------------------------------------


def test_rules_of_budgets(gateway: Gateway, upstream: Upstream) -> None:
    check_request_budget(KIND, gateway, upstream)
    check_small_budget(KIND, gateway, upstream)


def test_a_crowd_never_passes_its_budget(gateway: Gateway) -> None:
    check_crowd(KIND, gateway)


@pytest.mark.parametrize("kind", [KIND, TRANSLATE], ids=lambda kind: kind.operation)
def test_rules_of_requests(gateway: Gateway, upstream: Upstream, kind: Kind) -> None:
    check_wrong_modality(kind, gateway, upstream, "chat", "chat")
    check_wrong_fields(kind, gateway, upstream)
    assert 400 <= call(gateway, kind, "nobody", "compat").status < 500


def test_rate_limits(gateway: Gateway, upstream: Upstream) -> None:
    check_rate_limit(KIND, gateway, upstream)
