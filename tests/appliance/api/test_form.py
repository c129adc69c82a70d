"""Forms over a real Sanic server on loopback: every way to slice one, every way to get one wrong, and no file is left.

The server's one URL does with a FormReader what accept.py does, and answers with what arrived.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sanic import HTTPResponse, Request, Sanic

from appliance.api import envelope
from appliance.api import form as form_module
from appliance.api import request as request_module
from appliance.api.accept import Appliance, request_id_of
from appliance.api.form import FIELD_BYTES, MAX_FIELDS, FormReader
from appliance.api.request import StrictRequest
from appliance.app import build
from appliance.errors import GatewayError
from appliance.grid.holder import Generation, Holder
from support.build import SECRET, make_grid, make_state
from support.wire import Wire, request_bytes

LIMIT = 1_000_000
MB = 1024 * 1024
BOUNDARY = b"----WebKitFormBoundary7MA4YWxkTrZu0gW"


class Server:
    """A Sanic application that runs on its own thread and loop, so that blocking test code can talk to it."""

    def __init__(self, app: Sanic[Any, Any]) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(20)

    async def _start(self) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        self._server = cast(Any, await self.app.create_server(sock=listener, return_asyncio_server=True))
        await self._server.startup()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        for connection in list(self._server.connections):
            connection.abort()
        await asyncio.sleep(0.05)

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        Sanic._app_registry.pop(self.app.name, None)


class Forms(Server):
    """`ended` counts handlers that are over, also those whose caller has left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.limit = LIMIT
        self.ended = 0
        self.faults: list[BaseException] = []
        app: Sanic[Any, Any] = Sanic("forms", request_class=StrictRequest, configure_logging=False)
        app.config.update({"REQUEST_MAX_SIZE": 20_000_000, "ACCESS_LOG": False, "MOTD": False, "TOUCHUP": False})

        async def handle(request: Request) -> HTTPResponse:
            return await self._handle(request)

        app.add_route(handle, "/form", methods=["POST"], stream=True)
        super().__init__(app)

    async def _handle(self, request: Request) -> HTTPResponse:
        reader = FormReader(request, self.limit, self.folder)
        try:
            fields, upload = await reader.receive()
            with upload.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            told = {
                "fields": fields,
                "filename": upload.filename,
                "content_type": upload.content_type,
                "size": upload.size,
                "head": upload.head.hex(),
                "digest": digest,
                "mode": oct(upload.path.stat().st_mode & 0o777),
                "inside": upload.path.parent == self.folder,
            }
            return HTTPResponse(json.dumps(told), content_type="application/json")
        except GatewayError as error:
            return envelope.failure(error, "native", request_id_of(request))
        except Exception as fault:
            self.faults.append(fault)
            raise
        finally:
            reader.discard()
            reader.discard()
            self.ended += 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forms]:
    made = Forms(tmp_path_factory.mktemp("spool"))
    yield made
    made.close()
    assert made.faults == []


@pytest.fixture(autouse=True)
def nothing_left(server: Forms) -> Iterator[None]:
    yield
    server.limit = LIMIT
    assert list(server.folder.iterdir()) == [], "every file is removed when its call has ended"


def part(name: str, value: bytes | str, filename: str | None = None, *headers: str) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        disposition += f'; filename="{filename}"'
    data = value if isinstance(value, bytes) else value.encode()
    return "\r\n".join([disposition, *headers, "", ""]).encode() + data


def form(*parts: bytes, boundary: bytes = BOUNDARY, end: bool = True) -> bytes:
    body = b"".join(b"--" + boundary + b"\r\n" + each + b"\r\n" for each in parts)
    return body + (b"--" + boundary + b"--\r\n" if end else b"")


def kind_of(boundary: str) -> dict[str, str]:
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}


TYPE = kind_of(BOUNDARY.decode())
SOUND = bytes(range(256)) * 5
FILE = part("file", SOUND, "clip.wav", "Content-Type: audio/wav")


