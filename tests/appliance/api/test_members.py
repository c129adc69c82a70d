"""A request's members: unknown ones are refused by name, wrong ones in words that say what is due; lists in pages."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Annotated, Any, Literal, cast

import pytest

from appliance.api.accept import Call
from appliance.api.members import MAX_LISTED, Listing, NewSlug, Text, listed, named, read, status_of
from appliance.errors import GatewayError
from config import RateLimits
from config.entry import Entry, Listed


class Members(Entry):
    slug: NewSlug
    display_name: Text | None = None
    status: Literal["active", "suspended"] = "active"
    models: Listed[Annotated[tuple[Text, ...], Listing]] = ()
    rate_limits: RateLimits | None = None


def call_of(body: Any = None, **query: str) -> Call:
    return cast(Call, SimpleNamespace(body=lambda: body or {}, query=query, params={"user_id": "acme%3Abob"}))


def refusal(body: Any) -> tuple[str, str]:
    with pytest.raises(GatewayError) as caught:
        read(call_of(body), Members)
    assert caught.value.code == "VALIDATION_ERROR"
    details = caught.value.details or []
    assert caught.value.message == f"{details[0]['field']}: {details[0]['message']}"
    return str(details[0]["field"]), str(details[0]["message"])


def test_what_was_sent_is_known_apart_from_what_has_its_default() -> None:
    members = read(call_of({"slug": "acme", "status": "active", "display_name": None}), Members)
    assert (members.slug, members.status, members.display_name, members.models) == ("acme", "active", None, ())
    assert members.model_fields_set == {"slug", "status", "display_name"}


@pytest.mark.parametrize("name", ["slug", "name"])
def test_a_name_may_be_called_slug_or_name(name: str) -> None:
    assert read(call_of({name: "acme"}), Members).slug == "acme"


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({}, "slug", "is required"),
        ({"slug": "a", "colour": 1}, "colour", "is not a member of this request; known are slug, display_name, status"),
        ({"slug": "a/b"}, "slug", "is not usable as a name here"),
        ({"slug": "a", "display_name": ""}, "display_name", "at least 1 character"),
        ({"slug": "a", "display_name": "x" * 201}, "display_name", "at most 200 characters"),
        ({"slug": "a", "display_name": "a\u0007b"}, "display_name", "cannot be shown"),
        ({"slug": "a", "display_name": 7}, "display_name", "takes a text"),
        ({"slug": "a", "status": "asleep"}, "status", "takes active or suspended"),
        ({"slug": "a", "models": "gpt"}, "models", "takes a list"),
        ({"slug": "a", "models": [1]}, "models.0", "takes a text"),
        ({"slug": "a", "models": ["x"] * (MAX_LISTED + 1)}, "models", "at most 1000 items"),
        ({"slug": "a", "rate_limits": 5}, "rate_limits", "takes an object"),
        ({"slug": "a", "rate_limits": {"per_hour": 5}}, "rate_limits.per_hour", "is not a member"),
        ({"slug": "a", "rate_limits": {"requests_per_minute": 0}}, "rate_limits.requests_per_minute", "at least 1"),
        ({"slug": "a", "rate_limits": {"requests_per_minute": "5"}}, "rate_limits.requests_per_minute", "whole number"),
        ({"slug": "a", "rate_limits": {"requests_per_minute": True}}, "rate_limits.requests_per_minute", "found true"),
    ],
)
def test_what_is_wrong_is_named_and_said(body: Any, field: str, words: str) -> None:
    found, message = refusal(body)
    assert found == field
    assert words in message


def test_everything_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(GatewayError) as caught:
        read(call_of({"status": 1, "x" * 500: 2}), Members)
    fields = [str(detail["field"]) for detail in caught.value.details or []]
    assert fields[:2] == ["slug", "status"]
    assert len(fields[2]) == 100
    assert len(json.dumps(caught.value.body())) < 2000


# -- lists ------------------------------------------------------------------------------------------------------------


def test_a_list_comes_in_pages_by_id_and_each_record_once() -> None:
    records = [SimpleNamespace(id=name) for name in ("c", "a", "e", "b", "d")]
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = listed(call_of(limit="2", cursor=cursor), records, lambda record: {"id": record.id})
        assert len(page.items) <= 2
        seen += [item["id"] for item in page.items]
        cursor = page.cursor
    assert seen == ["a", "b", "c", "d", "e"]


def test_a_cursor_stays_right_when_its_record_goes() -> None:
    page = listed(call_of(cursor="b"), [SimpleNamespace(id="a"), SimpleNamespace(id="c")], vars)
    assert ([item["id"] for item in page.items], page.cursor) == (["c"], None)


def test_a_status_that_nothing_can_have_is_refused() -> None:
    assert (status_of(call_of()), status_of(call_of(status="suspended"))) == (None, "suspended")
    with pytest.raises(GatewayError, match="takes active or suspended"):
        status_of(call_of(status="deleted"))


def test_a_name_in_the_path_may_be_encoded() -> None:
    assert named(call_of(), "user_id") == "acme:bob"
