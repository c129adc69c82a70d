"""What a caller may ask for and one OpenAI-protocol server has no word for: refused by name, all at once, or let go.

A member is let go only when the answer stays the same without it; the reason stands beside it. Parts of messages are
refused where they are written, in openai_messages_writer.py.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import ChatRequest, ImagePart, ToolResultPart
from appliance.formats.json_answer import JSON_ANSWER_TOOL
from appliance.formats.openai_quirks import Quirks, matches
from appliance.formats.openai_thinking import effort, thinking_gap, thinks_always

REFUSAL = "cannot be carried to this target; remove it or route to a target that takes it"

HARMLESS = {
    "include_obfuscation": "padding against eavesdroppers on the way from OpenAI",
    "metadata": "labels for the provider's dashboards",
    "moderation": "asks OpenAI for a report beside the answer",
    "prediction": "may only speed an answer up",
    "prompt_cache_key": "routes to a warm cache",
    "prompt_cache_options": "asks for a cache lifetime",
    "prompt_cache_retention": "asks for a cache lifetime",
    "safety_identifier": "names the end user to the provider's abuse watch",
    "service_tier": "chooses among the provider's capacity classes",
    "store": "asks the provider to keep the answer for later reading",
    "stream_options": "usage is asked for where the server needs to be asked",
    "user": "names the end user to the provider's abuse watch",
}

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "function_call": ("auto", "none"),
    "functions": ([],),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "verbosity": ("medium",),
}
"""Values that say what would hold anyway; any other value of the same member is refused. None is never refused."""

SHARED = {
    "responses": (
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "verbosity",
    ),
    "anthropic": (),
}
"""Members of other dialects that mean the same under the same name here."""

FOREIGN_HARMLESS = {
    "anthropic": {
        "cache_control": "asks for caching of the whole prompt; OpenAI-protocol servers do so by themselves",
        "context_management": "lets old turns be cleared away; without it the model sees them all",
        "service_tier": "chooses among Anthropic's capacity classes",
    },
    "responses": {
        "include": "asks for more to be told beside the answer",
        "stream_options": "padding against eavesdroppers on the way from OpenAI",
        "truncation": "lets old turns be cut away; without it the model sees them all, or says that it cannot",
    },
}
"""Members of other dialects that are let go, with the reason."""


def refuse_uncarriable(request: ChatRequest, quirks: Quirks, upstream_model: str) -> None:
    """Raise one VALIDATION_ERROR that lists every member this server cannot carry."""
    gaps = {
        **_member_gaps(request, lacks(quirks, upstream_model)),
        **_option_gaps(request, quirks, upstream_model),
        **_extra_gaps(request, quirks, upstream_model),
    }
    if not gaps:
        return
    if len(gaps) == 1:
        raise invalid(*next(iter(gaps.items())))
    reasons = set(gaps.values())
    why = f"these {REFUSAL}".replace(" it ", " them ") if reasons == {REFUSAL} else "see details for each"
    details = [{"field": name, "message": reason} for name, reason in gaps.items()]
    raise GatewayError("VALIDATION_ERROR", f"{', '.join(gaps)}: {why}", param=next(iter(gaps)), details=details)


def kept_extra(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, Any]:
    """The extra members that go along; what is neither here nor refused is let go."""
    return {name: value for name, value in request.extra.items() if _is_known(name, request, quirks, upstream_model)}


def lacks(quirks: Quirks, upstream_model: str) -> frozenset[str]:
    """The members that this model on this server has not."""
    return quirks.lacks.union(*(names for models, names in quirks.model_lacks if matches(models, upstream_model)))


def _member_gaps(request: ChatRequest, lacking: frozenset[str]) -> dict[str, str]:
    asked = {
        "n": request.n > 1,
        "logprobs": bool(request.logprobs),
        "top_logprobs": bool(request.top_logprobs),
        "seed": request.seed is not None,
        "stop": bool(request.stop),
        "temperature": request.temperature is not None,
        "top_p": request.top_p is not None,
        "presence_penalty": bool(request.presence_penalty),
        "frequency_penalty": bool(request.frequency_penalty),
        "tools": bool(request.tools),
        "parallel_tool_calls": bool(request.tools) and request.parallel_tool_calls is False,
    }
    return {name: REFUSAL for name, is_asked in asked.items() if is_asked and name in lacking}


def _option_gaps(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, str]:
    found = {
        "top_k": REFUSAL if request.top_k is not None and not quirks.top_k else None,
        "reasoning_effort": thinking_gap(request.reasoning, quirks, upstream_model)
        or _unstreamed_gap(request, quirks, upstream_model),
        "tool_choice": _tool_choice_gap(request, quirks, upstream_model),
        "response_format": _response_format_gap(request, quirks, upstream_model),
        "messages": _messages_gap(request, quirks),
        "tools": _reserved_gap(request, quirks),
    }
    return {name: reason for name, reason in found.items() if reason}


def _unstreamed_gap(request: ChatRequest, quirks: Quirks, upstream_model: str) -> str | None:
    if request.stream or request.reasoning is None or effort(request.reasoning) in (None, "none"):
        return None
    if not matches(quirks.thinks_in_streams_only, upstream_model):
        return None
    return f"the backend model {upstream_model} thinks in streamed answers only; remove it or set stream"


def _tool_choice_gap(request: ChatRequest, quirks: Quirks, upstream_model: str) -> str | None:
    choice = request.tool_choice
    if choice is None:
        return None
    if not request.tools:
        asks = choice.mode in ("required", "tool")
        return "asks for a tool call, but the request has no tools; add them or remove it" if asks else None
    if choice.mode in ("required", "tool") and quirks.forcing_stops_thinking and thinks_always(quirks, upstream_model):
        return f"the backend model {upstream_model} always thinks, and then cannot be made to call a tool; remove it"
    if choice.mode in quirks.tool_choices:
        return None
    if choice.mode == "none" or (choice.mode == "required" and is_only_tool(request, quirks)):
        return None
    takes = ", ".join(_MODES[mode] for mode in quirks.tool_choices)
    return f"this target takes {takes} only; change it or route to a target that takes {_MODES[choice.mode]}"


_MODES = {"auto": "auto", "none": "none", "required": "required", "tool": "a named tool"}


def is_only_tool(request: ChatRequest, quirks: Quirks) -> bool:
    """`required` with one tool is that tool by name, for servers that know only the latter."""
    return len(request.tools) == 1 and "tool" in quirks.tool_choices


def _response_format_gap(request: ChatRequest, quirks: Quirks, upstream_model: str) -> str | None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text" or quirks.json_by_tool:
        return None
    if has_format(wanted.kind, quirks, upstream_model):
        return None
    return f"{wanted.kind} {REFUSAL}"


def has_format(kind: str, quirks: Quirks, upstream_model: str) -> bool:
    return quirks.json_object if kind == "json_object" else matches(quirks.json_schema, upstream_model)


def _messages_gap(request: ChatRequest, quirks: Quirks) -> str | None:
    if request.prefill and quirks.prefill is None:
        return "end with the beginning of an answer, which this target cannot continue; end with a user message"
    images = _images(request)
    if quirks.max_images is not None and images > quirks.max_images:
        return f"hold {images} images, but this target takes {quirks.max_images} at most"
    return None


def _images(request: ChatRequest) -> int:
    parts = [part for message in request.messages for part in message.parts]
    inner = [each for part in parts if isinstance(part, ToolResultPart) for each in part.parts]
    return sum(isinstance(part, ImagePart) for part in [*parts, *inner])


def _reserved_gap(request: ChatRequest, quirks: Quirks) -> str | None:
    if quirks.json_by_tool and any(tool.name == JSON_ANSWER_TOOL for tool in request.tools):
        return f"the name {JSON_ANSWER_TOOL} is reserved; give the tool another one"
    return None


def _extra_gaps(request: ChatRequest, quirks: Quirks, upstream_model: str) -> dict[str, str]:
    harmless = HARMLESS if request.dialect == "openai" else FOREIGN_HARMLESS.get(request.dialect, {})
    return {
        name: REFUSAL
        for name, value in request.extra.items()
        if value is not None
        and name not in harmless
        and value not in NEUTRAL.get(name, ())
        and not _is_known(name, request, quirks, upstream_model)
    }


def _is_known(name: str, request: ChatRequest, quirks: Quirks, upstream_model: str) -> bool:
    if name in lacks(quirks, upstream_model):
        return False
    if request.dialect != "openai" and name not in SHARED.get(request.dialect, ()):
        return False
    return quirks.extras is None or name in quirks.extras
