"""Pieces of tool calls in a stream → ToolCallDelta, the calls of each choice counted from 0.

Servers number calls from 0, from 1 or not at all, send a call whole or in pieces, and leave ids out of continuations
or write them empty.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from appliance.formats.chat import ToolCallDelta
from appliance.formats.openai_call import arguments_text, call_signature, new_call_id


class FunctionPiece(Struct):
    name: str | None = None
    arguments: Any = None


class CustomPiece(Struct):
    """A custom tool's call: free text in place of arguments (see openai_call.py)."""

    name: str | None = None
    input: str | None = None


class CallPiece(Struct):
    index: int | None = None
    id: str | None = None
    function: FunctionPiece | None = None
    extra_content: Any = None
    custom: CustomPiece | None = None


class _Call(Struct):
    """A call as far as it came; `said_id` is the upstream's, empty when ours stands in."""

    ordinal: int
    said_id: str
    name: str
    has_arguments: bool = False


class StreamCalls:
    def __init__(self) -> None:
        self._by_index: dict[tuple[int, int], _Call] = {}
        self._of_choice: dict[int, list[_Call]] = {}

    def delta(self, choice: int, piece: CallPiece) -> ToolCallDelta | None:
        """None for a piece that names no function and continues no call."""
        function = piece.function or _free_text(piece.custom)
        name, said_id = function.name or "", piece.id or ""
        arguments, signature = arguments_text(function.arguments), call_signature(piece.extra_content)
        origin = "google" if signature else ""
        call, call_id = self._known(choice, piece.index, said_id, name), None
        if call is None:
            if not name:
                return None
            call, call_id = self._begin(choice, piece.index, said_id, name), said_id or new_call_id()
        call.has_arguments = call.has_arguments or bool(arguments.strip()) or piece.custom is not None
        return ToolCallDelta(choice, call.ordinal, call_id, name if call_id else None, arguments, signature, origin)

    def without_arguments(self, choice: int) -> list[ToolCallDelta]:
        """At a choice's end: what makes the arguments of its calls JSON that came without any. Asked once."""
        calls = [call for call in self._of_choice.get(choice, ()) if not call.has_arguments]
        return [ToolCallDelta(choice, call.ordinal, arguments="{}") for call in calls]

    def _known(self, choice: int, index: int | None, said_id: str, name: str) -> _Call | None:
        """The call that a piece continues. Another id, or without an id another name, begins a new one."""
        calls = self._of_choice.get(choice, [])
        if index is None:
            if said_id:
                return next((call for call in calls if call.said_id == said_id), None)
            return calls[-1] if calls and not name else None
        call = self._by_index.get((choice, index))
        if call is None or (said_id and said_id != call.said_id):
            return None
        return None if name and name != call.name and not said_id else call

    def _begin(self, choice: int, index: int | None, said_id: str, name: str) -> _Call:
        calls = self._of_choice.setdefault(choice, [])
        call = _Call(len(calls), said_id, name)
        calls.append(call)
        if index is not None:
            self._by_index[choice, index] = call
        return call


def _free_text(custom: CustomPiece | None) -> FunctionPiece:
    return FunctionPiece(custom.name, custom.input) if custom else FunctionPiece()
