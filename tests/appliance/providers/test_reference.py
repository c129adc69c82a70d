"""docs/providers.md says what the data says."""

from __future__ import annotations

import pytest

from appliance.formats.features import FEATURES
from appliance.providers import reference
from config.services import SERVICES

PAGE = reference.PAGE.read_text(encoding="utf-8")


def test_the_page_is_what_the_data_says() -> None:
    assert reference.written(PAGE) == PAGE, "run `.venv/bin/python -m appliance.providers.reference`"


def test_every_feature_is_shown_once() -> None:
    shown = [feature for group in reference.GROUPS.values() for feature in group]
    assert sorted(shown) == sorted(FEATURES)


@pytest.mark.parametrize("service", SERVICES)
def test_every_type_stands_in_the_table_of_types_and_in_each_table_of_features(service: str) -> None:
    rows = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert sum(f"`{service}`" in names.split(", ") or f" `{service}` " == names for names in rows) >= 1
    features = PAGE[PAGE.index("<!-- capabilities: written") : PAGE.index("<!-- capabilities: end")]
    first_cells = [line.split("|")[1].strip().split(", ") for line in features.splitlines() if line.startswith("| `")]
    assert sum(f"`{service}`" in cells for cells in first_cells) == len(reference.GROUPS)


def test_some_means_that_models_differ() -> None:
    line = next(line for line in PAGE.splitlines() if line.startswith("| `anthropic` | some"))
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    features = reference.GROUPS["Tools and the form of the answer"]
    assert dict(zip(features, cells, strict=True))["prefill"] == "some"
    assert dict(zip(features, cells, strict=True))["streaming"] == "yes"


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks of services"):
        reference.written("# Providers\n")
