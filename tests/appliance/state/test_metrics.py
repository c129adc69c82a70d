"""The text is read back with a small parser of Prometheus' format: what was counted is what a scraper sees."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.state.metrics import DURATION_BUCKETS_S, Metrics

Sample = tuple[str, tuple[tuple[str, str], ...]]

_LINE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\\\|\\"|\\n)*)"(?:,|$)')
_ESCAPED = re.compile(r"\\(.)")


def parse(text: bytes) -> tuple[dict[Sample, float], dict[str, str]]:
    """Samples and types. Fails for what a scraper would not read."""
    samples: dict[Sample, float] = {}
    types: dict[str, str] = {}
    assert text.endswith(b"\n")
    for line in text.decode().split("\n")[:-1]:
        if line.startswith("#"):
            _, word, name, kind = line.split(" ")
            assert word == "TYPE"
            assert name not in types, "a type is declared once"
            assert kind in ("counter", "gauge", "histogram")
            types[name] = kind
            continue
        found = _LINE.fullmatch(line)
        assert found, line
        key = (found[1], _labels(found[2] or ""))
        assert key not in samples, "a sample stands once"
        assert re.sub(r"_(bucket|sum|count)$", "", found[1]) in types or found[1] in types
        samples[key] = float(found[3])
    return samples, types


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    labels = []
    while text:
        found = _LABEL.match(text)
        assert found, text
        value = _ESCAPED.sub(lambda escape: {"n": "\n", "\\": "\\", '"': '"'}[escape[1]], found[2])
        labels.append((found[1], value))
        text = text[found.end() :]
    return tuple(labels)


def scrape(metrics: Metrics, **gauges: float) -> dict[Sample, float]:
    return parse(metrics.render(gauges))[0]


def test_nothing_counted_is_valid_text_with_every_type_declared() -> None:
    samples, types = parse(Metrics().render({"scaigrid_inflight_requests": 0}))
    assert samples == {("scaigrid_inflight_requests", ()): 0}
    assert types == {
        "scaigrid_requests_total": "counter",
        "scaigrid_tokens_total": "counter",
        "scaigrid_request_duration_seconds": "histogram",
        "scaigrid_time_to_first_token_seconds": "histogram",
        "scaigrid_inflight_requests": "gauge",
    }


def test_requests_are_counted_by_model_status_and_protocol() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.request("m", "completed", "native")
    metrics.request("m", "failed", "openai")
    samples = scrape(metrics)
    assert samples["scaigrid_requests_total", (("model", "m"), ("status", "completed"), ("protocol", "native"))] == 3
    assert samples["scaigrid_requests_total", (("model", "m"), ("status", "failed"), ("protocol", "openai"))] == 1


def test_tokens_are_counted_by_direction_and_tenant() -> None:
    metrics = Metrics()
    metrics.answered("m", "one:a", "acme", 0.2, (10, 5))
    metrics.answered("m", "two:b", "acme", 0.2, (1, 2))
    samples = scrape(metrics)
    assert samples["scaigrid_tokens_total", (("model", "m"), ("direction", "input"), ("tenant_id", "acme"))] == 11
    assert samples["scaigrid_tokens_total", (("model", "m"), ("direction", "output"), ("tenant_id", "acme"))] == 7


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=50))
def test_a_histogram_counts_each_value_in_every_bucket_above_it(values: list[float]) -> None:
    metrics = Metrics()
    for value in values:
        metrics.first_token("m", value)
    samples = scrape(metrics)
    name = "scaigrid_time_to_first_token_seconds"
    for bound in DURATION_BUCKETS_S:
        expected = sum(value <= bound for value in values)
        assert samples[f"{name}_bucket", (("model", "m"), ("le", str(bound)))] == expected
    assert samples[f"{name}_bucket", (("model", "m"), ("le", "+Inf"))] == len(values)
    assert samples[f"{name}_count", (("model", "m"),)] == len(values)
    assert samples[f"{name}_sum", (("model", "m"),)] == pytest.approx(sum(values), abs=1e-5)


def test_each_model_and_backend_has_a_histogram_of_its_own() -> None:
    metrics = Metrics()
    metrics.answered("m", "one:a", "acme", 0.01, (1, 1))
    metrics.answered("m", "two:b", "acme", 400.0, (1, 1))
    samples = scrape(metrics)
    name = "scaigrid_request_duration_seconds"
    assert samples[f"{name}_bucket", (("model", "m"), ("backend", "one:a"), ("le", "0.05"))] == 1
    assert samples[f"{name}_bucket", (("model", "m"), ("backend", "two:b"), ("le", "300.0"))] == 0
    assert samples[f"{name}_bucket", (("model", "m"), ("backend", "two:b"), ("le", "+Inf"))] == 1


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e")))
def test_any_name_survives_as_a_label(name: str) -> None:
    metrics = Metrics()
    metrics.request(name, "completed", "native")
    labels = (("model", name), ("status", "completed"), ("protocol", "native"))
    assert scrape(metrics)["scaigrid_requests_total", labels] == 1


def test_escapes_are_those_of_the_format() -> None:
    metrics = Metrics()
    metrics.request('a"b\\c\nd', "completed", "native")
    assert rb'model="a\"b\\c\nd"' in metrics.render({})


def test_gauges_are_shown_as_given() -> None:
    assert scrape(Metrics(), scaigrid_a=3, scaigrid_b=2.5) == {("scaigrid_a", ()): 3, ("scaigrid_b", ()): 2.5}
