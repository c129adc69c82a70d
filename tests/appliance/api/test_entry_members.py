"""Members that go into the YAML: the rules of its entries, named by their member; no reference where it shows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

import config
from appliance.api.accept import Call
from appliance.api.entry_members import check, checked_name, differing, sent
from appliance.errors import GatewayError
from config.entry import Entry
from config.scalars import ModelName, Slug

TARGETS = [{"backend": "demo:x"}]


def refusal(body: dict[str, Any], entry: type[Entry] = config.RoutingPolicy, *, whole: bool = False) -> list[Any]:
    with pytest.raises(GatewayError) as caught:
        check(body, entry, whole=whole)
    assert caught.value.code == "VALIDATION_ERROR"
    details = [(each["field"], each["message"]) for each in caught.value.details or []]
    assert caught.value.message == f"{details[0][0]}: {details[0][1]}"
    return details


@pytest.mark.parametrize(
    ("entry", "body"),
    [
        (config.RoutingPolicy, {"targets": TARGETS, "hedge": True, "circuit_breaker": "off", "retry_on": ["timeout"]}),
        (config.FrontendModel, {"price": "auto", "route": TARGETS}),
        (config.FrontendModel, {"price": {"input": "1", "output": "2"}, "route": {"targets": TARGETS, "retries": 0}}),
        (config.Provider, {"type": "perplexity", "timeouts": {"idle": "3s"}, "probe": {}}),
        (config.Target, {"backend": "a:b:c", "when": {"tenants": ["acme*"]}, "weight": 0}),
    ],
)
def test_what_the_yaml_may_say_may_be_sent(entry: type[Entry], body: dict[str, Any]) -> None:
    check(body, entry, whole=True)
    for name, value in body.items():
        check({name: value}, entry, whole=False)


def test_null_and_what_is_left_out_are_no_mistakes_in_a_change() -> None:
    check({"retries": None}, config.RoutingPolicy, whole=False)
    check({}, config.Provider, whole=False)


def test_every_mistake_is_told_with_its_member() -> None:
    body = {"targets": [{"backend": "x", "weight": "5"}], "strategi": "cost", "retries": 99, "deadline": "soon"}
    told = dict(refusal(body))
    assert told["targets.0.weight"] == "takes a whole number"
    assert "write PROVIDER:UPSTREAM_MODEL" in told["targets.0.backend"]
    assert told["strategi"].endswith("did you mean strategy?")
    assert "less than or equal to 10" in told["retries"]
    assert "is no duration" in told["deadline"]
    assert "targets" not in told, "bad targets are not also too few"


def test_only_a_whole_entry_must_have_everything() -> None:
    assert refusal({}, whole=True) == [("targets", "is required")]
    assert refusal({}, config.FrontendModel, whole=True) == [("price", "is required"), ("route", "is required")]
    assert refusal({"targets": []}) == [("targets", "tuple should have at least 1 item after validation, not 0")]


def test_a_secret_is_in_no_message() -> None:
    (found,) = refusal({"api_key": "sk-secret \n"}, config.Provider)
    assert "sk-secret" not in found[1]


@pytest.mark.parametrize("text", ["${env:HOME}", "a ${file:/etc/passwd}", "$${x} ${secret:K}", "${env:A:-b}"])
@pytest.mark.parametrize(
    "wrap", [lambda text: text, lambda text: [text], lambda text: {"k": {"l": [text]}}, lambda text: {text: 1}]
)
def test_a_reference_is_refused_at_any_depth(text: str, wrap: Any) -> None:
    assert (
        "a reference is taken over the API only" in refusal({"system_prompt": wrap(text)}, config.FrontendModel)[0][1]
    )


def test_a_reference_is_taken_where_a_secret_stands_and_the_signs_themselves_anywhere() -> None:
    check({"api_key": "${env:KEY}"}, config.Provider, whole=False, secrets=("api_key",))
    check({"system_prompt": "say $${env:HOME} and {name} and $5"}, config.FrontendModel, whole=False)


def test_a_name_follows_the_rules_of_names() -> None:
    assert checked_name("team/a", ModelName, "slug") == "team/a"
    for name, words in ((None, "is required"), ("a/b", "is not usable as a name"), (7, "takes a text")):
        with pytest.raises(GatewayError, match=words):
            checked_name(name, Slug, "name")


def test_what_is_as_it_was_is_left_out() -> None:
    shown = {"a": 1, "b": True, "c": [{"x": 1, "y": None}], "d": None, "e": "s"}
    assert differing({"a": 1, "b": True, "c": [{"x": 1}], "d": None, "e": "t", "f": 0}, shown) == {"e": "t", "f": 0}
    assert differing({"b": 1, "a": True}, shown) == {"b": 1, "a": True}, "1 is not true"


def test_nulls_inside_a_member_are_as_if_not_sent() -> None:
    body = {"retries": None, "targets": [{"backend": "a:b", "cost": None}], "hedge": {"min_delay": None}}
    call = cast(Call, SimpleNamespace(body=lambda: body))
    assert sent(call) == {"retries": None, "targets": [{"backend": "a:b"}], "hedge": {}}
