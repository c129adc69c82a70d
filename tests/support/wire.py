"""A raw connection to the gateway: requests in any bytes, answers as they come, and the right to hang up.

Must not know what a good request is: it sends what it is told.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit


def request_bytes(
    path: str, body: Any, key: str, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> bytes:
    """One well-formed request; `body` is bytes as they are, anything else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {
        "Host": "gateway",
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Content-Length": str(len(data)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data


class Wire:
    """A socket with its received bytes. `with Wire(gateway.url) as wire: …`"""

    def __init__(self, url: str, timeout_s: float = 10) -> None:
        split = urlsplit(url)
        self._socket = socket.create_connection((split.hostname or "", split.port or 80), timeout_s)
        self.received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def try_to_send(self, data: bytes) -> bool:
        """False when the other side would not take it all."""
        try:
            self._socket.sendall(data)
        except ConnectionError:
            return False
        return True

    def wait_for(self, marker: bytes) -> bytes:
        """Everything received once the marker is among it. Raises AssertionError when the other side closes first."""
        while marker not in self.received:
            assert self._receive(), f"closed before {marker!r} came: {self.received!r}"
        return self.received

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        while self._receive():
            pass
        return self.received

    def answer(self) -> tuple[int, bytes]:
        """Status and body of one answer with a Content-Length; (0, b"") when the connection was closed without any.

        A `100 Continue` before it is passed over, as clients do.
        """
        while b"\r\n\r\n" not in self.received:
            if not self._receive():
                assert not self.received, f"half an answer: {self.received!r}"
                return 0, b""
        head, _, body = self.received.partition(b"\r\n\r\n")
        if head.startswith(b"HTTP/1.1 100 "):
            self.received = body
            return self.answer()
        lines = head.decode().split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(fields["content-length"])
        while len(body) < size:
            assert self._receive(), "the answer was cut short"
            body = self.received.partition(b"\r\n\r\n")[2]
        self.received = body[size:]
        return int(lines[0].split(" ")[1]), body[:size]

    def closed_within(self, seconds: float) -> bool:
        """Does the other side close the connection in time? What it sends until then is kept."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                if not self._receive():
                    return True
            except TimeoutError:
                return False
        return False

    def end_of_sending(self) -> None:
        """Close our direction only."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> float:
        """Close, and say when."""
        self._socket.close()
        return time.monotonic()

    def reset(self) -> float:
        """Close with a TCP reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.hang_up()

    def _receive(self) -> bool:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            return False
        self.received += data
        return bool(data)
