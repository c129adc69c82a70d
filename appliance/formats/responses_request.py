"""A caller's request in the Responses dialect → RequestHead, ChatRequest, checked member by member.

What would reach state that all tenants of a provider's key share (`conversation`, `prompt`, item references), or an
answer that nobody waits for (`background`), is refused on every path. A member without a canonical meaning goes to
`extra`, in this dialect's words; `text.verbosity` goes there as `verbosity`, its name in OpenAI's chat dialect.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec
from msgspec import Struct

from appliance.errors import invalid
from appliance.formats.base import RequestHead
from appliance.formats.chat import ChatRequest, Message, ReasoningOptions, ResponseFormat, TextPart
from appliance.formats.members import Members, kind, text
from appliance.formats.responses_input import decode_input
from appliance.formats.responses_tools import decode_tools

MAX_TOP_LOGPROBS = 20

LOGPROBS = "message.output_text.logprobs"
INCLUDED = (
    LOGPROBS,
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
)
"""What `include` may name: encrypted reasoning is always given, and the rest speaks of tools that are not there."""

SHARED_STATE = {
    "conversation": "is not served: use previous_response_id, or send the whole conversation in input",
    "prompt": "is not served: prompt templates live at OpenAI; send their text in instructions and input",
}

LET_GO = {
    "store": "the gateway stores turns itself",
    "max_tool_calls": "counts calls of built-in tools, which are refused",
    "prompt_cache_options": "says when OpenAI's newest models cache, and for how long",
    "stream_options": "pads the events of a stream",
}


class _Head(Struct):
    model: Any = None
    stream: Any = None
    metadata: Any = None
    max_output_tokens: Any = None
    background: Any = None
    conversation: Any = None
    prompt: Any = None


_HEAD = msgspec.json.Decoder(_Head)


def read_head(body: bytes) -> RequestHead:
    try:
        head = _HEAD.decode(body)
    except msgspec.MsgspecError:
        raise invalid("body", "must be an object") from None
    members = Members(msgspec.structs.asdict(head))
    refuse_shared_state(members)
    return RequestHead(
        model=members.needed_text("model"),
        stream=bool(members.flag("stream")),
        include_usage=True,
        output_cap=members.integer("max_output_tokens", 1),
        metadata=_metadata(members),
    )


def refuse_shared_state(members: Members) -> None:
    if members.flag("background"):
        raise invalid("background", "is not served: the answer must be waited for; leave it out")
    for name, instead in SHARED_STATE.items():
        if members.value(name) is not None:
            raise invalid(name, instead)


def decode_request(body: dict[str, Any]) -> ChatRequest:
    members = Members(body)
    refuse_shared_state(members)
    if members.value("previous_response_id") is not None:
        raise invalid("previous_response_id", "names an answer that is not stored here; send its items in input")
    if members.value("truncation") is not None:
        members.word("truncation", ("disabled",))
    tools, tool_choice = decode_tools(members)
    top_logprobs = members.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    logprobs = (LOGPROBS in _include(members) or bool(top_logprobs)) or None
    request = ChatRequest(
        model=members.needed_text("model"),
        messages=_messages(members),
        stream=bool(members.flag("stream")),
        include_usage=True,
        max_output_tokens=members.integer("max_output_tokens", 1),
        temperature=members.number("temperature", 0, 2),
        top_p=members.number("top_p", 0, 1),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=members.flag("parallel_tool_calls"),
        reasoning=_reasoning(members),
        logprobs=logprobs,
        top_logprobs=top_logprobs if logprobs else None,
        user=members.text("user"),
        metadata=_metadata(members),
        dialect="responses",
    )
    request.response_format, verbosity = _text(members)
    for name in LET_GO:
        members.value(name)
    others = members.rest() | {"verbosity": verbosity}
    request.extra = {name: value for name, value in others.items() if value is not None}
    return request


def _messages(members: Members) -> list[Message]:
    instructions = members.text("instructions")
    opening = [Message("system", [TextPart(instructions)])] if instructions else []
    return [*opening, *decode_input(members.needed("input"))]


def _include(members: Members) -> list[str]:
    asked = [text(word, f"include.{i}") for i, word in enumerate(members.items("include"))]
    for i, word in enumerate(asked):
        if word not in INCLUDED:
            raise invalid(f"include.{i}", f'"{word}" is not known')
    return asked


def _text(members: Members) -> tuple[ResponseFormat | None, str | None]:
    """The format, and the verbosity where it is not the usual one."""
    options = members.members("text")
    if options is None:
        return None, None
    asked, said = options.members("format"), options.text("verbosity")
    for name in options.rest():
        raise invalid(options.at(name), "is not known; text takes format and verbosity")
    return None if asked is None else _format(asked), None if said == "medium" else said


def _format(asked: Members) -> ResponseFormat:
    kinds = ("text", "json_object", "json_schema")
    kind_asked = cast(Literal["text", "json_object", "json_schema"], asked.word("type", kinds))
    if kind_asked != "json_schema":
        return ResponseFormat(kind_asked)
    asked.needed("schema")
    return ResponseFormat(
        kind_asked,
        name=asked.needed_text("name"),
        schema=asked.plain_object("schema"),
        strict=asked.flag("strict"),
        description=asked.text("description"),
    )


def _reasoning(members: Members) -> ReasoningOptions | None:
    options = members.members("reasoning")
    if options is None:
        return None
    effort, summary, former = (options.text(name) for name in ("effort", "summary", "generate_summary"))
    for name, neutral in (("context", "auto"), ("mode", "standard")):
        if options.value(name) not in (None, neutral):
            raise invalid(options.at(name), "works only where the target speaks the Responses dialect itself")
    for name in options.rest():
        raise invalid(options.at(name), "is not known; reasoning takes effort and summary")
    return ReasoningOptions(effort, summary=summary or former) if effort or summary or former else None


def _metadata(members: Members) -> dict[str, Any] | None:
    metadata = members.plain_object("metadata")
    for name, value in (metadata or {}).items():
        if value is None or isinstance(value, list | dict):
            raise invalid(f"metadata.{name}", f"must be a string, a number or a boolean, not {kind(value)}")
    return metadata
