"""`scaigrid chat`: one answer of a model, printed while it arrives. The conversation around it is in conversation.py.

On a terminal: a spinner until the first word, reasoning dimmed, tokens and cost afterwards. In a pipe: the bare text.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from tui.client import Client, segment
from tui.locate import ClientError, Place
from tui.output import note, steady, visible

PATH = "/v1/inference/chat"
Message = dict[str, str]


async def one_shot(place: Place, model: str, text: str, system: str, *, as_json: bool) -> None:
    async with Client(place) as client:
        model = model or await first_model(client)
        await answer(client, model, opening(system, text), as_json=as_json)


async def answer(client: Client, model: str, messages: list[Message], *, as_json: bool) -> str:
    """Ask, print, and give back what was said. Raises ClientError, after what came before it has been printed."""
    turn = Turn()
    if as_json:
        await turn.print_json(client, model, messages)
    else:
        await turn.stream(client, model, messages)
    return turn.text


def opening(system: str, text: str = "") -> list[Message]:
    messages = [{"role": "system", "content": system}] if system else []
    return messages + ([{"role": "user", "content": text}] if text else [])


async def first_model(client: Client) -> str:
    """The first that can answer now; when none can, the first, whose error then says why."""
    models = await client.items("/v1/models", {"modality": "chat"})
    if not models:
        raise ClientError("this key may use no chat model; `models` of the tenant in scaigrid.yaml says which")
    return str(next((model for model in models if model["active_backend_count"]), models[0])["slug"])


async def require_model(client: Client, model: str) -> str:
    """Raises ClientError unless the model exists for this key."""
    return str((await client.get(f"/v1/models/{segment(model)}"))["slug"])


def read_all() -> str:
    return _utf8(sys.stdin.buffer.read()).strip()


def read_line() -> str | None:
    """The next line of a pipe without its ends; None behind the last."""
    raw = sys.stdin.buffer.readline()
    return _utf8(raw).strip() if raw else None


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ClientError("standard input is not text in UTF-8") from None


class Turn:
    """One answer while it arrives. `text` is right at any moment, also when the answer is stopped."""

    def __init__(self) -> None:
        self.text = ""
        self._usage: dict[str, Any] = {}
        self._finish_reason = ""
        self._screen = Screen()

    async def print_json(self, client: Client, model: str, messages: list[Message]) -> None:
        body = {"model": model, "messages": messages}
        with self._screen.waiting(model):
            envelope = await client.call("POST", PATH, body=body, patient=True)
        self.text = envelope["data"]["choices"][0]["message"].get("content") or ""
        sys.stdout.write(json.dumps(envelope["data"] | {"meta": envelope["meta"]}, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    async def stream(self, client: Client, model: str, messages: list[Message]) -> None:
        started = time.monotonic()
        body = {"model": model, "messages": messages, "stream": True}
        with self._screen.waiting(model):
            async with client.stream(PATH, body) as stream:
                async for chunk in stream:
                    self._take(chunk)
        self._summarize(stream.headers.get("X-Scaigrid-Backend", ""), time.monotonic() - started)

    def _take(self, chunk: dict[str, Any]) -> None:
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices", []):
            delta = choice.get("delta", {})
            self._screen.reasoning(delta.get("reasoning") or "")
            said = (delta.get("content") or "") + (delta.get("refusal") or "")
            self._screen.text(said)
            self.text += said
            self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _summarize(self, backend: str, seconds: float) -> None:
        usage, about = self._usage, "about " if self._usage.get("estimated") else ""
        facts = [f"{about}{usage['input_tokens']} tokens in, {usage['output_tokens']} out", f"${usage['cost']}"]
        cut = {"length": "cut at the output limit", "content_filter": "ended by a content filter"}
        reasons = [cut[self._finish_reason]] if self._finish_reason in cut else []
        note(" · ".join([*facts, f"{seconds:.1f} s", backend, *reasons]))


class Screen:
    """Standard output, as a terminal or as a pipe. Closes with a line end, however the answer ended."""

    def __init__(self) -> None:
        self._console = Console(highlight=False) if sys.stdout.isatty() else None
        self._spinner: Status | None = None
        self._last = "\n"
        self._reasoned = False

    @contextmanager
    def waiting(self, model: str) -> Iterator[None]:
        if self._console:
            self._spinner = self._console.status(Text(f"waiting for {visible(model)}", "dim"))
            self._spinner.start()
        try:
            yield
        finally:
            self._stop_waiting()
            if self._last != "\n":
                self._write("\n")

    def reasoning(self, piece: str) -> None:
        if piece and self._console:
            self._reasoned = True
            self._write(piece, "dim italic")

    def text(self, piece: str) -> None:
        if piece and self._reasoned:
            self._write("\n\n" if self._last != "\n" else "\n")
            self._reasoned = False
        if piece:
            self._write(piece)

    def _stop_waiting(self) -> None:
        if self._spinner:
            self._spinner.stop()
            self._spinner = None

    def _write(self, piece: str, style: str | None = None) -> None:
        self._stop_waiting()
        self._last = piece[-1]
        if self._console:
            self._console.out(steady(piece), style=style, end="", highlight=False)
        else:
            sys.stdout.write(piece)
        sys.stdout.flush()
