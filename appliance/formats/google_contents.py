"""Canonical messages → Google's `systemInstruction` and its `contents` of the roles user and model.

What it decides, where the two shapes differ:
* All system and developer text goes to the system instruction, wherever it stood.
* Neighbouring messages of one role become one content; in a user's content the results of calls come first, in the
  order of the calls. A result is named after its call, which is found by id in the conversation before it.
* A thought's text goes back only with its signature, and nothing opaque goes back that another dialect made.
* A call of the current turn that has no signature, because another model made it, gets the word that Google documents
  for this case: models since Gemini 3 refuse it otherwise.
* A participant's name, an image's `detail`, file names, cache hints and citations have no place, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.errors import GatewayError, invalid
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
from appliance.formats.google_media import audio_part, file_part, image_part
from appliance.formats.google_models import is_older_than, is_since

ORIGIN = "google"
UNSIGNED_CALL = "skip_thought_signature_validator"
SIGNED_SINCE = 3.0
"""The first generation that insists on signatures, and the first that takes media as a call's result."""

Entry = dict[str, Any]


def encode_contents(messages: list[Message], upstream_model: str) -> tuple[Entry | None, list[Entry]]:
    """The system instruction, None when there is none, and the contents."""
    system: list[Entry] = []
    contents: list[Entry] = []
    names: dict[str, str] = {}
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        if message.role in ("system", "developer"):
            system += _system_parts(message, where)
        elif message.role == "assistant":
            _add(contents, "model", [*_model_parts(message, where)])
            names |= {part.id: part.name for part in message.parts if isinstance(part, ToolCallPart)}
        else:
            _add(
                contents,
                "user",
                [_user_part(part, message.role, where, names, upstream_model) for part in message.parts],
            )
    if not contents:
        raise invalid("messages", "this target needs at least one user, assistant or tool message that is not empty")
    _order_results(contents)
    if is_since(upstream_model, SIGNED_SINCE):
        _sign_current_calls(contents)
    return {"parts": system} if system else None, contents


def _add(contents: list[Entry], role: str, parts: list[Entry]) -> None:
    if not parts:
        return
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _system_parts(message: Message, where: str) -> Iterator[Entry]:
    for part in message.parts:
        if not isinstance(part, TextPart):
            raise invalid(f"{where}.content", f"a {message.role} message may hold text only on this target")
        if part.text:
            yield {"text": part.text}


# -- what the model said ----------------------------------------------------------------------------------------------


def _model_parts(message: Message, where: str) -> Iterator[Entry]:
    calls = 0
    for part in message.parts:
        match part:
            case ToolCallPart():
                yield _call(part, f"{where}.tool_calls.{calls}")
                calls += 1
            case ReasoningPart():
                if part.signature and part.origin in ("", ORIGIN):
                    yield _thought(part.text, part.signature)
            case TextPart() | RefusalPart():
                if part.text:
                    yield {"text": part.text}
            case ImagePart() if part.data is not None:
                yield image_part(part, f"{where}.content", "")
            case _:
                raise _misplaced(part, message.role, where)


def _thought(text: str, signature: str) -> Entry:
    """A signature without text stood on a part that was no thought: the end of an answer's text."""
    return {"text": text, "thought": True, "thoughtSignature": signature} if text else _bare(signature)


def _bare(signature: str) -> Entry:
    return {"text": "", "thoughtSignature": signature}


def _call(part: ToolCallPart, where: str) -> Entry:
    arguments = _arguments(part.arguments, f"{where}.function.arguments")
    call: Entry = {"functionCall": {"id": part.id, "name": part.name, "args": arguments}}
    if part.signature and part.origin in ("", ORIGIN):
        call["thoughtSignature"] = part.signature
    return call


def _arguments(text: str, where: str) -> Entry:
    if not text.strip():
        return {}
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise invalid(where, f"is not valid JSON: {error}") from None
    if not isinstance(decoded, dict):
        raise invalid(where, "must be a JSON object")
    return decoded


def _sign_current_calls(contents: list[Entry]) -> None:
    """The current turn begins after the last content of the user that is no result; one signature covers a step."""
    for content in reversed(contents):
        if content["role"] == "user":
            if not any("functionResponse" in part for part in content["parts"]):
                return
            continue
        first = next((part for part in content["parts"] if "functionCall" in part), None)
        if first is not None:
            first.setdefault("thoughtSignature", UNSIGNED_CALL)


# -- what the user and his tools said ---------------------------------------------------------------------------------


def _user_part(part: Part, role: str, where: str, names: dict[str, str], upstream_model: str) -> Entry:
    if isinstance(part, ToolResultPart):
        return _result(part, where, names, upstream_model)
    if role == "tool":
        raise _misplaced(part, role, where)
    return _said(part, role, where, upstream_model)


def _said(part: Part, role: str, where: str, upstream_model: str) -> Entry:
    content = f"{where}.content"
    match part:
        case TextPart():
            return {"text": part.text}
        case ImagePart():
            return image_part(part, content, upstream_model)
        case AudioPart():
            return audio_part(part, content)
        case FilePart():
            return file_part(part, content, upstream_model)
        case _:
            raise _misplaced(part, role, where)


def _result(part: ToolResultPart, where: str, names: dict[str, str], upstream_model: str) -> Entry:
    name = names.get(part.call_id)
    if name is None:
        raise invalid(f"{where}.tool_call_id", "answers no call of an assistant message before it")
    text = "".join(inner.text for inner in part.parts if isinstance(inner, TextPart))
    result: Entry = {"id": part.call_id, "name": name, "response": {"error" if part.is_error else "output": text}}
    others = [inner for inner in part.parts if not isinstance(inner, TextPart)]
    if others:
        result["parts"] = [_result_media(inner, where, upstream_model) for inner in others]
    return {"functionResponse": result}


def _result_media(part: Part, where: str, upstream_model: str) -> Entry:
    if is_older_than(upstream_model, SIGNED_SINCE):
        raise invalid(f"{where}.content", "this target takes text only as the result of a tool")
    media = _said(part, "tool", where, upstream_model)
    if "inlineData" not in media:
        raise invalid(f"{where}.content", "this target takes a tool's media as data only, not by URL or id")
    return media


def _order_results(contents: list[Entry]) -> None:
    for before, content in zip([None, *contents], contents, strict=False):
        if content["role"] != "user":
            continue
        asked = [part["functionCall"]["id"] for part in before["parts"] if "functionCall" in part] if before else []
        place = {call_id: index for index, call_id in enumerate(asked)}
        # sort() is stable: what answers no call of this step, and what is no result, keeps its order.
        content["parts"].sort(key=lambda part, place=place: _place(part, place))


def _place(part: Entry, places: dict[str, int]) -> int:
    result = part.get("functionResponse")
    return len(places) + 1 if result is None else places.get(result["id"], len(places))


def _misplaced(part: Part, role: str, where: str) -> GatewayError:
    kind = type(part).__struct_config__.tag
    return invalid(f"{where}.content", f"this target takes no {kind} part in a message of role {role}")
