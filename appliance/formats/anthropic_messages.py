"""Canonical messages → Anthropic's `system` and its alternating turns of content blocks.

What it decides, where the two shapes differ:
* All system and developer text goes to the start, wherever it stood, joined by newlines, as Anthropic's own
  OpenAI-compatible endpoint does. A cache hint ends its block, so the cached prefix stays what the caller meant.
* Neighbouring messages of one role become one turn; in a user turn the tool results come first.
* Text of nothing but white space is refused by Anthropic: it is joined to the text before it, or skipped.
* Reasoning goes back only with its signature or its redacted data, and only where Anthropic made them or nobody knows
  who did; unsigned reasoning, another provider's, and the signatures of calls are left out. Where none of it opens the
  message, it is moved there; otherwise it stays where it was, since interleaved thinking must return in its own order.
* Citations of earlier answers go back where Anthropic made them. A participant's name and an image's `detail` have no
  place, and are left out.
"""

from __future__ import annotations

import base64
import re
from typing import Any

import msgspec

from appliance.errors import GatewayError, invalid
from appliance.formats.anthropic_citations import OWN, own_citations
from appliance.formats.chat import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)

Block = dict[str, Any]

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PDF_TYPE = "application/pdf"

_NOT_IN_ID = re.compile(r"[^a-zA-Z0-9_-]")


def encode_conversation(messages: list[Message]) -> tuple[str | list[Block], list[Block]]:
    """The system prompt (an empty list when there is none) and the turns."""
    system: list[Block] = []
    turns: list[Block] = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if message.role in ("system", "developer"):
            _add_system(system, message, where)
        else:
            _add_turn(turns, "assistant" if message.role == "assistant" else "user", _blocks(message, where))
    if not turns:
        raise invalid("messages", "this target needs at least one user, assistant or tool message that is not empty")
    for turn in turns:
        # sort() is stable: results keep their order, and so does the rest.
        turn["content"].sort(key=lambda block: block["type"] != "tool_result")
    if len(system) == 1 and "cache_control" not in system[0]:
        return system[0]["text"], turns
    return system, turns


def with_hint(block: Block, cache: dict[str, Any] | None) -> Block:
    if cache is not None:
        block["cache_control"] = cache
    return block


def _add_system(system: list[Block], message: Message, where: str) -> None:
    for part in message.parts:
        if not isinstance(part, TextPart):
            raise invalid(f"{where}.content", f"a {message.role} message may hold text only on this target")
        if not part.text.strip():
            continue
        if system and "cache_control" not in system[-1]:
            system[-1]["text"] += "\n" + part.text
            with_hint(system[-1], part.cache)
        else:
            system.append(with_hint({"type": "text", "text": part.text}, part.cache))


def _add_turn(turns: list[Block], role: str, blocks: list[Block]) -> None:
    content = turns[-1]["content"] if turns and turns[-1]["role"] == role else []
    for block in blocks:
        _add_block(content, block)
    if content and (not turns or turns[-1]["role"] != role):
        turns.append({"role": role, "content": content})


def _add_block(content: list[Block], block: Block) -> None:
    if block["type"] != "text" or block["text"].strip():
        content.append(block)
    elif content and content[-1]["type"] == "text" and "cache_control" not in content[-1]:
        content[-1]["text"] += block["text"]


def _blocks(message: Message, where: str) -> list[Block]:
    if message.role != "assistant":
        return [_user_block(part, message.role, where) for part in message.parts]
    blocks: list[Block] = []
    calls = 0
    for part in message.parts:
        if isinstance(part, ToolCallPart):
            blocks.append(_tool_use(part, f"{where}.tool_calls.{calls}"))
            calls += 1
        elif isinstance(part, ReasoningPart):
            blocks.extend(_thinking(part))
        elif isinstance(part, TextPart):
            blocks.append(_said(part))
        elif isinstance(part, RefusalPart):
            blocks.append({"type": "text", "text": part.text})
        else:
            raise _misplaced(part, message.role, where)
    if blocks and not _is_thinking(blocks[0]):
        blocks.sort(key=lambda block: not _is_thinking(block))
    return blocks


def _said(part: TextPart) -> Block:
    block: Block = {"type": "text", "text": part.text}
    if citations := own_citations(part.citations):
        block["citations"] = citations
    return with_hint(block, part.cache)


