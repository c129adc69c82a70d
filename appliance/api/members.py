"""The members of a request's body, read with the types of the configuration: the same rules, the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Protocol, TypeVar
from urllib.parse import unquote

from pydantic import AfterValidator, AliasChoices, Field, ValidationError
from pydantic_core import ErrorDetails

from appliance.api.accept import Call
from appliance.api.envelope import Page, limit_of
from appliance.errors import GatewayError, clipped, invalid
from config.entry import Entry
from config.problems import flaw
from config.scalars import Name, Slug

MAX_LISTED = 1000
"""Entries of one list in a body."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise flaw("this text holds characters that cannot be shown", "leave out control characters")
    return text


Text = Annotated[Name, AfterValidator(_printable)]
NewSlug = Annotated[Slug, Field(validation_alias=AliasChoices("slug", "name"))]
"""The name of a new thing, for good."""
Listing = Field(max_length=MAX_LISTED)

Members = TypeVar("Members", bound=Entry)


def read(call: Call, members: type[Members]) -> Members:
    """The body as these members; which of them were sent is in `model_fields_set`. Raises VALIDATION_ERROR."""
    try:
        return members.model_validate(call.body())
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    details = [_detail(each, members) for each in found]
    first = details[0]
    raise GatewayError(
        "VALIDATION_ERROR", f"{first['field']}: {first['message']}", param=first["field"], details=details
    )


_SAYS = {
    "missing": "is required",
    "string_type": "takes a text",
    "tuple_type": "takes a list",
    "bool_type": "takes true or false",
    "model_type": "takes an object",
    "dict_type": "takes an object",
}


def _detail(error: ErrorDetails, members: type[Entry]) -> dict[str, str]:
    field = clipped(".".join(str(step) for step in error["loc"]) or "body")
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = f"; known are {', '.join(members.model_fields)}" if len(error["loc"]) == 1 else ""
        return {"field": field, "message": f"is not a member of this request{known}"}
    if error["type"] == "flaw":
        hint = f" ({context['hint']})" if context.get("hint") else ""
        return {"field": field, "message": f"{context['message']}{hint}"}
    if error["type"] == "literal_error":
        return {"field": field, "message": f"takes {str(context['expected']).replace(chr(39), '')}"}
    said = error["msg"].removeprefix("Value error, ")
    return {"field": field, "message": _SAYS.get(error["type"], said[:1].lower() + said[1:])}


class HasId(Protocol):
    @property
    def id(self) -> str: ...


Record = TypeVar("Record", bound=HasId)


def listed(call: Call, records: Iterable[Record], shown: Callable[[Record], dict[str, Any]]) -> Page:
    """A page of records by id; the cursor is the last id, so it stays right when records come and go."""
    after = call.query.get("cursor", "")
    found = sorted((record for record in records if record.id > after), key=lambda record: record.id)
    limit = limit_of(call.query.get("limit"))
    page = found[:limit]
    return Page([shown(record) for record in page], page[-1].id if len(found) > limit else None)


def status_of(call: Call) -> str | None:
    """The query's `status`."""
    status = call.query.get("status")
    if status not in (None, "active", "suspended"):
        raise invalid("status", "takes active or suspended")
    return status


def named(call: Call, parameter: str) -> str:
    """A name in the path."""
    return unquote(call.params[parameter])
