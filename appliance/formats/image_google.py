"""Image generation of Google's Imagen, `models/NAME:predict`: request out, reply in.

Imagen has five shapes in two sizes; what cannot be said in its words is refused by name.
"""

from __future__ import annotations

from typing import Any

from appliance.errors import GatewayError, invalid
from appliance.formats.chat import Usage
from appliance.formats.image import Image, ImageReply, ImageRequest
from appliance.formats.members import one_of
from appliance.formats.refused_members import refuse_uncarriable
from appliance.formats.reply_object import mismatch, reply_object

MOST_IMAGES = 4

SIZES: dict[str, tuple[str, str]] = {
    "1024x1024": ("1:1", "1K"),
    "896x1280": ("3:4", "1K"),
    "1280x896": ("4:3", "1K"),
    "768x1408": ("9:16", "1K"),
    "1024x1792": ("9:16", "1K"),
    "1408x768": ("16:9", "1K"),
    "1792x1024": ("16:9", "1K"),
    "2048x2048": ("1:1", "2K"),
    "1792x2560": ("3:4", "2K"),
    "2560x1792": ("4:3", "2K"),
    "1536x2816": ("9:16", "2K"),
    "2816x1536": ("16:9", "2K"),
}
"""`size` → Imagen's shape and size. OpenAI's two oblong sizes become the shape that is nearest."""

MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg"}

NEUTRAL: dict[str, tuple[str, ...]] = {
    "quality": ("auto", "standard"),
    "style": (),
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
}
"""Words that say what Imagen does anyway; any other word of the same member is refused."""


def encode_request(request: ImageRequest, upstream_model: str) -> dict[str, Any]:
    """The upstream's model stands in the URL. `user` is let go: it is a label for the other provider's abuse watch."""
    refuse_uncarriable([*_gaps(request), *request.extra], "an Imagen target")
    if request.n is not None and request.n > MOST_IMAGES:
        raise invalid("n", f"must be at most {MOST_IMAGES} for an Imagen target, not {request.n}")
    # Without the reason, a picture that was filtered out looks like one that was forgotten.
    parameters: dict[str, Any] = {"sampleCount": request.n or 1, "includeRaiReason": True}
    parameters |= _size(request.size)
    if request.output_format is not None:
        options: dict[str, Any] = {"mimeType": MEDIA_TYPES[request.output_format]}
        if request.output_compression is not None:
            options["compressionQuality"] = request.output_compression
        parameters["outputOptions"] = options
    return {"instances": [{"prompt": request.prompt}], "parameters": parameters}


def _gaps(request: ImageRequest) -> list[str]:
    words = {name: getattr(request, name) for name in NEUTRAL}
    gaps = [name for name, word in words.items() if word is not None and word not in NEUTRAL[name]]
    if request.response_format == "url":
        gaps.append("response_format")
    if request.output_format is not None and request.output_format not in MEDIA_TYPES:
        gaps.append("output_format")
    if request.output_compression is not None and request.output_format != "jpeg":
        gaps.append("output_compression")
    return gaps


def _size(size: str | None) -> dict[str, Any]:
    if size is None or size == "auto":
        return {}
    if size not in SIZES:
        raise invalid("size", f"must be {one_of(tuple(SIZES))} for an Imagen target")
    shape, image_size = SIZES[size]
    return {"aspectRatio": shape, "imageSize": image_size}


def decode_reply(body: bytes) -> ImageReply:
    predictions = reply_object(body).get("predictions")
    if not isinstance(predictions, list) or not predictions:
        raise mismatch("has no pictures")
    images = [image for prediction in predictions if (image := _image(prediction)) is not None]
    if not images:
        raise _filtered(predictions)
    return ImageReply(images, Usage(images=len(images)))


def _image(prediction: Any) -> Image | None:
    said = prediction if isinstance(prediction, dict) else {}
    data, revised = said.get("bytesBase64Encoded"), said.get("prompt")
    if not isinstance(data, str) or not data:
        return None
    return Image(b64_json=data, revised_prompt=revised if isinstance(revised, str) and revised else None)


def _filtered(predictions: list[Any]) -> GatewayError:
    """Every picture was held back by Google's safety filter: the prompt is at fault, not the upstream."""
    said = [prediction.get("raiFilteredReason") for prediction in predictions if isinstance(prediction, dict)]
    reason = next((reason for reason in said if isinstance(reason, str) and reason), None)
    if reason is None:
        return mismatch("has no pictures")
    return invalid("prompt", f"the provider's safety filter held every picture back: {reason}")
