"""The bound of a picture is above what the known models make of it."""

from __future__ import annotations

import pytest

from appliance.formats.image import HIDDEN_TOKENS, ImageRequest, bound, estimate, pixels


@pytest.mark.parametrize(
    ("size", "expected"),
    [("1024x1536", (1024, 1536)), ("auto", None), (None, None), ("16:9", None), ("1024x", None), ("123456x1", None)],
)
def test_sizes(size: str | None, expected: tuple[int, int] | None) -> None:
    assert pixels(size) == expected


@pytest.mark.parametrize(
    ("size", "quality", "tokens"),
    [
        ("1024x1024", "low", 272),
        ("1024x1024", "medium", 1056),
        ("1024x1024", "high", 4160),
        ("1024x1536", "high", 6240),
        ("1536x1024", "medium", 1568),
        (None, None, 6240),
    ],
)
def test_known_pictures_stay_well_below_the_bound(size: str | None, quality: str | None, tokens: int) -> None:
    used = bound(ImageRequest("m", "a cat", size=size, quality=quality))
    assert 3 * tokens < used.output_tokens - HIDDEN_TOKENS
    assert used.images == 1


def test_n_multiplies_and_the_prompt_counts() -> None:
    one, four = bound(ImageRequest("m", "cat")), bound(ImageRequest("m", "cat", n=4))
    assert (four.images, four.output_tokens) == (4, 4 * one.output_tokens)
    assert one.input_tokens == 3 + HIDDEN_TOKENS


@pytest.mark.parametrize(("quality", "tokens"), [("low", 272), ("medium", 1056), ("high", 4160), (None, 4160)])
def test_the_estimate_is_what_the_dearest_known_model_makes(quality: str | None, tokens: int) -> None:
    request = ImageRequest("m", "a cat on a mat", n=2, size="1024x1024" if quality else None, quality=quality)
    used = estimate(request)
    assert (used.input_tokens, used.images) == (4, 2)
    assert used.output_tokens == pytest.approx(2 * tokens, rel=0.1)
    assert used.output_tokens < bound(request).output_tokens
