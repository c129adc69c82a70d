"""Plain integers counted on the way, rendered as Prometheus text only when somebody scrapes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

K = TypeVar("K")

DURATION_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """Counts per upper bound, with the sum, for one label set. Values are seconds."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds: float) -> None:
        place = 0
        for bound in DURATION_BUCKETS_S:
            if seconds <= bound:
                break
            place += 1
        self.counts[place] += 1
        self.total_s += seconds


class Metrics:
    """Names and labels are those of section 10 of the API reference."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str, str]] = Counter()
        self.tokens: Counter[tuple[str, str, str]] = Counter()
        self.durations: dict[tuple[str, str], Histogram] = {}
        self.first_tokens: dict[str, Histogram] = {}

    def request(self, model: str, status: str, protocol: str) -> None:
        self.requests[(model, status, protocol)] += 1

    def answered(self, model: str, backend: str, tenant_id: str, seconds: float, tokens: tuple[int, int]) -> None:
        _get(self.durations, (model, backend)).add(seconds)
        self.tokens[(model, "input", tenant_id)] += tokens[0]
        self.tokens[(model, "output", tenant_id)] += tokens[1]

    def first_token(self, model: str, seconds: float) -> None:
        _get(self.first_tokens, model).add(seconds)

    def render(self, gauges: Mapping[str, float], backends: Mapping[str, Mapping[str, float]] | None = None) -> bytes:
        """`gauges` have no label, and count when they end in `_total`; `backends` are gauges by name and backend."""
        lines: list[str] = []
        _counter(lines, "scaigrid_requests_total", ("model", "status", "protocol"), self.requests)
        _counter(lines, "scaigrid_tokens_total", ("model", "direction", "tenant_id"), self.tokens)
        _histogram(lines, "scaigrid_request_duration_seconds", ("model", "backend"), self.durations)
        by_model = {(model,): histogram for model, histogram in self.first_tokens.items()}
        _histogram(lines, "scaigrid_time_to_first_token_seconds", ("model",), by_model)
        for name, value in gauges.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        for name, values in (backends or {}).items():
            lines.append(f"# TYPE {name} gauge")
            lines += [f"{name}{_labels(('backend_id',), (backend,))} {value}" for backend, value in values.items()]
        return ("\n".join(lines) + "\n").encode()


def _get(histograms: dict[K, Histogram], key: K) -> Histogram:
    found = histograms.get(key)
    if found is None:
        found = histograms[key] = Histogram()
    return found


def _counter(lines: list[str], name: str, labels: tuple[str, ...], counts: Mapping[Any, int]) -> None:
    lines.append(f"# TYPE {name} counter")
    lines += [f"{name}{_labels(labels, key)} {value}" for key, value in counts.items()]


def _histogram(lines: list[str], name: str, labels: tuple[str, ...], histograms: Mapping[Any, Histogram]) -> None:
    lines.append(f"# TYPE {name} histogram")
    for key, histogram in histograms.items():
        running = 0
        for bound, count in zip((*map(str, DURATION_BUCKETS_S), "+Inf"), histogram.counts, strict=True):
            running += count
            lines.append(f"{name}_bucket{_labels((*labels, 'le'), (*key, bound))} {running}")
        lines.append(f"{name}_sum{_labels(labels, key)} {histogram.total_s:.6f}")
        lines.append(f"{name}_count{_labels(labels, key)} {running}")


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = (f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
