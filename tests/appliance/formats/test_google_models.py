from __future__ import annotations

import pytest

from appliance.formats.google_models import generation, is_older_than, is_pro, is_since, makes_images


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gemini-2.5-flash", 2.5),
        ("gemini-2.0-flash-001", 2.0),
        ("models/gemini-3-pro-preview", 3.0),
        ("gemini-3.5-flash@001", 3.5),
        ("gemini-flash-latest", 3.0),
        ("gemini-flash-lite-latest", 3.0),
        ("tunedModels/mine-1234", None),
        ("gemma-3-27b-it", None),
    ],
)
def test_the_name_tells_the_generation(name: str, expected: float | None) -> None:
    assert generation(name) == expected


def test_a_name_that_says_nothing_is_neither_old_nor_new() -> None:
    assert not is_older_than("my-model", 3.0)
    assert not is_since("my-model", 2.5)
    assert is_older_than("gemini-2.0-flash", 2.5)
    assert is_since("gemini-2.5-flash", 2.5)


def test_lines_of_models() -> None:
    assert is_pro("gemini-2.5-pro")
    assert not is_pro("gemini-2.5-flash")
    assert makes_images("gemini-2.5-flash-image")
    assert not makes_images("gemini-2.5-flash")
