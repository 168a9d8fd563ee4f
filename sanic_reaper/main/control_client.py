"""One client of the control socket: its question, the worker's answer, and the sending of that.

A client passes through three stages, each with a deadline: it sends its question, it waits for the
worker's answer, it reads the answer. Guarantees that main never waits for a client.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Sequence
from functools import partial

from .. import platform
from ..model.questions import EVERY_REQUEST, EVERY_TASK
from ..model.requests import of_no_answer, of_requests, of_tasks
from ..model.stacks import described
from ..worker.explanations import BLOCKING, EXITED, Frame
from .worker import SupervisedProcess
from .worker_link import WorkerLink

QUESTION_TIMEOUT = 1.0
"""Seconds that a client may take to send its question. `dump` sends it at once."""

WORKER_TIMEOUT = 7.0
"""Seconds that a client waits for the worker's answer: what `WorkerLink` needs at most."""

SEND_TIMEOUT = 2.0
"""Seconds that a client may take to read the answer. A stack can be larger than its buffer."""

MAX_QUESTION = 200
"""Maximum length of a question, in bytes."""


class Client:
    """One connection of somebody who asks where a worker is."""

    def __init__(self, connection: socket.socket, processes: Iterable[SupervisedProcess]) -> None:
        self._connection = connection
        self._processes = processes
        self._question = b""
        self._unsent = b""
        self._until = time.monotonic() + QUESTION_TIMEOUT
        self.is_asking = True
        """Whether the question has not arrived yet."""
        self.is_over = False
        connection.setblocking(False)

    @property
    def is_sending(self) -> bool:
        """Whether the client has not read all of its answer yet."""
        return bool(self._unsent)

    def fileno(self) -> int:
        return self._connection.fileno()

    def turn(self, now: float) -> None:
        """Do what is possible without waiting, or give up at the deadline.

        Args:
            now: monotonic time.
        """
        if self.is_over:
            return
        if self.is_asking:
            self._receive()
        elif self._unsent:
            self._send()
        if not self.is_over and now >= self._until:
            self._give_up()

    def _receive(self) -> None:
        try:
            chunk = self._connection.recv(MAX_QUESTION)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        self._question += chunk
        if not chunk or len(self._question) > MAX_QUESTION:
            self.close()
        elif self._question.endswith(b"\n"):
            self.is_asking = False
            self._until = time.monotonic() + WORKER_TIMEOUT
            self._ask(self._question.decode("utf-8", "replace").strip())

    def _give_up(self) -> None:
        if self.is_asking:
            self.answer("error", f"no question within {QUESTION_TIMEOUT:g} s")
        elif not self._unsent:
            self.answer("error", f"the worker has not answered within {WORKER_TIMEOUT:g} s")
        self.close()

    def _ask(self, question: str) -> None:
        wanted, _, what = question.partition("\t")
        process = next((one for one in self._processes if wanted in (one.name, str(one.pid))), None)
        if process is None or process.link is None:
            self.answer("unknown", f"no worker of this server is called {wanted}")
            return
        row = platform.row(process.pid)
        if row is not None and row.halted:
            self.answer("error", "it is stopped, by SIGSTOP or by a debugger, and can't be asked")
        elif process.link.imports:
            self.answer("error", "it still imports the app, and can't be asked yet")
        elif not process.link.can_be_asked:
            self.answer("error", "its code handles each signal by which it could be asked")
        else:
            reply = partial(self._reply, process, process.link, what)
            process.link.ask(reply, want=what if what in (EVERY_REQUEST, EVERY_TASK) else "")

    def _reply(
        self,
        process: SupervisedProcess,
        link: WorkerLink,
        what: str,
        frames: list[Frame],
        how: str,
    ) -> None:
        if how == EXITED:
            self.answer("error", f"it {how}")
            return
        if _turns(process, frames, how):
            how = "its event loop turns"  # the stack below shows this one moment
        if what == EVERY_REQUEST:
            self.answer("ok", _requests_of(process, link, how))
            return
        lines = [f"{process.name} [{process.pid}]: {how}", *described(frames, link.stack)]
        if what == EVERY_TASK:
            lines += of_tasks(link.tasks)
        self.answer("ok", "\n".join(lines) + "\n")

    def answer(self, word: str, text: str) -> None:
        """Begin to send the answer, unless one was sent. `turn` sends the rest.

        Args:
            word: the kind of the answer: `ok`, `unknown` or `error`.
            text: the answer itself.
        """
        if self.is_over or self._unsent:
            return
        self.is_asking = False
        self._unsent = f"{word}\n{text}".encode("utf-8", "backslashreplace")
        self._until = time.monotonic() + SEND_TIMEOUT
        self._send()

    def _send(self) -> None:
        try:
            while self._unsent:
                self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # the client has hung up
        self.close()

    def close(self) -> None:
        self.is_over = True
        self._connection.close()


def _requests_of(process: SupervisedProcess, link: WorkerLink, how: str) -> str:
    if link.answered_at is not None:
        return of_requests(how, link.in_flight)
    return of_no_answer(how, 0 if process.heartbeat is None else process.heartbeat.in_flight)


def _turns(process: SupervisedProcess, frames: list[Frame], how: str) -> bool:
    """Whether a worker's event loop turns.

    Its heartbeats tell that. If they are off, or one is late, the stack does.
    """
    heartbeat = process.heartbeat
    if how == BLOCKING and is_waiting(frames):
        return True
    has_beaten = (
        heartbeat is not None and heartbeat.turns(time.monotonic()) and not heartbeat.blocked_for
    )
    return has_beaten and not how.startswith(f"{BLOCKING},")


def is_waiting(frames: Sequence[Frame]) -> bool:
    """Whether a worker's main thread waits in its event loop for something to happen.

    Args:
        frames: innermost first. uvloop has no frames of its own, so its caller is the innermost.
    """
    return bool(frames) and frames[0][0].endswith(("/selectors.py", "/sanic/server/runners.py"))
