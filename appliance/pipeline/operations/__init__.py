"""OPERATIONS: the readable list of what can be asked for inference. A new kind of call is a file and a line here."""

from __future__ import annotations

from appliance.pipeline.operations.base import Operation
from appliance.pipeline.operations.chat import Chat
from appliance.pipeline.operations.count import Count
from appliance.pipeline.operations.embed import Embed
from appliance.pipeline.operations.image import Image
from appliance.pipeline.operations.rerank import Rerank
from appliance.pipeline.operations.respond import Respond
from appliance.pipeline.operations.speak import Speak
from appliance.pipeline.operations.transcribe import Transcribe, Translate

_ALL: tuple[Operation, ...] = (
    Chat(),
    Respond(),
    Count(),
    Embed(),
    Image(),
    Transcribe(),
    Translate(),
    Speak(),
    Rerank(),
)
OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _ALL}
