"""What the line must know of a caller's Messages request, and the types of the members that are certain.

Only top-level members and the outline of messages are decoded: what stands inside blocks is the matter of the target,
which may speak this dialect itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from appliance.errors import GatewayError, invalid
from appliance.formats.base import RequestHead

Unit = Annotated[float, Meta(ge=0, le=1)]
PositiveInt = Annotated[int, Meta(ge=1)]
Object = dict[str, Raw]


class _Turn(Struct):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Object]


class _Metadata(Struct, forbid_unknown_fields=True):
    user_id: str | None = None


class _CountShape(Struct, kw_only=True):
    """The members that a request to count tokens has too."""

    model: Annotated[str, Meta(min_length=1)]
    messages: Annotated[list[_Turn], Meta(min_length=1)]
    system: str | list[Object] | None = None
    tools: list[Object] | None = None
    tool_choice: Object | None = None
    thinking: Object | None = None
    output_config: Object | None = None
    thread: Object | None = None
    mcp_servers: list[Object] | None = None


class _Shape(_CountShape, kw_only=True):
    max_tokens: PositiveInt
    stream: bool | None = None
    temperature: Unit | None = None
    top_p: Unit | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: list[str] | None = None
    metadata: _Metadata | None = None
    container: Any = None
    speed: str | None = None
    inference_geo: str | None = None


NOT_SERVED: dict[str, tuple[tuple[Any, ...], str]] = {
    # A history that lies at the provider is input that no budget has seen, under a key that all tenants share.
    "thread": ((), "conversations are not held here between turns; send all messages, and no thread"),
    "container": ((), "files that lie at the provider are under a key that all tenants share; leave it out"),
    "mcp_servers": (([],), "servers that the provider would call on its own are not offered here; leave it out"),
    "speed": (("standard",), "a faster answer costs what no budget here has reserved; leave it out"),
    "inference_geo": (("global",), "where the provider computes is the operator's choice; leave it out"),
}
"""Members that nobody's call may have, whatever dialect the target speaks: the values that say nothing, and why."""

_shape = msgspec.json.Decoder(_Shape)
_count_shape = msgspec.json.Decoder(_CountShape)


def read_head(body: bytes) -> RequestHead:
    shape = _checked(_shape, body)
    user_id = shape.metadata.user_id if shape.metadata else None
    return RequestHead(
        model=shape.model,
        stream=bool(shape.stream),
        include_usage=True,
        output_cap=shape.max_tokens,
        metadata={"user_id": user_id} if user_id is not None else None,
    )


def read_count_head(body: bytes) -> RequestHead:
    """The same for a request to count tokens, which asks for no output."""
    return RequestHead(model=_checked(_count_shape, body).model)


def _checked(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    try:
        shape = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _named(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError("VALIDATION_ERROR", f"the body is not valid JSON: {error}") from None
    for name, (neutral, why) in NOT_SERVED.items():
        value = getattr(shape, name, None)
        if value is not None and value not in neutral:
            raise invalid(name, why)
    return shape


def _named(text: str) -> GatewayError:
    """msgspec's «Expected `int`, got `str` - at `$.top_k`» → an error that names the member."""
    message, _, path = text.partition(" - at `$")
    field = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", path.rstrip("`")).lstrip(".")
    missing = re.fullmatch(r"Object missing required field `(\w+)`", message)
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", message)
    if missing or unknown:
        name = (missing or unknown)[1]  # type: ignore[index]
        return invalid(f"{field}.{name}".lstrip("."), "is required" if missing else "is not known here; remove it")
    return invalid(field or "body", message[0].lower() + message[1:])
