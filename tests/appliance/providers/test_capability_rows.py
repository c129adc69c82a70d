"""The rows are sound: names that exist, no row that says nothing or can never hold."""

from __future__ import annotations

from collections import Counter

import pytest

from appliance.formats.features import FEATURES
from appliance.providers.capability_rows import ROWS, Row
from config.services import SERVICES


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.services}: {row.models}")
def test_a_row_is_sound(row: Row) -> None:
    assert row.lacks | row.has
    assert row.lacks | row.has <= FEATURES.keys()
    assert row.lacks & row.has == frozenset()
    assert set(row.services.split()) <= SERVICES.keys()
    assert row.models == row.models.lower(), "names are compared in small letters"
    assert row.models.split()


def test_each_service_has_at_most_one_row_for_all_its_models() -> None:
    general = Counter(service for row in ROWS if row.models == "*" for service in row.services.split())
    assert [service for service, rows in general.items() if rows > 1] == []


def test_what_goes_for_all_models_of_a_service_stands_in_the_row_for_all() -> None:
    """A glob that fits everything, hidden among others, would make that row count for every model."""
    assert [row.models for row in ROWS if row.models != "*" and "*" in row.models.split()] == []
