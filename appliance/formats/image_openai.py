"""Image generation of OpenAI-protocol servers, `images/generations`: request out, reply in."""

from __future__ import annotations

import re
from typing import Any

from appliance.errors import invalid
from appliance.formats.chat import Usage
from appliance.formats.image import Image, ImageReply, ImageRequest
from appliance.formats.openai_reply import seconds
from appliance.formats.reply_object import count, mismatch, reply_object

BASE64_ONLY = re.compile(r"gpt-image|chatgpt-image", re.IGNORECASE)
"""Upstream models that answer in base64 always, and refuse to be asked for it."""

WORDS: dict[str, tuple[str, ...] | None] = {
    "background": ("transparent", "opaque"),
    "output_format": ("png", "webp", "jpeg"),
    "quality": ("low", "medium", "high", "xhigh", "max"),
    "size": None,
}
"""How the pictures were made. Another server's own word stays out of an answer: strict clients refuse it."""

_CARRIED = (
    "n",
    "size",
    "quality",
    "style",
    "response_format",
    "background",
    "output_format",
    "output_compression",
    "moderation",
    "user",
)


def encode_request(request: ImageRequest, upstream_model: str) -> dict[str, Any]:
    said = {name: value for name in _CARRIED if (value := getattr(request, name)) is not None}
    if BASE64_ONLY.search(upstream_model) and said.pop("response_format", None) == "url":
        raise invalid("response_format", "this target answers with the pictures themselves; ask for b64_json")
    return {**request.extra, "model": upstream_model, "prompt": request.prompt, **said}


def decode_reply(body: bytes) -> ImageReply:
    reply = reply_object(body)
    data = reply.get("data")
    if not isinstance(data, list) or not data:
        raise mismatch("has no pictures")
    images = [_image(item, i) for i, item in enumerate(data)]
    told = reply.get("usage")
    usage = _usage(told, len(images))
    return ImageReply(
        images,
        usage,
        created=seconds(reply.get("created")),
        usage_told=_told(told, usage),
        words={
            name: word
            for name, words in WORDS.items()
            if isinstance(word := reply.get(name), str) and (words is None or word in words)
        },
    )


def _image(item: Any, position: int) -> Image:
    said = item if isinstance(item, dict) else {}
    url, data, revised = (_text(said.get(name)) for name in ("url", "b64_json", "revised_prompt"))
    if url is None and data is None:
        raise mismatch(f"has no picture in entry {position}")
    return Image(url, data, revised)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _usage(told: Any, images: int) -> Usage:
    usage = Usage(images=images)
    if isinstance(told, dict):
        usage.input_tokens = count(told.get("input_tokens")) or 0
        usage.output_tokens = count(told.get("output_tokens")) or 0
        details = told.get("input_tokens_details")
        cached = count(details.get("cached_tokens")) if isinstance(details, dict) else None
        usage.cached_input_tokens = min(cached or 0, usage.input_tokens)
    return usage


def _told(told: Any, usage: Usage) -> dict[str, Any] | None:
    """The upstream's own object, with the members that OpenAI's clients rely on."""
    if not isinstance(told, dict) or not usage.total_tokens:
        return None
    details = {"input_tokens_details": {"text_tokens": usage.input_tokens, "image_tokens": 0}}
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
    }
    return details | {name: value for name, value in told.items() if value is not None} | counts
