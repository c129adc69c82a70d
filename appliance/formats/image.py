"""The canonical types of image generation, and the safe bound of what a call can use.

Nothing here knows a wire format.
"""

from __future__ import annotations

import re
from typing import Any, Literal

from msgspec import Struct, field

from appliance.formats.chat import Usage
from appliance.formats.text_bound import text_bound, text_estimate

MOST_IMAGES = 10
PIXELS_PER_TOKEN = {"low": 1024, "medium": 256}
"""The largest models take 3855 pixels a token at low quality, 993 at medium; a quarter of that is safe."""
PIXELS_PER_TOKEN_ELSE = 64
"""At high quality it is 252; `auto` and what is beyond high is counted as this."""
PIXELS_OF_AUTO = 2560 * 1440
"""The largest picture that is made without being asked for."""
LIKELY_PIXELS_OF_AUTO = 1024 * 1024
SAFETY = 4
"""How much more than the dearest known model the numbers above allow."""
HIDDEN_TOKENS = 8192
"""More than models write or think beside the picture, and than surrounds the prompt."""

_SIZE = re.compile(r"(\d{1,5})x(\d{1,5})")


class ImageRequest(Struct, omit_defaults=True):
    """Pictures as asked for, in OpenAI's words. None: not said by the caller, so the provider's default holds."""

    model: str
    prompt: str
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Members of OpenAI's dialect that have no canonical meaning; only OpenAI-protocol upstreams can carry them."""


class Image(Struct, omit_defaults=True):
    """Either `url` or `b64_json`."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class ImageReply(Struct, omit_defaults=True):
    """The pictures. `usage` always counts them, and has tokens where the upstream told them; `usage_told` is its own
    object. `created` is in Unix seconds, 0 where it is not known; the words say how the pictures were made."""

    images: list[Image]
    usage: Usage
    created: int = 0
    usage_told: dict[str, Any] | None = None
    words: dict[str, str] = field(default_factory=dict)


def pixels(size: str | None) -> tuple[int, int] | None:
    """Width and height of "1024x1536"; None for `auto` and other words."""
    said = _SIZE.fullmatch(size or "")
    return (int(said[1]), int(said[2])) if said else None


def bound(request: ImageRequest) -> Usage:
    """The most that the call can use, for prices by picture and for prices by token alike.

    Safe, because `n` is held by every upstream, members that would make more pictures are refused (image_client), and
    the tokens of a picture are four times what the dearest known model makes of that size and quality.
    """
    n = request.n or 1
    return Usage(
        input_tokens=text_bound(request.prompt) + HIDDEN_TOKENS,
        output_tokens=n * (_tokens_of_picture(request, PIXELS_OF_AUTO) + HIDDEN_TOKENS),
        images=n,
    )


def estimate(request: ImageRequest) -> Usage:
    """What the call likely used, where the upstream does not say."""
    n = request.n or 1
    of_picture = -(-_tokens_of_picture(request, LIKELY_PIXELS_OF_AUTO) // SAFETY)
    return Usage(input_tokens=text_estimate(request.prompt), output_tokens=n * of_picture, images=n)


def _tokens_of_picture(request: ImageRequest, pixels_of_auto: int) -> int:
    size = pixels(request.size)
    area = size[0] * size[1] if size else pixels_of_auto
    return -(-area // PIXELS_PER_TOKEN.get(request.quality or "", PIXELS_PER_TOKEN_ELSE))
