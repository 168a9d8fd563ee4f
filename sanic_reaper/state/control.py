"""Main answers a question: where a worker is. Asked through a socket in the user's own directory.

Only main can ask a worker, for the answer comes through the pipe that it has opened for it. Nothing
else is answered, and nothing is done: who may connect is the server's own user, and root.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from .. import platform, state
from . import statedir

if TYPE_CHECKING:
    from ..main.contact import Contact
    from ..main.processes import WatchedProcess
    from ..worker.explanations import Frame

PATIENCE = 5.0
"""Seconds that somebody who asks waits for an answer. Main gives one within 1.5."""

MOST = 8
"""Who asks at the same time. Others wait."""

LONGEST = 200
"""Bytes of a question."""


LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are taken. A stack of a thousand threads has one."""


class Control:
    """Main's end.

    Args:
        run: the id of this run.
        workers: those that live.
    """

    def __init__(self, run: str, workers: Iterable[WatchedProcess]) -> None:
        self._run = run
        self._workers = workers
        self._path = ""
        self._listener: socket.socket | None = None
        self._asking: list[Question] = []

    def open(self, directory: str) -> None:
        """Listen in this directory. "": nowhere, so nobody can ask."""
        self._path = f"{directory}/{self._run}{state.SOCKET}"
        if directory:
            try:
                self._listener = _listen(self._path)
            except OSError as error:  # too long a path, above all
                from ..log import log  # not for those who ask: it brings Sanic with it

                log.debug("nobody can ask where a worker is: %s", error)
            else:
                # A forked worker would keep it open, and whoever asks a dead main would wait.
                os.register_at_fork(after_in_child=self._let_go)

    @property
    def news(self) -> list[int]:
        """Descriptors that turn readable when there is something to do."""
        if self._listener is None:
            return []
        return [self._listener.fileno(), *(one.fileno() for one in self._asking)]

    def turn(self) -> None:
        if self._listener is None:
            return
        while len(self._asking) < MOST:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            if _is_allowed(connection):
                self._asking.append(Question(connection, self._workers))
            else:
                connection.close()
        for question in self._asking:
            question.turn()
        self._asking = [question for question in self._asking if not question.is_over]

    def _let_go(self) -> None:
        for question in self._asking:
            question.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        if self._listener is not None:
            for question in self._asking:
                question.answer("error", "the server has stopped")
            self._listener.close()
            self._listener = None
            try:
                os.unlink(self._path)
            except OSError:
                pass


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(MOST)
    except OSError:
        listener.close()
        raise
    return listener


def _is_allowed(connection: socket.socket) -> bool:
    """The directory is closed to others: this is for one that was opened by mistake."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())


class Question:
    """Somebody who wants to know where a worker is."""

    def __init__(self, connection: socket.socket, workers: Iterable[WatchedProcess]) -> None:
        self._connection = connection
        self._workers = workers
        self._words = b""
        self._contact: Contact | None = None
        self.is_over = False
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._connection.fileno()

    def turn(self) -> None:
        if self._contact is not None or self.is_over:
            return
        try:
            chunk = self._connection.recv(LONGEST)
        except BlockingIOError:
            chunk = None
        except OSError:
            chunk = b""
        if chunk == b"" or len(self._words) > LONGEST:
            self.close()
            return
        self._words += chunk or b""
        if self._words.endswith(b"\n"):
            self._ask(self._words.decode("utf-8", "replace").strip())

    def _ask(self, wanted: str) -> None:
        process = next((one for one in self._workers if wanted in (one.name, str(one.pid))), None)
        if process is None or process.contact is None or process.pid is None:
            self.answer("unknown", f"no worker of this server is called {wanted}")
            return
        if process.contact.is_being_asked:
            return  # for a warning, or by somebody else: in the next turn
        row = platform.row(process.pid)
        if row is not None and row.halted:
            self.answer("error", "it is stopped, by SIGSTOP or by a debugger, and can't be asked")
        elif not process.contact.can_be_asked:
            self.answer("error", "it still imports the app, and can't be asked yet")
        else:
            self._contact = process.contact
            process.contact.ask(partial(self._tell, process))

    def _tell(self, process: WatchedProcess, frames: list[Frame], how: str) -> None:
        contact, pulse = process.contact, process.pulse
        assert contact is not None
        if pulse is not None and pulse.beats and not pulse.seconds:
            how = "its event loop turns"  # what it was doing in this very moment is below
        lines = [f"{process.name} [{process.pid}]: {how}"]
        if frames:
            lines += [f'  File "{file}", line {line} in {name}' for file, line, name in frames]
        self.answer("ok", "\n".join([*lines, "", contact.stack.rstrip("\n"), ""]))

    def answer(self, word: str, text: str) -> None:
        try:
            self._connection.setblocking(True)
            self._connection.settimeout(0.2)  # a megabyte of stack fits into no buffer
            self._connection.sendall(f"{word}\n{text}".encode("utf-8", "backslashreplace"))
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        self.is_over = True
        self._connection.close()


def _answer(connection: socket.socket, until: float) -> bytes:
    """All that is said until the other end hangs up. It may be anybody's, where root asks.

    Raises:
        TimeoutError: it goes on after this moment on the monotonic clock.
        OSError: it is more than any stack.
    """
    parts, size = [], 0
    while part := connection.recv(65536):
        parts.append(part)
        size += len(part)
        if size > LONGEST_ANSWER:
            raise OSError(f"the answer is longer than {LONGEST_ANSWER} bytes")
        connection.settimeout(max(0.001, until - time.monotonic()))
        if time.monotonic() > until:
            raise TimeoutError
    return b"".join(parts)


def ask_for_stack(directory: str, run: str, wanted: str) -> str:
    """Where a worker is: every thread's stack, the innermost line first.

    Args:
        directory: in which the server has left word of itself,
        run: and the id of its run.
        wanted: the name or the pid of the worker.

    Raises:
        LookupError: the server has no such worker.
        OSError: nobody answers, or it can't be asked now. The error says why.
    """
    os.close(statedir.open_directory(directory, os.lstat(directory).st_uid))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(f"{directory}/{run}{state.SOCKET}")
            connection.sendall(wanted.encode("utf-8", "replace") + b"\n")
            content = _answer(connection, time.monotonic() + PATIENCE)
        except TimeoutError:
            raise TimeoutError(f"main has not answered within {PATIENCE:g} s") from None
    word, _, text = content.decode("utf-8", "replace").partition("\n")
    if word == "unknown":
        raise LookupError(text)
    if word != "ok":
        raise OSError(text or "main has hung up")
    return text
