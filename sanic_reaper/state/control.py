"""Asks the main process for a worker's stack, through a socket in the user's directory.

The main process's end is `main/control.py`.
"""

from __future__ import annotations

import os
import socket
import time

from .. import state
from . import statedir
from .socket_path import short_path

PATIENCE = 10.0
"""Seconds to wait for the whole answer. Main gives one within a second, but other questions can be
ahead in its queue, and a list of thousands of requests takes up to three."""

LONGEST_ANSWER = 4 * 1024 * 1024
"""Maximum length of an answer, in bytes. The stacks of a thousand threads take one MiB."""


def ask_for_stack(directory: str, run: str, wanted: str, what: str = "") -> str:
    """Ask for every thread's stack of a worker, or for more.

    Args:
        directory: the directory of the run's files.
        run: the id of the run.
        wanted: the name or the pid of the worker.
        what: `EVERY_TASK`: the tasks of its event loop follow. `EVERY_REQUEST`: its requests in
            flight, as JSON, in the place of the stacks. "": the stacks alone.

    Returns:
        The stacks, the innermost line first.

    Raises:
        LookupError: the server has no such worker.
        OSError: the main process does not answer, or the worker can't be asked now. The error says
            why.
    """
    os.close(statedir.open_directory(directory, os.lstat(directory).st_uid))
    until = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            with short_path(directory, run + state.SOCKET) as path:
                _connect(connection, path, until)
            question = f"{wanted}\t{what}" if what else wanted
            connection.sendall(question.encode("utf-8", "replace") + b"\n")
            content = _answer(connection, until)
        except TimeoutError:
            raise TimeoutError(f"main has not answered within {PATIENCE:g} s") from None
    word, _, text = content.decode("utf-8", "replace").partition("\n")
    if word == "unknown":
        raise LookupError(text)
    if word != "ok":
        raise OSError(text or "main has hung up")
    return text


def _connect(connection: socket.socket, path: str, until: float) -> None:
    """Connect. If main's queue is full, the kernel refuses at once (EAGAIN, unix(7)): try again.

    Args:
        until: when to give up, in monotonic seconds.

    Raises:
        TimeoutError: there was no free place in the queue.
    """
    while True:
        try:
            connection.connect(path)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise TimeoutError from None
            time.sleep(0.05)
        else:
            return


def _answer(connection: socket.socket, until: float) -> bytes:
    """Read until the other end closes the connection. If root asks, any user can be at that end.

    Args:
        until: when to give up, in monotonic seconds.

    Raises:
        TimeoutError: the answer was not complete in time.
        OSError: the answer is longer than any stack.
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
