"""The records of an edit, and how a refusal reads."""

from __future__ import annotations

import pytest

from config import GONE, Change, EditConflict, EditRefused, Place
from config.edit_change import named


def test_a_change_without_a_value_deletes() -> None:
    assert Change(("models", "gpt")).value is GONE
    assert Change(("models", "gpt"), None).value is None


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (EditRefused("no"), "no"),
        (EditRefused("no", "do this"), "no (do this)"),
        (EditRefused("no", "do this", Place("a.yaml", 2, 3)), "a.yaml:2:3: no (do this)"),
    ],
)
def test_a_refusal_says_where_and_what_to_do(refused: EditRefused, text: str) -> None:
    assert str(refused) == text


def test_a_conflict_is_a_refusal() -> None:
    with pytest.raises(EditRefused):
        raise EditConflict("changed")


def test_a_path_reads_like_one() -> None:
    assert named(("models", "gpt", "route", "targets", 0, "enabled")) == "`models.gpt.route.targets[0].enabled`"
