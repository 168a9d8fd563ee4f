"""Load from clients that keep their connections, as browsers and proxies do."""

from __future__ import annotations

import http.client
import threading
import time
from typing import NamedTuple

from .http import HOST


class Failure(NamedTuple):
    """A request that got no answer, on the monotonic clock."""

    began: float
    ended: float
    error: str


class Load:
    """So many clients, each with one request under way at any moment, until the block is left.

    Attributes:
        answers: how many requests were answered, by the text of the answer.
        failures: those that were not answered with 200.
    """

    def __init__(self, port: int, clients: int = 8, path: str = "/", pause: float = 0.0) -> None:
        self.answers: dict[str, int] = {}
        self.failures: list[Failure] = []
        self._port = port
        self._path = path
        self._pause = pause
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=20)
        while not self._over.wait(self._pause):
            began = time.monotonic()
            try:
                connection.request("GET", self._path)
                response = connection.getresponse()
                body = response.read().decode()
                error = "" if response.status == 200 else f"{response.status} {body[:80]}"
            except (OSError, http.client.HTTPException) as raised:
                error = repr(raised)
                connection.close()
            with self._lock:
                if error:
                    self.failures.append(Failure(began, time.monotonic(), error))
                else:
                    self.answers[body] = self.answers.get(body, 0) + 1
        connection.close()
