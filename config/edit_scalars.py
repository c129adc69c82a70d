"""Writes plain values as YAML that readers of version 1.1 and of version 1.2 understand alike."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from config.edit_change import EditRefused
from config.nodes import MAX_DIGITS, core_value

_BREAKS_BLOCK = re.compile(r"^[-?:](?=\s|$)|^[\[\]{},#&*!|>'\"%@`]|:(?=\s|$)|\s#|^\s|\s$|^(---|\.\.\.)")
_BREAKS_FLOW = re.compile(r"[\[\]{},:?]|^-")
_LETTERS = ("y", "Y", "n", "N")
"""Booleans of YAML 1.1 that PyYAML leaves alone."""

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
_RESOLVER: Any = yaml.resolver.Resolver()
"""What PyYAML takes a plain text for, by the rules of YAML 1.1."""


def scalar(value: Any, *, flow: bool = False, like: str = "") -> str:
    """The value on one line; `flow`: between braces or brackets; `like`: the quotes to keep, if the text may have them.

    Raises EditRefused for what YAML cannot say.
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _whole(value)
    if isinstance(value, float):
        return _decimal(value)
    if not isinstance(value, str):
        raise EditRefused(f"a value of type {type(value).__name__} cannot be written", "write texts and numbers")
    if like == "'" and _is_printable(value):
        return "'" + value.replace("'", "''") + "'"
    return value if like not in ("'", '"') and _is_plain(value, flow) else _quoted(value)


def literal(text: str) -> tuple[str, list[str]] | None:
    """A text of several lines as the sign `|` and the lines below it; None where quotes are safer."""
    lines = text.removesuffix("\n").split("\n")
    odd = text.endswith("\n\n") or any(line != line.rstrip() or not _is_printable(line) for line in lines)
    first = next((line for line in lines if line), " ")
    if "\n" not in text or odd or first.startswith(" "):
        return None
    return ("|" if text.endswith("\n") else "|-"), lines


def _whole(value: int) -> str:
    if abs(value) >= 10**MAX_DIGITS:
        raise EditRefused(f"a number of more than {MAX_DIGITS} digits", "put it in quotes if it is a text")
    return str(value)


def _decimal(value: float) -> str:
    if not math.isfinite(value):
        raise EditRefused(f"{value} is no number that a configuration may hold", "write a finite one")
    digits, e, exponent = repr(value).partition("e")
    return repr(value) if not e or "." in digits else f"{digits}.0e{exponent}"


def _is_plain(text: str, flow: bool) -> bool:
    """Whether every reader takes the text without quotes for this text."""
    if not text or not _is_printable(text) or _BREAKS_BLOCK.search(text) or (flow and _BREAKS_FLOW.search(text)):
        return False
    return text not in _LETTERS and len(text) <= MAX_DIGITS and _is_text(text)


def _is_text(text: str) -> bool:
    old_meaning = _RESOLVER.resolve(yaml.ScalarNode, text, (True, False))
    return isinstance(core_value(text), str) and bool(old_meaning == "tag:yaml.org,2002:str")


def _is_printable(text: str) -> bool:
    return text.isprintable()


def _quoted(text: str) -> str:
    return '"' + "".join(character if _stands(character) else _escape(character) for character in text) + '"'


def _stands(character: str) -> bool:
    return character not in _ESCAPES and character.isprintable()


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise EditRefused("half of a surrogate pair is no text", "send whole characters")
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
