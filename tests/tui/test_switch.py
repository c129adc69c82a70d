"""What `scaigrid switch` prints of a switch; the command itself is run in test_switch_command.py."""

from __future__ import annotations

from typing import Any

from tui.switch import report


def done(before: list[str], after: list[str], also: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"model": "gpt", "policy": "main", "before": before, "after": after, "also": list(also), "generation": 9}


def test_old_and_new_targets_are_told() -> None:
    first, last = report(done(["a:x", "b:y"], ["b:y"]))
    assert first == "gpt: a:x, b:y → b:y"
    assert last.startswith("generation 9 serves; calls under way finish")


def test_models_that_share_the_policy_are_named() -> None:
    assert "the policy main also routes copy, other" in report(done(["a:x"], ["b:y"], ("copy", "other")))


def test_nothing_is_called_nothing() -> None:
    assert report(done(["a:x"], []))[0] == "gpt: a:x → nothing"
    assert report(done([], [])) == ["gpt: nothing already; generation 9 serves on"]
