"""The generated parts of docs/providers.md: which services there are, and which features their models have.

`python -m appliance.providers.reference` rewrites what stands between the marks; a test compares.
"""

from __future__ import annotations

from pathlib import Path

from appliance.formats.features import FEATURES
from appliance.providers.capabilities import lacks
from appliance.providers.capability_rows import EVERYTHING, ROWS, Row
from config.services import SERVICES, Service

PAGE = Path(__file__).resolve().parents[2] / "docs" / "providers.md"

GROUPS: dict[str, tuple[str, ...]] = {
    "Tools and the form of the answer": (
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "json_schema",
        "json_object",
        "prefill",
        "streaming",
    ),
    "What it takes in": ("images", "image_urls", "files", "audio", "cache_hints"),
    "Thinking and sampling": (
        "reasoning",
        "temperature",
        "top_p",
        "top_k",
        "penalties",
        "stop",
        "seed",
        "n",
        "logprobs",
    ),
    "Other work than chat": ("embeddings", "dimensions", "images_out", "transcription", "speech", "rerank"),
}
"""The features as the page groups them, each once."""


def written(page: str) -> str:
    """The page with its generated parts renewed."""
    for name, lines in {"services": _services(), "capabilities": _capabilities(), "models": _models()}.items():
        begin, end = f"<!-- {name}: written by `python -m appliance.providers.reference` -->", f"<!-- {name}: end -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"{PAGE.name} lacks the marks of {name}")
        page = "\n".join([before + begin, "", *lines, "", end + after])
    return page


def _services() -> list[str]:
    rows = [f"| `{each.type}` | {each.title} | {_address(each)} | {_key(each)} |" for each in SERVICES.values()]
    return ["| `type` | | address when none is written | key, usually in |", "| --- | --- | --- | --- |", *rows]


def _address(service: Service) -> str:
    if not service.needs_base_url:
        return f"`{service.base_url}`" if service.base_url else "none: inside the process"
    return "none: `base_url` is required"


def _key(service: Service) -> str:
    return f"`{service.key_variable}`" if service.key_variable else "needs none"


def _capabilities() -> list[str]:
    """A table for each group. Types that say the same share a line."""
    lines: list[str] = []
    for title, features in GROUPS.items():
        types: dict[tuple[str, ...], list[str]] = {}
        for service in SERVICES:
            types.setdefault(tuple(_cell(service, feature) for feature in features), []).append(f"`{service}`")
        lines += [f"### {title}", "", *(f"* `{feature}`: {FEATURES[feature].meaning}" for feature in features), ""]
        lines += ["| | " + " | ".join(f"`{feature}`" for feature in features) + " |"]
        lines += ["| --- |" + " --- |" * len(features)]
        lines += [f"| {', '.join(names)} | {' | '.join(cells)} |" for cells, names in types.items()]
        lines += [""]
    return lines[:-1]


def _cell(service: str, feature: str) -> str:
    """yes, no, or some: what holds for a model that no row knows, unless rows of the service differ."""
    rows = [row for row in ROWS if service in row.services.split() and not _is_general(row)]
    if feature in lacks(service, ""):
        return "some" if any(feature in row.has for row in rows) else "no"
    return "some" if any(feature in row.lacks and not _is_special(row) for row in rows) else "yes"


def _models() -> list[str]:
    rows = [row for row in ROWS if not _is_general(row)]
    lines = [
        f"| {_words(row.services)} | {_words(row.models)} | {_lacking(row)} | {_words(' '.join(_in_order(row.has)))} |"
        f" {row.why} |"
        for row in rows
    ]
    return ["| `type` | models | cannot | can | |", "| --- | --- | --- | --- | --- |", *lines]


def _lacking(row: Row) -> str:
    return "all else" if _is_special(row) else _words(" ".join(_in_order(row.lacks)))


def _in_order(features: frozenset[str]) -> list[str]:
    return [feature for feature in FEATURES if feature in features]


def _words(text: str) -> str:
    return ", ".join(f"`{word}`" for word in text.split())


def _is_general(row: Row) -> bool:
    return row.models == "*"


def _is_special(row: Row) -> bool:
    """It says everything about its models: they are made for one kind of work."""
    return row.lacks | row.has == EVERYTHING


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
