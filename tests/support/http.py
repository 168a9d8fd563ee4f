"""Requests over a bare socket: one can be left in flight, and nothing retries behind our back."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"


class Exchange:
    """One request that has been sent, and the answer when somebody asks for it.

    Args:
        port: or the path of a Unix socket.
    """

    def __init__(self, port: int | Path, path: str, timeout: float = 20) -> None:
        self._socket = _connection(port, timeout)
        head = f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        self._socket.sendall(head.encode())

    def answer(self) -> tuple[int, str]:
        """Status and body; (0, "") where the connection ended without an answer.

        Does not wait for the connection's end: a child that a worker has forked may hold it open.
        """
        content = b""
        with self._socket, suppress(ConnectionError):
            while not _complete(content) and (chunk := self._socket.recv(65536)):
                content += chunk
        head, _, body = content.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body.decode()) if head else (0, "")

    def close(self) -> None:
        self._socket.close()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    """By their names in small letters."""
    body: str

    @property
    def is_last(self) -> bool:
        """Whether it says that its connection ends with it."""
        return self.headers["connection"] == "close"


class KeptAlive:
    """A connection that a client goes on using, as browsers, pools and proxies do."""

    def __init__(self, port: int, timeout: float = 20) -> None:
        self._socket = _connection(port, timeout)
        self._file = self._socket.makefile("rb")

    def ask(self, *paths: str) -> None:
        """Send one request, or several at once without waiting for an answer (pipelining)."""
        self.send("".join(f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n" for path in paths))

    def send(self, content: str) -> None:
        self._socket.sendall(content.encode())

    def answer(self) -> Answer:
        """Wait for the next one.

        Raises:
            EOFError: the connection has ended before its end.
        """
        status = self._line().split()[1]
        headers = {}
        while line := self._line():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self._line(), 16):
                body += self._file.read(size)
                self._line()
            self._line()
        else:
            body = self._file.read(int(headers["content-length"]))
        return Answer(int(status), headers, body.decode())

    def _line(self) -> str:
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        return line.decode().rstrip()

    def wait_closed(self) -> float:
        """Wait until the other side has closed it; return how long that took."""
        began = time.monotonic()
        assert self._file.read(1) == b"", "there was more to come"
        return time.monotonic() - began

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _connection(port: int | Path, timeout: float) -> socket.socket:
    if isinstance(port, int):
        return socket.create_connection((HOST, port), timeout)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(timeout)
    connection.connect(str(port))
    return connection


def _complete(content: bytes) -> bool:
    head, blank, body = content.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(blank) and length is not None and len(body) >= int(length[1])


def get(port: int | Path, path: str = "/", timeout: float = 5) -> tuple[int, str]:
    """Status and body of one request; (0, "") where nobody answers."""
    try:
        return Exchange(port, path, timeout).answer()
    except OSError:
        return 0, ""


def can_bind(port: int) -> bool:
    """Whether a server could take the port now, as Sanic does it: with SO_REUSEADDR."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen()
        except OSError:
            return False
        return True


class Ports:
    """Free ports, from a range that belongs to this test process alone.

    A port that the kernel picks is free only until another process asks as well: with tests that
    run side by side that is soon. Below 32768 the kernel picks none.
    """

    FIRST, RANGE = 18000, 1000

    def __init__(self) -> None:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0")
        self._first = self.FIRST + int(worker[2:]) % 14 * self.RANGE
        self._next = os.getpid() % self.RANGE

    def take(self) -> int:
        while True:
            self._next = (self._next + 1) % self.RANGE
            if can_bind(self._first + self._next):
                return self._first + self._next