def sent(server: Forms, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    with Wire(server.url) as wire:
        wire.send(request_bytes("/form", body, "sgk_x", TYPE if headers is None else headers))
        status, answer = wire.answer()
    assert answer.startswith(b"{"), answer
    return status, json.loads(answer)


def received(server: Forms, body: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
    status, told = sent(server, body, headers)
    assert status == 200, told
    assert (told["mode"], told["inside"]) == ("0o600", True)
    return told


def refused(
    server: Forms, body: bytes, headers: dict[str, str] | None = None, code: str = "VALIDATION_ERROR"
) -> dict[str, Any]:
    status, told = sent(server, body, headers)
    assert (status, told["error"]["code"]) == (413 if code == "PAYLOAD_TOO_LARGE" else 422, code), told
    error: dict[str, Any] = told["error"]
    return error


def assert_sound(told: dict[str, Any], data: bytes = SOUND) -> None:
    assert (told["size"], told["digest"]) == (len(data), hashlib.sha256(data).hexdigest())


# -- good forms -------------------------------------------------------------------------------------------------------


def test_fields_and_a_file(server: Forms) -> None:
    told = received(server, form(part("model", "whisper"), FILE))
    assert_sound(told)
    assert told["fields"] == {"model": ["whisper"]}
    assert (told["filename"], told["content_type"]) == ("clip.wav", "audio/wav")
    assert SOUND.startswith(bytes.fromhex(told["head"]))
    assert told["head"]


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_fields_may_stand_before_and_after_the_file(server: Forms, place: int) -> None:
    fields = [part("model", "m"), part("hint", "a"), part("hint", "b")]
    told = received(server, form(*fields[:place], FILE, *fields[place:]))
    assert_sound(told)
    assert told["fields"] == {"model": ["m"], "hint": ["a", "b"]}


@pytest.mark.parametrize("text", ["", " ", "é€😀", "two\r\nlines", "--" + BOUNDARY.decode()[:-1], "a=b&c", '"'])
def test_a_field_s_text_comes_as_it_was_sent(server: Forms, text: str) -> None:
    assert received(server, form(part("prompt", text), FILE))["fields"] == {"prompt": [text]}


NEAR_BOUNDARIES = [
    b"",
    b"\r\n",
    b"\r\n\r\n",
    b"\r",
    b"\r\n--",
    b"\r\n--" + BOUNDARY[:-1],
    b"\r\n--" + BOUNDARY[:-1] + b"X",
    b"--" + BOUNDARY,
    b"x--" + BOUNDARY + b"--\r\n",
    b"\n--" + BOUNDARY + b"--",
    b"\r\r\n--" + BOUNDARY[:10] + b"\r\n--" + BOUNDARY[:20],
    b"\r\n" * 500,
]


@pytest.mark.parametrize("data", NEAR_BOUNDARIES)
def test_what_looks_like_a_boundary_and_is_none_belongs_to_the_file(server: Forms, data: bytes) -> None:
    assert_sound(received(server, form(part("file", data, "x"), part("model", "m"))), data)


@pytest.mark.parametrize("boundary", ["x", "a" * 70, "'()+_,-./:=?", "=_b", "0"])
def test_any_boundary_that_is_one(server: Forms, boundary: str) -> None:
    told = received(server, form(FILE, boundary=boundary.encode()), kind_of(f'"{boundary}"'))
    assert_sound(told)


@pytest.mark.parametrize("kind", ["Multipart/Form-Data; Boundary=x", "multipart/form-data;charset=utf-8;boundary=x"])
def test_the_header_may_be_spelt_otherwise(server: Forms, kind: str) -> None:
    assert_sound(received(server, form(FILE, boundary=b"x"), {"Content-Type": kind}))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
def test_a_form_that_arrives_in_small_pieces(server: Forms, size: int) -> None:
    """The boundary is cut at every place."""
    small = SOUND[:40] + b"\r\n--" + BOUNDARY[:-1] + b"\r\n"
    body = form(part("model", "m"), part("file", small, "clip.wav", "Content-Type: audio/wav"), part("hint", "h"))
    request = request_bytes("/form", body, "sgk_x", TYPE)
    head = len(request) - len(body)
    with Wire(server.url) as wire:
        wire._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.send(request[:head])
        for start in range(head, len(request), size):
            wire.send(request[start : start + size])
            time.sleep(0.0005)
        status, answer = wire.answer()
    assert status == 200
    told = json.loads(answer)
    assert_sound(told, small)
    assert told["fields"] == {"model": ["m"], "hint": ["h"]}


class Pieces:
    """A request whose body comes in these pieces: for slices that a socket would join."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [*pieces]
        self.headers = {"content-type": TYPE["Content-Type"]}
        self.stream = self
        self.transport = None

    async def read(self) -> bytes | None:
        return self._pieces.pop(0) if self._pieces else None


async def read_in(folder: Path, *pieces: bytes) -> tuple[dict[str, list[str]], bytes]:
    reader = FormReader(cast(Request, Pieces(*pieces)), LIMIT, folder)
    try:
        fields, upload = await reader.receive()
        return fields, upload.path.read_bytes()
    finally:
        reader.discard()


async def test_a_cut_at_every_single_place_changes_nothing(tmp_path: Path) -> None:
    data = b"\r\n--" + BOUNDARY[:-1] + b"\r\n-"
    body = form(part("model", "m"), part("file", data, "x"), part("hint", "h"))
    for place in range(len(body) + 1):
        found = await read_in(tmp_path, body[:place], body[place:])
        assert found == ({"model": ["m"], "hint": ["h"]}, data), f"cut at {place}"


async def test_any_slices_of_any_file_give_the_file(tmp_path: Path) -> None:
    rng = random.Random(7)
    alphabet = [b"\r", b"\n", b"-", BOUNDARY[:1], BOUNDARY, b"--" + BOUNDARY[:-1], b"x", b"\0", b"\r\n--"]
    for _ in range(200):
        data = b"".join(rng.choice(alphabet) for _ in range(rng.randrange(30)))
        if b"\r\n--" + BOUNDARY in b"\r\n" + data:
            continue
        body = form(part("file", data, "x"), part("a", "b"))
        cuts = sorted(rng.randrange(len(body)) for _ in range(rng.randrange(8)))
        pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        assert await read_in(tmp_path, *pieces) == ({"a": ["b"]}, data)


@pytest.mark.parametrize(
    ("filename", "shown"),
    [
        ("clip.wav", "clip.wav"),
        ("", "file"),
        ("/etc/passwd", "passwd"),
        ("../../x.wav", "x.wav"),
        ("C:\\Users\\alice\\clip.wav", "clip.wav"),
        ("a/", "file"),
        ("..", ".."),
        ("clip%22.wav", "clip%22.wav"),
        ('say \\"hi\\".wav', "say hi.wav"),
        ("two%0D%0Alines.wav", "two%0D%0Alines.wav"),
        ("a;b=c.wav", "a;b=c.wav"),
        ("é€😀.wav", "é€😀.wav"),
        ("tab\there\x7f.wav", "tabhere.wav"),
        ("lone\nfeed.wav", "lonefeed.wav"),
    ],
)
def test_a_file_s_name_is_what_may_stand_in_a_form(server: Forms, filename: str, shown: str) -> None:
    """Its name is never a path here: the file has a name of ours."""
    told = received(server, form(part("file", SOUND, filename)))
    assert told["filename"] == shown
    assert_sound(told)


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ((), "application/octet-stream"),
        (("Content-Type: audio/wav",), "audio/wav"),
        (("content-type: audio/ogg; codecs=opus",), "audio/ogg; codecs=opus"),
        (("Content-Type:",), "application/octet-stream"),
        (("Content-Type: nonsense",), "application/octet-stream"),
        (("Content-Type: audio/wav\nX-Own: 1",), "application/octet-stream"),
        (("Content-Type: audio/w\x01v",), "application/octet-stream"),
        (("Content-Type: audio/é",), "application/octet-stream"),
        (("X-Other: 1", "Content-Type: audio/mpeg", "Content-Length: 5"), "audio/mpeg"),
    ],
)
def test_a_file_s_type_is_one_that_may_stand_in_a_header(server: Forms, header: tuple[str, ...], shown: str) -> None:
    told = received(server, form(part("file", SOUND, "x", *header)))
    assert told["content_type"] == shown
    assert_sound(told)


# -- other forms ------------------------------------------------------------------------------------------------------


def test_two_files(server: Forms) -> None:
    assert "one file" in refused(server, form(FILE, part("model", "m"), FILE))["message"]


def test_no_file(server: Forms) -> None:
    error = refused(server, form(part("model", "m")))
    assert "file" in error["message"]
    assert error["details"][0]["field"] == "file"


def test_a_file_that_is_sent_as_text_is_none(server: Forms) -> None:
    assert "is required" in refused(server, form(part("file", "not a file")))["message"]


def test_a_file_under_another_name(server: Forms) -> None:
    error = refused(server, form(part("recording", SOUND, "clip.wav")))
    assert "recording" in error["message"]
    assert "'file'" in error["message"]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Disposition: form-data",
        b'Content-Disposition: form-data; name=""',
        b"X-Nothing: here",
        b'Content-Disposition: form-data; filename="x"',
    ],
)
def test_a_part_without_a_name(server: Forms, head: bytes) -> None:
    assert "no name" in refused(server, form(head + b"\r\n\r\nx", FILE))["message"]


def test_too_many_fields(server: Forms) -> None:
    assert received(server, form(*[part(f"f{n}", "x") for n in range(MAX_FIELDS)], FILE))
    error = refused(server, form(*[part(f"f{n}", "x") for n in range(MAX_FIELDS + 1)], FILE))
    assert str(MAX_FIELDS) in error["message"]


def test_the_same_field_again_and_again(server: Forms) -> None:
    refused(server, form(*[part("f", "x")] * (MAX_FIELDS + 1), FILE))


def test_too_much_text(server: Forms) -> None:
    assert received(server, form(part("a", "x" * (FIELD_BYTES - 1)), part("b", "x"), FILE))
    refused(server, form(part("a", "x" * FIELD_BYTES), part("b", "x"), FILE), code="PAYLOAD_TOO_LARGE")


def test_a_field_that_is_no_text(server: Forms) -> None:
    refused(server, form(part("model", b"\xff\xfe"), FILE))


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/mixed; boundary=x",
        "application/json",
        "text/plain; boundary=x",
        "",
        "multipart/form-data; boundary=" + "b" * 1000,
    ],
)
def test_no_form_and_no_boundary(server: Forms, kind: str) -> None:
    refused(server, form(FILE, boundary=b"x"), {"Content-Type": kind})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"\r\n",
        b'{"model": "m"}',
        form(FILE, boundary=b"another"),
        b"--" + BOUNDARY,
        b"--" + BOUNDARY + b"--\r\n",
        b"--" + BOUNDARY + b"\r\nno colon\r\n\r\nx\r\n--" + BOUNDARY + b"--\r\n",
        form(b"X-Long: " + b"x" * 100_000 + b"\r\n\r\nx", FILE),
        form(b"\r\n".join(b"X-%d: 1" % n for n in range(5000)) + b"\r\n\r\nx", FILE),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_form(server: Forms, body: bytes) -> None:
    refused(server, body)


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 10, len(BOUNDARY) + 6, len(BOUNDARY) + 100, 1000])
def test_a_form_that_is_cut_short_is_not_taken_for_whole(server: Forms, lost: int) -> None:
    """The last line break of all may be missing, as some clients send it."""
    body = form(part("model", "m"), FILE)
    if lost <= 2:
        assert_sound(received(server, body[:-lost]))
    else:
        refused(server, body[:-lost])


# -- large forms ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [0, 1])
def test_the_limit_is_of_the_whole_form(server: Forms, more: int) -> None:
    body = form(part("file", b"x" * 5000, "x"))
    server.limit = len(body) - more
    if more:
        assert "upload_limit" in refused(server, body, code="PAYLOAD_TOO_LARGE")["message"]
    else:
        assert_sound(received(server, body), b"x" * 5000)


def memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_200_mb_stream_through_with_flat_memory(server: Forms) -> None:
    server.limit = 300 * MB
    received(server, form(FILE))
    start, end = form(part("file", b"", "x"), end=False)[:-2], b"\r\n--" + BOUNDARY + b"--\r\n"
    piece, hashed, most, before = os.urandom(MB), hashlib.sha256(), 0, memory()
    fields = {"Host": "gateway", **TYPE, "Content-Length": str(len(start) + 200 * MB + len(end))}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    with Wire(server.url, timeout_s=60) as wire:
        wire.send(f"POST /form HTTP/1.1\r\n{head}\r\n".encode() + start)
        for _ in range(200):
            wire.send(piece)
            hashed.update(piece)
            most = max(most, memory())
        wire.send(end)
        status, answer = wire.answer()
    told = json.loads(answer)
    assert (status, told["size"], told["digest"]) == (200, 200 * MB, hashed.hexdigest())
    assert most - before < 20 * MB, f"{(most - before) / MB:.0f} MB more memory"


# -- refusals of the whole appliance ----------------------------------------------------------------------------------

TRANSCRIPTIONS = "/oai/v1/audio/transcriptions"


@pytest.fixture(scope="module")
def appliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = make_state()
    state.log = cast(Any, SimpleNamespace(write=lambda fields: None))
    state.spool = tmp_path_factory.mktemp("uploads")
    made = Server(build(Appliance(Holder(Generation(make_grid())), state), 100_000, LIMIT))
    yield made
    made.close()
    assert list(state.spool.iterdir()) == []
    assert state.in_flight == 0


def upload_head(body: bytes, key: str, chunked: bool, **more: str) -> bytes:
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(body))}
    fields = {"Host": "gateway", "Authorization": f"Bearer {key}", **TYPE, **framing, **more}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {TRANSCRIPTIONS} HTTP/1.1\r\n{lines}\r\n".encode()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("key", "body", "status"),
    [
        (SECRET, form(part("model", "m"), part("file", b"x" * 30 * MB, "x")), 413),
        (SECRET, form(part("other", b"x" * 30 * MB, "x")), 400),
        ("sgk_wrong", form(part("file", b"x" * 30 * MB, "x")), 401),
    ],
    ids=["too large", "wrong form", "wrong key"],
)
def test_who_sends_everything_before_he_reads_gets_the_answer(
    appliance: Server, key: str, body: bytes, status: int, chunked: bool
) -> None:
    """Most clients do: a reset would be all that they see."""
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
    with Wire(appliance.url, timeout_s=20) as wire:
        wire.send(upload_head(body, key, chunked))
        assert wire.try_to_send(framed)
        found, answer = wire.answer()
        assert found == status, answer
        assert json.loads(answer)["error"]["message"]
        if not chunked:
            wire.send(request_bytes("/oai/v1/models", b"", SECRET, method="GET"))
            assert wire.answer()[0] == 200, "the connection goes on behind it"


def test_who_waits_for_leave_to_send_is_refused_before_he_does(appliance: Server) -> None:
    body = form(part("file", b"x" * 10_000, "x"))
    with Wire(appliance.url) as wire:
        wire.send(upload_head(body, "sgk_wrong", False, Expect="100-continue"))
        assert wire.answer()[0] == 401


def test_who_never_ends_is_left_after_a_while(appliance: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_module, "READ_ON_S", 0.1)
    with Wire(appliance.url) as wire:
        wire.send(upload_head(b"x" * 5 * MB, "sgk_wrong", False) + b"x" * 1000)
        assert wire.answer()[0] == 401
        assert wire.closed_within(5)


# -- callers who leave ------------------------------------------------------------------------------------------------


def until(condition: Any) -> None:
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "not within 5 s"
        time.sleep(0.005)


@pytest.mark.parametrize("leave", ["hang_up", "reset"])
def test_who_leaves_in_the_middle_leaves_no_file(server: Forms, leave: str) -> None:
    ended = server.ended
    with Wire(server.url) as wire:
        request = request_bytes("/form", form(part("file", b"x" * 500_000, "x")), "sgk_x", TYPE)
        wire.send(request[:300_000])
        until(lambda: sum(path.stat().st_size for path in server.folder.iterdir()) > 100_000)
        getattr(wire, leave)()
    until(lambda: server.ended == ended + 1)
    assert list(server.folder.iterdir()) == []


async def test_a_form_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form_module, "ARRIVE_S", 0.05)

    class Slow(Pieces):
        async def read(self) -> bytes | None:
            await asyncio.sleep(0.03)
            return await super().read() or b"x"

    reader = FormReader(cast(Request, Slow(form(FILE, end=False)[:-2])), LIMIT, tmp_path)
    with pytest.raises(GatewayError, match="did not arrive within") as caught:
        await reader.receive()
    assert caught.value.code == "VALIDATION_ERROR"
    assert len(os.listdir(tmp_path)) == 1
    reader.discard()
    assert os.listdir(tmp_path) == []


def test_nothing_to_discard_is_no_fault(tmp_path: Path) -> None:
    FormReader(cast(Request, SimpleNamespace(headers={})), LIMIT, tmp_path).discard()


async def test_a_disk_that_takes_nothing_is_told_as_such(tmp_path: Path) -> None:
    reader = FormReader(cast(Request, Pieces(form(FILE))), LIMIT, tmp_path / "gone")
    with pytest.raises(GatewayError) as caught:
        await reader.receive()
    assert caught.value.code == "STORAGE_UNAVAILABLE"
    assert caught.value.status == 503
