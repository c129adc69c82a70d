"""An upstream in all weathers: serves two dialects on the test's own loop, and keeps a record of every call it saw.

Its records are the judge of what the gateway says: when a call came, what it met, when it was told, when it was over.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from support.chaos_answers import Spent
from support.chaos_plays import Play, play
from support.chaos_weather import SOUND, Weather

_NONCE = re.compile(rb"nonce=([\w-]+) ([\w-]+) (\w*) end=([0-9a-f]{8})")
_MODEL = re.compile(rb'"model":\s*"([^"]+)"')
_STREAM = re.compile(rb'"stream":\s*true')
_numbers = itertools.count(1)


NOTHING = Spent(0, 0, 0)


@dataclass(slots=True)
class SeenCall:
    """One upstream call. Times are those of the loop; 0 says not yet."""

    nonce: str
    backend: str
    stream: bool
    mark: str
    at: float
    answer: str = ""
    fault: str = SOUND
    spent: Spent = NOTHING
    size: int = 0
    whole: bool = False
    """It was answered to the end."""
    told_at: float = 0.0
    """When the first content, or the refusal, was written."""
    ended_at: float = 0.0
    """When the upstream was done with it, or saw that nobody waits any more."""

    def end(self, at: float) -> None:
        self.ended_at = self.ended_at or at
        self.told_at = self.told_at or at


@dataclass(frozen=True)
class Manners:
    """How an upstream behaves: `slow_s` is longer than a first byte may take, `pace_s` than an answer takes."""

    slow_s: float
    pace_s: float
    large_answers: float = 0.05


class ChaosUpstream:
    """`start`, `begin`, `stop`. `name` is the provider's; `served` gets each call by its answer's name; `on_fault` is
    told what no good client would do."""

    def __init__(
        self,
        name: str,
        dialect: str,
        weather: Weather,
        manners: Manners,
        rng: Random,
        served: dict[str, SeenCall],
        on_fault: Callable[[str], None],
    ) -> None:
        self.name, self.dialect, self.weather, self.manners = name, dialect, weather, manners
        self.calls: list[SeenCall] = []
        self._rng, self._by_answer, self._on_fault = rng, served, on_fault
        self._idle: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._began_at = 0.0
        # Holds the port while nobody listens: it is bound, and never listens itself.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        await self._listen()

    def begin(self) -> None:
        """From now on the weather holds."""
        loop = asyncio.get_running_loop()
        self._began_at = loop.time()
        self._keep(loop.create_task(self._doorkeeper()))

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._shut()
        self._place.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- the door -----------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._connection, "127.0.0.1", self.port, reuse_port=True, backlog=1024
        )

    async def _shut(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._idle):
            writer.close()

    async def _doorkeeper(self) -> None:
        while True:
            await asyncio.sleep(0.02)
            refuses = self.weather.refuses(self._now())
            if refuses and self._server:
                await self._shut()
            elif not refuses and not self._server:
                await self._listen()

    def _now(self) -> float:
        """Seconds of weather."""
        return asyncio.get_running_loop().time() - self._began_at if self._began_at else -1.0

    # -- a connection -------------------------------------------------------------------------------------------------

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._keep(task)
        try:
            await self._requests(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the connection is over, in whatever way
        except Exception as error:
            self._on_fault(f"the upstream {self.name} failed on a fault of its own: {error!r}")
        writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One after the other, until the connection ends."""
        loop = asyncio.get_running_loop()
        head = await reader.readuntil(b"\r\n\r\n")
        while True:
            size = int(re.search(rb"(?i)content-length: *(\d+)", head)[1])  # type: ignore[index]
            call = self._seen(head, await reader.readexactly(size))
            # Reading on is how the end of the connection is noticed the moment it comes.
            following = loop.create_task(reader.readuntil(b"\r\n\r\n"))
            try:
                await self._served(call, writer, following)
                self._idle.add(writer)
                head = await following
            finally:
                self._idle.discard(writer)
                call.end(loop.time())
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _served(self, call: SeenCall, writer: asyncio.StreamWriter, following: asyncio.Task[bytes]) -> None:
        """Plays until it is over or the other side has gone."""
        loop = asyncio.get_running_loop()
        stage = Stage(call, writer)
        playing = loop.create_task(play(Play(self.dialect, self.manners, self._rng), stage))
        try:
            await asyncio.wait([playing, following], return_when=asyncio.FIRST_COMPLETED)
            call.end(loop.time())
            if not playing.done():
                raise ConnectionError("the gateway gave the call up")
            playing.result()
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    def _seen(self, head: bytes, body: bytes) -> SeenCall:
        asked, model = _NONCE.search(body), _MODEL.search(body)
        if not asked or not model or zlib.crc32(asked[3]) != int(asked[4], 16):
            self._on_fault(f"{self.name} got a request that nobody sent: {head!r} {body[:200]!r}")
            raise ConnectionError
        rng = self._rng
        size = rng.randrange(30_000, 90_000) if rng.random() < self.manners.large_answers else rng.randrange(20, 600)
        call = SeenCall(
            asked[1].decode(),
            f"{self.name}:{model[1].decode()}",
            _STREAM.search(body) is not None,
            asked[2].decode(),
            asyncio.get_running_loop().time(),
            f"{self.name}{next(_numbers)}",
            self.weather.fault(self._now(), rng),
            Spent(10 + len(body) // 4, max(1, size // 4)),
            size,
        )
        self.calls.append(call)
        self._by_answer[call.answer] = call
        return call


class Stage:
    """What a play may do with its call: write, and end it rudely."""

    def __init__(self, call: SeenCall, writer: asyncio.StreamWriter) -> None:
        self.call = call
        self._writer = writer

    async def write(self, data: bytes) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionError("nobody is there any more")
        self._writer.write(data)
        await self._writer.drain()

    def told(self) -> None:
        """What follows decides how the gateway sees the call."""
        self.call.told_at = self.call.told_at or asyncio.get_running_loop().time()

    def leave(self) -> None:
        """Close in order, in the middle of whatever was said."""
        self._writer.close()
        raise ConnectionError("this upstream has left")

    def reset(self) -> None:
        if self._writer.transport.is_closing():
            raise ConnectionError("nobody is there any more")
        once = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, once)
        self._writer.transport.abort()
        raise ConnectionError("this upstream has left")
