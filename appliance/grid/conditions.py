"""Condition: whether a target is for a call, decided from a few plain Facts about it.

Prepared once per Grid: a call only looks names up in sets, or matches one pattern.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from appliance.formats.chat import Usage

if TYPE_CHECKING:
    from config.conditions import InputTokens, When  # for their types only: the request path loads no YAML library

EXPECTED_OUTPUT_TOKENS = 500
"""How long an answer is taken to be when targets are compared by cost, unless the caller wants a shorter one."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What routing may know of a call. `input_tokens` is the fair estimate, not the upper bound.

    `sticky_key` says what stays with one target; empty: nothing does. `usage` is set where a call is not charged by
    its tokens alone, and then stands for what it is expected to use.
    """

    partner: str = ""
    tenant: str = ""
    user: str = ""
    roles: Collection[str] = ()
    groups: Collection[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = EXPECTED_OUTPUT_TOKENS
    usage: Usage | None = None
    needs: frozenset[str] = frozenset()
    sticky_key: str = ""

    @property
    def expected(self) -> Usage:
        return self.usage or Usage(self.input_tokens, self.output_tokens)


def expected_output(asked_cap: int | None, n: int = 1) -> int:
    """Output tokens that a call is expected to make, for comparing costs."""
    return n * (EXPECTED_OUTPUT_TOKENS if asked_cap is None else min(asked_cap, EXPECTED_OUTPUT_TOKENS))


Test = Callable[[Facts], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """What has to hold, each test with the words that explain it."""

    tests: tuple[tuple[str, Test], ...]

    def holds(self, facts: Facts) -> bool:
        return all(test(facts) for _, test in self.tests)

    def unmet(self, facts: Facts) -> str:
        """What does not hold, in words; empty when everything does."""
        return next((words for words, test in self.tests if not test(facts)), "")


def compile_condition(when: When) -> Condition:
    """What the operator wrote → tests, the cheap ones first."""
    tests: list[tuple[str, Test]] = []
    if when.input_tokens is not None:
        tests.append(_input_tokens(when.input_tokens))
    if when.needs:
        tests.append((f"the call needs none of {', '.join(when.needs)}", _needs(frozenset(when.needs))))
    if when.tenants:
        matches = matcher(when.tenants)
        tests.append((f"the tenant is not {_either(when.tenants)}", lambda facts: matches((facts.tenant,))))
    if when.partners:
        is_partner = matcher(when.partners)
        tests.append((f"the partner is not {_either(when.partners)}", lambda facts: is_partner((facts.partner,))))
    if when.roles:
        has_role = matcher(when.roles)
        tests.append((f"the caller has no role {_either(when.roles)}", lambda facts: has_role(facts.roles)))
    if when.groups:
        is_in = matcher(when.groups)
        tests.append((f"the caller is in no group {_either(when.groups)}", lambda facts: is_in(facts.groups)))
    tests += [_metadata(key, values) for key, values in when.metadata.items()]
    return Condition(tuple(tests))


def _input_tokens(bounds: InputTokens) -> tuple[str, Test]:
    least, most = bounds.min or 0, bounds.max
    if most is None:
        return f"the input is shorter than {least} tokens", lambda facts: facts.input_tokens >= least
    words = f"the input is not of {least} to {most} tokens" if least else f"the input is longer than {most} tokens"
    return words, lambda facts: least <= facts.input_tokens <= most


def _needs(features: frozenset[str]) -> Test:
    return lambda facts: not features.isdisjoint(facts.needs)


def _metadata(key: str, values: tuple[str, ...]) -> tuple[str, Test]:
    matches = matcher(values)
    return f"metadata.{key} is not {_either(values)}", lambda facts: matches(text_of(facts.metadata.get(key)))


def text_of(value: Any) -> tuple[str, ...]:
    """A value of a call's metadata as it is compared: JSON's `true` and `5` like the texts; nothing, a list or an
    object like none."""
    if isinstance(value, bool):
        return ("true" if value else "false",)
    return (str(value),) if isinstance(value, str | int | float) else ()


def matcher(patterns: Iterable[str]) -> Callable[[Iterable[str]], bool]:
    """Globs → whether one of some names matches one of them."""
    written = tuple(patterns)
    plain = frozenset(pattern for pattern in written if not _GLOB.search(pattern))
    globs = [fnmatch.translate(pattern) for pattern in written if pattern not in plain]
    if not globs:
        return lambda names: not plain.isdisjoint(names)
    glob = re.compile("|".join(globs))
    return lambda names: any(name in plain or glob.match(name) is not None for name in names)


_GLOB = re.compile(r"[*?\[]")


def _either(names: tuple[str, ...]) -> str:
    return " or ".join(names)