def _thinking(part: ReasoningPart) -> list[Block]:
    if part.origin not in ("", OWN):
        return []
    if part.redacted is not None:
        return [{"type": "redacted_thinking", "data": part.redacted}]
    if part.signature is not None:
        return [{"type": "thinking", "thinking": part.text, "signature": part.signature}]
    return []


def _is_thinking(block: Block) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _tool_use(part: ToolCallPart, where: str) -> Block:
    arguments = _tool_input(part.arguments, f"{where}.function.arguments")
    return with_hint({"type": "tool_use", "id": _wire_id(part.id), "name": part.name, "input": arguments}, part.cache)


def _tool_input(arguments: str, where: str) -> dict[str, Any]:
    if not arguments.strip():
        return {}
    try:
        decoded = msgspec.json.decode(arguments)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise invalid(where, f"is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise invalid(where, "must be a JSON object")
    return decoded


def _wire_id(call_id: str) -> str:
    """Anthropic takes letters, digits, _ and - only; calls made by other models may bear other ids."""
    return _NOT_IN_ID.sub("_", call_id)


def _user_block(part: Part, role: str, where: str) -> Block:
    if isinstance(part, ToolResultPart):
        return _tool_result(part, where)
    if role == "tool":
        raise _misplaced(part, role, where)
    return _input_block(part, role, where)


def _tool_result(part: ToolResultPart, where: str) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": _wire_id(part.call_id)}
    content: list[Block] = []
    for inner in part.parts:
        _add_block(content, _input_block(inner, "tool", where))
    if content:
        is_plain = len(content) == 1 and content[0].keys() == {"type", "text"}
        block["content"] = content[0]["text"] if is_plain else content
    if part.is_error:
        block["is_error"] = True
    return with_hint(block, part.cache)


def _input_block(part: Part, role: str, where: str) -> Block:
    match part:
        case TextPart():
            return with_hint({"type": "text", "text": part.text}, part.cache)
        case ImagePart():
            return with_hint({"type": "image", "source": _image_source(part, f"{where}.content")}, part.cache)
        case FilePart():
            return with_hint(_file_block(part, f"{where}.content"), part.cache)
        case AudioPart():
            raise invalid(f"{where}.content", "this target cannot take audio input")
        case _:
            raise _misplaced(part, role, where)


def _image_source(part: ImagePart, where: str) -> Block:
    if part.data is not None:
        return _image_data(part.data, part.media_type, where)
    if not part.url:
        raise invalid(where, "the image has neither a URL nor data")
    return {"type": "url", "url": part.url}


def _image_data(data: str, media_type: str | None, where: str) -> Block:
    if media_type not in IMAGE_TYPES:
        raise invalid(where, f"this target takes images of type {', '.join(IMAGE_TYPES)}, got {media_type}")
    return {"type": "base64", "media_type": media_type, "data": data}


def _file_block(part: FilePart, where: str) -> Block:
    if (part.media_type or "").startswith("image/"):
        return {"type": "image", "source": _image_file(part, where)}
    block: Block = {"type": "document", "source": _document_source(part, where)}
    if part.filename:
        block["title"] = part.filename
    return block


def _image_file(part: FilePart, where: str) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    return _image_source(ImagePart(url=part.url, data=part.data, media_type=part.media_type), where)


def _document_source(part: FilePart, where: str) -> Block:
    if part.file_id is not None:
        return {"type": "file", "file_id": part.file_id}
    if part.data is None:
        if not part.url:
            raise invalid(where, "the file has neither a URL nor data nor an id")
        return {"type": "url", "url": part.url}
    if part.media_type == PDF_TYPE:
        return {"type": "base64", "media_type": PDF_TYPE, "data": part.data}
    if part.media_type is None or not part.media_type.startswith("text/"):
        raise invalid(where, f"this target takes files of type {PDF_TYPE} or text, got {part.media_type}")
    try:
        text = base64.b64decode(part.data, validate=True).decode("utf-8")
    except ValueError:
        raise invalid(where, "the text file is not UTF-8 in base64") from None
    return {"type": "text", "media_type": "text/plain", "data": text}


def _misplaced(part: Part, role: str, where: str) -> GatewayError:
    kind = type(part).__struct_config__.tag
    return invalid(f"{where}.content", f"this target takes no {kind} part in a message of role {role}")
