"""Refuses what a request asks for and cannot have, all at once and by name: unknown members, and what a target lacks.

Must not decide what is refused; formats do.
"""

from __future__ import annotations

from collections.abc import Iterable

from appliance.errors import GatewayError, invalid
from appliance.formats.members import Members


def refuse_unknown(members: Members) -> None:
    """A VALIDATION_ERROR that lists every member nobody asked `members` for."""
    _refuse(list(members.rest()), "is not a parameter of this endpoint", "are not parameters of this endpoint")


def refuse_uncarriable(names: Iterable[str], target: str) -> None:
    """A VALIDATION_ERROR that lists what `target` ("a Google target") has no word for."""
    _refuse(
        list(names),
        f"cannot be carried to {target}; remove it or route to a target that takes it",
        f"cannot be carried to {target}; remove them or route to a target that takes them",
    )


def _refuse(names: list[str], one: str, many: str) -> None:
    if not names:
        return
    if len(names) == 1:
        raise invalid(names[0], one)
    details = [{"field": name, "message": one} for name in names]
    raise GatewayError("VALIDATION_ERROR", f"{', '.join(names)}: {many}", param=names[0], details=details)
