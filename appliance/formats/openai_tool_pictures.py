"""Pictures in tool results, for servers whose tool messages hold text only: they follow in a message of the user's.

Results of one step must stand together, so the pictures of all of them come behind the last. Each is numbered in its
result and before the picture itself. Must not touch anything else, and nothing of the caller's own messages.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from appliance.formats.chat import ImagePart, Message, Part, TextPart, ToolResultPart


def with_pictures_apart(messages: list[Message]) -> Iterator[tuple[int, Message]]:
    """The messages with the number that the caller knows them by; a made one bears that of the result before it."""
    apart: list[Part] = []
    for index, message in enumerate(messages):
        if apart and message.role != "tool":
            yield index - 1, Message("user", apart)
            apart = []
        if message.role == "tool":
            message = replace(message, parts=[_without_pictures(part, apart) for part in message.parts])
        yield index, message
    if apart:
        yield len(messages) - 1, Message("user", apart)


def _without_pictures(part: Part, apart: list[Part]) -> Part:
    """The result with a number in each picture's place; the pictures are put behind those that are `apart` already."""
    if not isinstance(part, ToolResultPart) or not any(isinstance(inner, ImagePart) for inner in part.parts):
        return part
    kept: list[Part] = []
    for inner in part.parts:
        if isinstance(inner, ImagePart):
            number = len(apart) // 2 + 1
            apart += [TextPart(f"Picture {number} of the tool results above:"), inner]
            kept.append(TextPart(f"[picture {number}, shown in the next message]"))
        else:
            kept.append(inner)
    return replace(part, parts=kept)
