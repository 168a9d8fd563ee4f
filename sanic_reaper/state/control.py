"""How a command asks main where a worker is: through a socket in the user's own directory.

Main's end is `main/control.py`.
"""

from __future__ import annotations

import os
import socket
import time

from .. import state
from . import statedir
from .socket_path import short_path

PATIENCE = 8.0
"""Seconds that somebody who asks waits for the whole answer, with others before him in the queue.
Main alone gives one within two."""

LONGEST_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer that are taken. A stack of a thousand threads has one."""


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
    until = time.monotonic() + PATIENCE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(PATIENCE)
        try:
            with short_path(directory, run + state.SOCKET) as path:
                _connect(connection, path, until)
            connection.sendall(wanted.encode("utf-8", "replace") + b"\n")
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
    """Connect, or wait for a place in main's queue: the kernel does not wait for one (EAGAIN).

    Raises:
        TimeoutError: there is none until this moment on the monotonic clock.
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
