"""What stays with one target: the same key gives the same order, over many keys the weights hold, and nothing moves
without need."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from appliance.grid.grid import Target
from appliance.grid.sticky import conversation_start, rendezvous, sticky_key
from support.build import grid_of_targets

KEYS = 10_000
CHI_SQUARE_999 = {1: 10.83, 2: 13.82, 3: 16.27}
WEIGHTS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


def targets_of(weights: list[int]) -> list[Target]:
    (target,) = grid_of_targets("a:x").models["m"].policy.targets
    return [replace(target, backend=f"p{place}:x", weight=weight) for place, weight in enumerate(weights)]


def members(**body: Any) -> dict[str, Raw]:
    return msgspec.json.decode(json.dumps(body).encode(), type=dict[str, Raw])


# -- rendezvous -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [[1, 1], [90, 10], [1, 2, 3], [5, 5, 5, 5], [1, 10, 100]])
def test_over_many_keys_the_weights_hold(weights: list[int]) -> None:
    targets = targets_of(weights)
    first = Counter(rendezvous(targets, f"key {number}")[0].backend for number in range(KEYS))
    expected = {target.backend: KEYS * target.weight / sum(weights) for target in targets}
    chi_square = sum((first[backend] - count) ** 2 / count for backend, count in expected.items())
    assert chi_square < CHI_SQUARE_999[len(weights) - 1]


@given(weights=WEIGHTS, key=st.text())
def test_every_target_comes_exactly_once_and_weight_0_comes_last(weights: list[int], key: str) -> None:
    targets = targets_of(weights)
    found = rendezvous(targets, key)
    assert {target.backend for target in found} == {target.backend for target in targets}
    assert len(found) == len(targets)
    zeros = [target for target in targets if not target.weight]
    assert found[len(found) - len(zeros) :] == zeros


@given(weights=WEIGHTS, key=st.text(), data=st.data())
def test_nothing_moves_but_what_was_on_the_target_that_drops_out(weights: list[int], key: str, data: Any) -> None:
    targets = targets_of(weights)
    gone = data.draw(st.sampled_from(targets))
    before = rendezvous(targets, key)
    after = rendezvous([target for target in targets if target is not gone], key)
    assert after == [target for target in before if target is not gone]


@given(weights=WEIGHTS, key=st.text(), data=st.data())
def test_the_order_of_the_list_does_not_count(weights: list[int], key: str, data: Any) -> None:
    targets = [target for target in targets_of(weights) if target.weight]
    shuffled = data.draw(st.permutations(targets))
    assert rendezvous(shuffled, key) == rendezvous(targets, key)


def test_a_larger_weight_only_draws_keys_towards_its_target() -> None:
    before, after = targets_of([10, 10, 10]), targets_of([20, 10, 10])
    moved = 0
    for number in range(2000):
        old, new = rendezvous(before, str(number))[0].backend, rendezvous(after, str(number))[0].backend
        assert new in (old, "p0:x")
        moved += old != new
    assert moved == pytest.approx(2000 * (1 / 2 - 1 / 3), rel=0.2)


def test_the_place_of_a_key_is_the_same_in_every_process() -> None:
    assert [target.backend for target in rendezvous(targets_of([1, 1, 1, 1]), "a key")] == [
        "p1:x",
        "p3:x",
        "p2:x",
        "p0:x",
    ]


# -- the key ----------------------------------------------------------------------------------------------------------

HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


def key(sticky: Any, body: dict[str, Any], metadata: dict[str, Any] | None = None, tenant: str = "acme") -> str:
    return sticky_key(sticky, tenant, f"{tenant}:alice", metadata or {}, members(**body))


def test_without_sticky_there_is_no_key() -> None:
    assert key("none", {"messages": HELLO, "user": "u"}) == ""


def test_a_user_is_the_one_that_the_request_names_or_else_the_caller() -> None:
    caller = key("user", {"messages": HELLO})
    assert caller == key("user", {"messages": HELLO[:1], "user": "", "metadata": {"user_id": 5}})
    named = key("user", {"messages": HELLO, "user": "u-1"})
    assert named == key("user", {"messages": [], "safety_identifier": "u-1"})
    assert named == key("user", {"metadata": {"user_id": "u-1"}})
    assert len({caller, named, key("user", {"user": "u-2"})}) == 3


def test_keys_of_different_tenants_and_kinds_never_meet() -> None:
    body = {"messages": HELLO, "user": "same", "prompt_cache_key": "same"}
    keys = [key(kind, body, tenant=tenant) for kind in ("user", "conversation") for tenant in ("acme", "beta")]
    assert len(set(keys)) == 4


def test_a_conversation_may_be_named() -> None:
    named = key("conversation", {"messages": HELLO}, {"conversation_id": "c-1"})
    assert named == key("conversation", {"messages": []}, {"conversation_id": "c-1"})
    assert named == key("conversation", {"messages": [], "prompt_cache_key": "c-1"})
    assert named == key("conversation", {"prompt_cache_key": "other"}, {"conversation_id": "c-1"})
    assert named != key("conversation", {"messages": HELLO}, {"conversation_id": "c-2"})
    unnamed = key("conversation", {"messages": HELLO})
    assert unnamed == key("conversation", {"messages": HELLO}, {"conversation_id": ["c-1"]})


def test_what_is_no_conversation_has_no_key() -> None:
    assert key("conversation", {"prompt": "Hello"}) == ""
    assert key("conversation", {"messages": []}) == ""


def test_a_conversation_keeps_its_start_while_it_goes_on() -> None:
    start = conversation_start(members(messages=HELLO))
    answer = [{"role": "assistant", "content": "Hi!"}, {"role": "user", "content": "How are you?"}]
    assert start == conversation_start(members(messages=HELLO + answer))
    assert start != conversation_start(members(messages=HELLO[:1] + answer[1:]))
    assert start != conversation_start(members(messages=HELLO[1:]))


def test_marks_ids_and_the_form_of_a_text_do_not_count() -> None:
    plain = members(system="Be brief.", messages=[{"role": "user", "content": "Hello"}])
    marked = members(
        system=[
            {"type": "text", "text": "x-anthropic-billing-header: cch=1234"},
            {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}},
        ],
        messages=[{"content": [{"text": "Hello", "type": "text", "cache_control": {}}], "role": "user", "id": "m1"}],
    )
    assert conversation_start(plain) == conversation_start(marked)


def test_what_is_no_text_counts_by_its_kind() -> None:
    def with_part(part: dict[str, Any]) -> str:
        return conversation_start(
            members(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, part]}])
        )

    image = {"type": "image_url", "image_url": {"url": "data:1"}}
    assert with_part(image) == with_part({**image, "image_url": {"url": "data:2"}})
    assert with_part(image) != with_part({"type": "file", "file": {}})


def test_a_conversation_of_the_responses_api() -> None:
    text = conversation_start(members(instructions="Be brief.", input="Hello"))
    listed = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}]
    assert text == conversation_start(members(instructions="Be brief.", input=listed))
    called = [*listed, {"type": "function_call", "name": "f"}, {"type": "function_call_output", "output": "1"}]
    assert text == conversation_start(members(instructions="Be brief.", input=called))
    assert text != conversation_start(members(input="Hello"))


@pytest.mark.parametrize("messages", [5, "", [5], [[]], {}, None, [{"role": "user"}], [{"role": {}, "content": {}}]])
def test_a_body_that_is_none_has_no_start(messages: Any) -> None:
    assert conversation_start(members(messages=messages)) == ""


def test_a_start_that_never_comes_to_a_user_is_bounded() -> None:
    many = [{"role": "developer", "content": str(number)} for number in range(60)]
    assert conversation_start(members(messages=many)) == conversation_start(members(messages=many[:50]))
