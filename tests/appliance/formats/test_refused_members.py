"""Refusals name every member at once, and are silent where there is nothing to refuse."""

from __future__ import annotations

import pytest

from appliance.errors import GatewayError
from appliance.formats.members import Members
from appliance.formats.refused_members import refuse_uncarriable, refuse_unknown


def test_unknown_members() -> None:
    members = Members({"model": "m", "a": 1, "b": 2})
    members.value("model")
    with pytest.raises(GatewayError) as caught:
        refuse_unknown(members)
    assert (caught.value.code, caught.value.param) == ("VALIDATION_ERROR", "a")
    assert caught.value.message == "a, b: are not parameters of this endpoint"
    assert [detail["field"] for detail in caught.value.details or []] == ["a", "b"]


def test_one_name_reads_as_one() -> None:
    with pytest.raises(GatewayError) as caught:
        refuse_uncarriable(["style"], "an Imagen target")
    assert caught.value.message == (
        "style: cannot be carried to an Imagen target; remove it or route to a target that takes it"
    )
    with pytest.raises(GatewayError, match="remove them or route"):
        refuse_uncarriable(["style", "quality"], "an Imagen target")


def test_nothing_to_refuse() -> None:
    members = Members({"model": "m"})
    members.value("model")
    refuse_unknown(members)
    refuse_uncarriable([], "an Imagen target")
