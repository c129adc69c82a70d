"""The content blocks of a streamed answer, each with what of it was not told yet.

A block knows its opening (None while there is nothing to show), the deltas that may go out now, and the rest that must
wait for its end. None of them knows an index, or the blocks beside it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from appliance.formats.anthropic_citations import citation_objects
from appliance.formats.anthropic_input import input_of
from appliance.formats.anthropic_packing import call_block, is_redacted, reasoning_block
from appliance.formats.chat import Citation, ReasoningDelta, ReasoningPart, ToolCallDelta

Json = dict[str, Any]


class TextBlock:
    """Text, or a refusal. Citations end it: what is said after them does not rest on them."""

    def __init__(self, is_refusal: bool) -> None:
        self.is_refusal = is_refusal
        self.is_whole = True
        self.is_sealed = False
        self._pieces: list[Json] = []

    def add(self, text: str, citations: list[Citation]) -> None:
        if text:
            self._pieces.append({"type": "text_delta", "text": text})
        self._pieces += [{"type": "citations_delta", "citation": each} for each in citation_objects(citations)]
        self.is_sealed = bool(citations)

    def opening(self) -> Json | None:
        return {"type": "text", "text": ""} if self._pieces else None

    def pieces(self) -> list[Json]:
        out, self._pieces = self._pieces, []
        return out

    def rest(self) -> list[Json]:
        return []


class ThinkingBlock:
    """Reasoning. Its signature, where it has one, goes out at the end, and nothing joins it after that."""

    def __init__(self) -> None:
        self.is_whole = True
        self._part = ReasoningPart()
        self._said: list[str] = []
        self._unsaid: list[str] = []

    def takes(self, event: ReasoningDelta) -> bool:
        """Does it go on with this block? What Google signs alone is a text, and redacted data alone is a block."""
        known = self._part
        alone = event.origin == "google" if event.signature else bool(event.redacted and not event.id)
        is_sealed = bool(known.signature or known.redacted)
        is_other = bool(event.id and known.id and event.id != known.id)
        return not is_sealed and not is_other and not (alone and not event.text and self._said)

    def add(self, event: ReasoningDelta) -> None:
        if event.text:
            self._unsaid.append(event.text)
            self._said.append(event.text)
        known = self._part
        origin, item_id = event.origin or known.origin, event.id or known.id
        self._part = ReasoningPart("", event.signature or None, event.redacted or None, origin, item_id)

    def opening(self) -> Json | None:
        if self._is_redacted():
            return reasoning_block(self._part)
        begun = self._said or self._part.signature or self._part.redacted or self._part.id
        return {"type": "thinking", "thinking": "", "signature": ""} if begun else None

    def _is_redacted(self) -> bool:
        return is_redacted(self._part, "".join(self._said))

    def pieces(self) -> list[Json]:
        out = [{"type": "thinking_delta", "thinking": text} for text in self._unsaid]
        self._unsaid.clear()
        return out

    def rest(self) -> list[Json]:
        if self._is_redacted():
            return []
        signature = reasoning_block(replace(self._part, text="".join(self._said)))["signature"]
        return [{"type": "signature_delta", "signature": signature}] if signature else []


class SignatureBlock:
    """An empty thinking block that bears the signature of the call beside it."""

    def __init__(self, signature: str, origin: str, late_for: str | None = None) -> None:
        self.is_whole = True
        self._block = call_block(signature, origin, late_for)

    def opening(self) -> Json | None:
        return self._block | {"signature": ""}

    def pieces(self) -> list[Json]:
        return []

    def rest(self) -> list[Json]:
        return [{"type": "signature_delta", "signature": self._block["signature"]}]


class CallBlock:
    """A call. Arguments that begin like an object are told as they come; others only when they are all there."""

    def __init__(self, event: ToolCallDelta) -> None:
        self.id = event.id or ""
        self._head: Json = {"type": "tool_use", "id": self.id, "name": event.name or "", "input": {}}
        self._said: list[str] = []
        self._unsaid: list[str] = []
        self._is_object = False
        self._pieces_checked = 0

    def add(self, arguments: str) -> None:
        if arguments:
            self._unsaid.append(arguments)

    def opening(self) -> Json | None:
        return self._head

    def pieces(self) -> list[Json]:
        self._is_object = self._is_object or "".join(self._unsaid).lstrip().startswith("{")
        if not self._is_object:
            return []
        out = [{"type": "input_json_delta", "partial_json": piece} for piece in self._unsaid]
        self._said += self._unsaid
        self._unsaid.clear()
        return out

    @property
    def is_whole(self) -> bool:
        """The arguments are a complete object. Asked while others wait; decodes only when something came in between."""
        if self._pieces_checked == len(self._said):
            return False
        self._pieces_checked = len(self._said)
        try:
            msgspec.json.decode("".join(self._said))
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return False
        return True

    def rest(self) -> list[Json]:
        wrapped = input_of("".join(self._unsaid))
        return [{"type": "input_json_delta", "partial_json": msgspec.json.encode(wrapped).decode()}] if wrapped else []


Block = TextBlock | ThinkingBlock | SignatureBlock | CallBlock
