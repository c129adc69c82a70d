"""`scaigrid chat` without -m: a conversation, line by line, with its history kept until /reset or the end.

Ctrl-C stops the answer that is running and nothing else; Ctrl-D or /quit ends. In a pipe each line is one message.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tui.chat import Message, Turn, first_model, opening, read_line, require_model
from tui.client import Client
from tui.locate import ClientError, Place
from tui.output import note, print_error, visible

HELP = """\
/model NAME  talk to another model; without NAME, list them
/reset       forget what was said
/quit        end (also Ctrl-D)
/help        this list
Ctrl-C       stop the answer"""


def converse(place: Place, model: str, system: str, *, as_json: bool) -> None:
    """Until the end of input. Raises ClientError at the start, and in a pipe at any failed answer."""
    with asyncio.Runner() as runner:
        client = Client(place)
        runner.run(client.__aenter__())
        try:
            Conversation(runner.run, client, model, system, as_json=as_json).loop()
        finally:
            runner.run(client.__aexit__(None, None, None))


class Conversation:
    def __init__(
        self,
        wait_for: Callable[[Coroutine[Any, Any, Any]], Any],
        client: Client,
        model: str,
        system: str,
        *,
        as_json: bool,
    ) -> None:
        self._wait_for = wait_for
        self._client = client
        self._system = system
        self._as_json = as_json
        self._is_person = sys.stdin.isatty()
        self._messages: list[Message] = opening(system)
        self._model = self._wait_for(require_model(client, model) if model else first_model(client))

    def loop(self) -> None:
        if self._is_person:
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 - line editing and the up arrow, in input()
            note(f"{self._model} at {self._client.place} · /help · Ctrl-D ends")
        while (line := self._read()) is not None:
            if line.startswith("/") and not self._command(line):
                return
            if line and not line.startswith("/"):
                self._say(line)

    # -- reading --

    def _read(self) -> str | None:
        """The next line without its ends; None at the end. Ctrl-C twice at the prompt ends as well."""
        if not self._is_person:
            return read_line()
        was_interrupted = False
        while True:
            try:
                return self._prompt().strip()
            except EOFError:
                sys.stdout.write("\n")
                return None
            except KeyboardInterrupt:
                sys.stdout.write("\n")
                if was_interrupted:
                    raise
                was_interrupted = True
                note("Ctrl-C again, Ctrl-D or /quit ends.")

    def _prompt(self) -> str:
        prompt = f"{visible(self._model)}> "
        if sys.stdout.isatty():
            return input(prompt)
        sys.stderr.write(prompt)  # standard output belongs to the answers
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line

    # -- answering --

    def _say(self, text: str) -> None:
        turn = Turn()
        messages = [*self._messages, {"role": "user", "content": text}]
        work = turn.print_json if self._as_json else turn.stream
        try:
            self._wait_for(work(self._client, self._model, messages))
        except KeyboardInterrupt:
            if not self._is_person:
                raise
            note("stopped")
        except ClientError as error:
            if not self._is_person:
                raise
            print_error(str(error))
        if turn.text:
            self._messages = [*messages, {"role": "assistant", "content": turn.text}]

    # -- commands --

    def _command(self, line: str) -> bool:
        """False when it ends the conversation."""
        verb, _, rest = line.partition(" ")
        if verb in ("/quit", "/exit"):
            return False
        if verb == "/reset":
            self._messages = opening(self._system)
            note("forgotten")
        elif verb == "/model":
            self._switch(rest.strip())
        elif verb == "/help":
            sys.stdout.write(HELP + "\n")
        else:
            print_error(f"{verb} is no command here; /help lists them")
        return True

    def _switch(self, name: str) -> None:
        try:
            if name:
                self._model = self._wait_for(require_model(self._client, name))
            else:
                models = self._wait_for(self._client.items("/v1/models", {"modality": "chat"}))
                sys.stdout.writelines(visible(model["slug"]) + "\n" for model in models)
        except KeyboardInterrupt:
            if not self._is_person:
                raise
        except ClientError as error:
            if not self._is_person:
                raise
            print_error(str(error))
