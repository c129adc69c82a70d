"""Image generation for callers: the OpenAI surface and the native one, requests in and replies out.

The native reply is the `data` object; must not add the envelope, `meta` or the cost.
"""

from __future__ import annotations

from typing import Any, Literal, cast

from appliance.errors import invalid
from appliance.formats.base import ReplyHead
from appliance.formats.image import MOST_IMAGES, Image, ImageReply, ImageRequest
from appliance.formats.members import Members, one_of
from appliance.formats.refused_members import refuse_unknown

OUTPUT_FORMATS = ("png", "webp", "jpeg")
"""`gif` and `svg` are charged in ways that no reservation could cover."""
NOT_OFFERED = {
    "stream": "pictures are not streamed here; leave it out",
    "partial_images": "pictures are not streamed here; leave it out",
    "svg": "only png, webp and jpeg pictures are made here; leave it out",
    "frame_count": "only still pictures are made here; leave it out",
    "num_images": "use n",
    "num_outputs": "use n",
    "batch_size": "use n",
}
"""What changes the number or the price of the pictures behind the ledger's back."""


def decode_openai(body: dict[str, Any]) -> ImageRequest:
    members = Members(body)
    request = _decode(members)
    request.extra = members.rest()
    return request


def decode_native(body: dict[str, Any]) -> ImageRequest:
    """OpenAI's form with `metadata`; a member that has no meaning here is refused."""
    members = Members(body)
    request = _decode(members)
    request.metadata = members.plain_object("metadata")
    refuse_unknown(members)
    return request


def _decode(members: Members) -> ImageRequest:
    for name, advice in NOT_OFFERED.items():
        if members.value(name):
            raise invalid(name, advice)
    return ImageRequest(
        model=members.needed_text("model"),
        prompt=members.needed_text("prompt"),
        n=members.integer("n", 1, MOST_IMAGES),
        size=members.text("size"),
        quality=members.text("quality"),
        style=members.text("style"),
        response_format=_response_format(members),
        background=members.text("background"),
        output_format=_output_format(members),
        output_compression=members.integer("output_compression", 0, 100),
        moderation=members.text("moderation"),
        user=members.text("user"),
    )


def _response_format(members: Members) -> Literal["url", "b64_json"] | None:
    if members.value("response_format") is None:
        return None
    return cast(Literal["url", "b64_json"], members.word("response_format", ("url", "b64_json")))


def _output_format(members: Members) -> str | None:
    asked = members.text("output_format")
    if asked is not None and asked not in OUTPUT_FORMATS:
        raise invalid("output_format", f'must be {one_of(OUTPUT_FORMATS)}, not "{asked}"')
    return asked


def encode_openai(reply: ImageReply, head: ReplyHead) -> dict[str, Any]:
    """Usage in OpenAI's form only where the upstream told it: pictures that are charged one by one have none there."""
    body: dict[str, Any] = {"created": reply.created or head.created, "data": _data(reply.images), **reply.words}
    return body if reply.usage_told is None else body | {"usage": reply.usage_told}


def encode_native(reply: ImageReply, head: ReplyHead, usage: dict[str, Any]) -> dict[str, Any]:
    """`usage` as native_units.usage_object made it."""
    return {
        "id": head.id,
        "model": head.model,
        "created": reply.created or head.created,
        "data": _data(reply.images),
        **reply.words,
        "usage": usage,
    }


def _data(images: list[Image]) -> list[dict[str, str]]:
    members = ("url", "b64_json", "revised_prompt")
    return [{name: value for name in members if (value := getattr(image, name)) is not None} for image in images]
