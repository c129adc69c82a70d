"""Clients of all kinds that ask one thing after the other, some of whom hang up in the middle."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

from support.chaos_answers import prompt_of
from support.chaos_judge import PATHS, Asked, judge
from support.chaos_line import BadHttp, Line, request_of
from support.chaos_plays import FORBIDDEN, TOO_LONG
from support.chaos_upstream import SeenCall

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Model:
    """What a call of it may do: how many attempts, how many at once; `share` is its part of all calls."""

    share: int
    attempts: int = 3
    at_once: int = 1
    has_breaker: bool = True


MODELS = {
    "steady": Model(30),
    "once": Model(8, attempts=1),
    "twice": Model(8, attempts=2),
    "many": Model(8, attempts=5),
    "hedged": Model(16, at_once=2),
    "sticky": Model(10),
    "quick": Model(6),
    "small": Model(6),
    "strict": Model(6),
    "stubborn": Model(8, has_breaker=False),
}
"""small and strict have fallbacks; quick chooses by latency; stubborn has no circuit breaker."""


@dataclass(frozen=True)
class Habits:
    """`patience_s`: no call lasts longer, or it hangs. `pause_s`: between two calls of one client."""

    patience_s: float
    pause_s: float
    hang_ups: float = 0.12
    large_bodies: float = 0.05


class Caller:
    """Told `asked` at the end of each call; `wrong` when what came is neither an answer nor an error."""

    def __init__(
        self,
        address: tuple[str, int],
        key: str,
        habits: Habits,
        rng: Random,
        served: Mapping[str, SeenCall],
        note: Callable[[Asked, str], None],
    ) -> None:
        self._address, self._key, self._habits, self._rng = address, key, habits, rng
        self._served, self._note = served, note
        self._line: Line | None = None

    async def until(self, over: asyncio.Event) -> None:
        try:
            while not over.is_set():
                asked = await self.ask()
                refused = asked.outcome == "refused"
                await asyncio.sleep(self._rng.uniform(0, self._habits.pause_s * (10 if refused else 1)))
        finally:
            await self.close()

    async def close(self) -> None:
        if self._line:
            await self._line.close()
            self._line = None

    async def ask(self, model: str = "", *, hang_ups: bool = True) -> Asked:
        """One call; any model unless it is said which."""
        rng, loop = self._rng, asyncio.get_running_loop()
        model = model or rng.choices(list(MODELS), [each.share for each in MODELS.values()])[0]
        asked = Asked(
            f"chaos-{next(_numbers):07}",
            model,
            rng.choice(list(PATHS)),
            rng.random() < 0.6,
            {"small": TOO_LONG, "strict": FORBIDDEN}.get(model, "") if rng.random() < 0.5 else "",
            rng.random() < 0.5,
        )
        leaves = hang_ups and rng.random() < self._habits.hang_ups
        limit_s = rng.uniform(0, 1) ** 2 * 2 if leaves else self._habits.patience_s
        asked.began_at = loop.time()
        wrong = ""
        try:
            async with asyncio.timeout(limit_s):
                await self._answered(asked)
        except TimeoutError:
            asked.outcome = "left" if leaves else "hung"
            wrong = "" if leaves else f"no end after {limit_s:.0f} s"
        except (AssertionError, BadHttp, ValueError, KeyError, TypeError) as error:
            wrong = f"{type(error).__name__}: {error}"
        finally:
            asked.seconds = loop.time() - asked.began_at
            await self._leave(asked)
        self._note(asked, wrong)
        return asked

    async def _answered(self, asked: Asked) -> None:
        closes = self._rng.random() < 0.2
        request = self._request(asked, closes)
        if self._line is None:
            self._line = await Line.to(*self._address)
        judge(asked, await self._line.ask(request), self._served)

    async def _leave(self, asked: Asked) -> None:
        """A line that was used up, or left in the middle, is not used again."""
        if self._line and (asked.outcome in ("", "left", "hung") or not self._line.reusable):
            if self._rng.random() < 0.5:
                self._line.hang_up()
            else:
                await self._line.close()
            self._line = None

    def _request(self, asked: Asked, closes: bool) -> bytes:
        rng = self._rng
        large = rng.random() < self._habits.large_bodies
        prompt = prompt_of(asked.nonce, rng.randrange(50_000, 200_000) if large else rng.randrange(10, 500), asked.mark)
        body = {"model": asked.model, "messages": [{"role": "user", "content": prompt}], "stream": asked.stream}
        if asked.surface == "anthropic":
            body["max_tokens"] = 50_000
        if asked.surface == "openai" and asked.stream and asked.usage_asked:
            body["stream_options"] = {"include_usage": True}
        headers = {"Authorization": f"Bearer {self._key}", "X-Request-ID": asked.nonce}
        if closes:
            headers["Connection"] = "close"
        return request_of("POST", PATHS[asked.surface], json.dumps(body).encode(), headers)
