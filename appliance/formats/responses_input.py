"""`input` of a caller's request in the Responses dialect → messages, checked item by item.

The items of one assistant turn (reasoning, messages, function calls) become one message with their parts in order.
What an item says about itself (its id, status, phase) has no place; only reasoning keeps OpenAI's id, which its
encrypted content is bound to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from appliance.errors import invalid
from appliance.formats.chat import Message, Part, ReasoningPart, TextPart, ToolCallPart, ToolResultPart
from appliance.formats.members import Members, items, kind
from appliance.formats.responses_content import INPUT_TYPES, OUTPUT_TYPES, RESULT_TYPES, decode_content
from appliance.formats.responses_opaque import ORIGIN, Opaque, is_made, unpack
from appliance.formats.responses_reply import reasoning_text

Role = Literal["user", "assistant", "system", "developer"]
ROLES: tuple[Role, ...] = ("user", "assistant", "system", "developer")

REFERENCE = "names an item that is not stored here; send the item itself"


def decode_input(value: Any) -> list[Message]:
    if isinstance(value, str):
        return [Message("user", [TextPart(value)])]
    if not isinstance(value, list):
        raise invalid("input", f"must be a string or a list of items, not {kind(value)}")
    conversation = _Conversation()
    for i, item in enumerate(value):
        conversation.add(Members(item, f"input.{i}"))
    if not conversation.messages:
        raise invalid("input", "must hold at least one item that says something")
    return conversation.messages


class _Conversation:
    """`signature` came in an item of its own and belongs to the call that follows."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._signature: Opaque | None = None

    def add(self, item: Members) -> None:
        said = item.value("type")
        if said is None and item.value("role") is not None:
            said = "message"
        if said == "item_reference":
            raise invalid(item.path, REFERENCE)
        add = _ITEMS.get(said) if isinstance(said, str) else None
        if add is None:
            raise invalid(
                item.at("type"),
                f"must be one of {', '.join(_ITEMS)}; items of built-in tools work only where the target speaks the "
                "Responses dialect itself",
            )
        add(self, item)

    def message(self, item: Members) -> None:
        role = cast(Role, item.word("role", ROLES))
        content, path = item.needed("content"), item.at("content")
        if role == "assistant":
            self._assistant(decode_content(content, path, OUTPUT_TYPES))
            return
        parts = decode_content(content, path, INPUT_TYPES)
        if not parts:
            raise invalid(path, "must not be an empty list")
        self.messages.append(Message(role, parts))

    def reasoning(self, item: Members) -> None:
        encrypted = item.text("encrypted_content")
        said = reasoning_text({name: items(item.value(name) or [], item.at(name)) for name in ("summary", "content")})
        if not encrypted:
            self._assistant([ReasoningPart(said)] if said else [])
            return
        opaque = unpack(encrypted)
        if opaque.kind == "call":
            self._signature = opaque
        elif opaque.kind == "redacted":
            self._assistant([ReasoningPart(said, redacted=opaque.data, origin=opaque.origin)])
        else:
            item_id = item.text("id") or ""
            known_id = None if opaque.origin != ORIGIN or is_made(item_id) else item_id or None
            self._assistant([ReasoningPart(said, opaque.data, origin=opaque.origin, id=known_id)])

    def function_call(self, item: Members) -> None:
        arguments = item.needed("arguments")
        if not isinstance(arguments, str):
            raise invalid(item.at("arguments"), f"must be a string that holds JSON, not {kind(arguments)}")
        call = ToolCallPart(item.needed_text("call_id"), item.needed_text("name"), arguments or "{}")
        if self._signature is not None:
            call.signature, call.origin = self._signature.data, self._signature.origin
            self._signature = None
        self._assistant([call])

    def function_call_output(self, item: Members) -> None:
        parts = decode_content(item.needed("output"), item.at("output"), RESULT_TYPES)
        self.messages.append(Message("tool", [ToolResultPart(item.needed_text("call_id"), parts)]))

    def _assistant(self, parts: list[Part]) -> None:
        """Empty text says nothing, and some providers refuse it."""
        said = [part for part in parts if part != TextPart("")]
        if not said:
            return
        if self.messages and self.messages[-1].role == "assistant":
            self.messages[-1].parts += said
        else:
            self.messages.append(Message("assistant", said))


_ITEMS: dict[str, Callable[[_Conversation, Members], None]] = {
    "message": _Conversation.message,
    "reasoning": _Conversation.reasoning,
    "function_call": _Conversation.function_call,
    "function_call_output": _Conversation.function_call_output,
}
