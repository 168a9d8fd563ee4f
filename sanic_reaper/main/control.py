"""The control socket: answers its own user and root where a worker is (`sanic-reaper dump`).

Only main can ask a worker, because the answer comes through the pipe between the two.

Guarantees that main never waits for a client (`control_client`).
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterable

from .. import state
from ..log import log
from ..platform import mark_of
from ..state import statedir
from ..state.socket_path import short_path
from .control_client import Client
from .worker import SupervisedProcess

MAX_CLIENTS = 8
"""Maximum number of clients that are served at the same time. Others wait in the socket's queue."""

QUEUE = 128
"""Maximum number of clients in the socket's queue. A further one gets EAGAIN."""

CHECK_EVERY = 1.0
"""Seconds between two checks that the socket still exists."""


class Control:
    """Main's end of the control socket.

    Args:
        run: the id of this run.
        processes: the living processes that main has started.
    """

    def __init__(self, run: str, processes: Iterable[SupervisedProcess]) -> None:
        self._run = run
        self._processes = processes
        self._directory = ""
        self._listener: socket.socket | None = None
        self._file: tuple[int, int] | None = None
        """Device and inode of the socket's file."""
        self._mark: tuple[int, int] | None = None
        """Identity of the open socket, which tells whether its descriptor was reused."""
        self._next_check = 0.0
        self._is_registered = False
        self._has_warned = False
        self._clients: list[Client] = []

    def open(self, directory: str) -> None:
        """Listen in this directory, and in no other one.

        Args:
            directory: its path. "": listen nowhere.
        """
        self._stop_listening()
        self._directory = directory
        if directory and (error := self._listen()) is not None and not self._has_warned:
            self._has_warned = True
            log.warning(
                "`sanic-reaper dump` can't ask this server: no socket can be created in %s (%s). "
                "Everything else works. Another XDG_RUNTIME_DIR helps",
                directory,
                error,
            )

    @property
    def _path(self) -> str:
        return f"{self._directory}/{self._run}{state.SOCKET}"

    def _listen(self) -> OSError | None:
        """Create the socket.

        Returns:
            The error if that failed, else `None`.
        """
        self._next_check = time.monotonic() + CHECK_EVERY
        try:
            statedir.check_owner(self._directory, os.geteuid())  # `bind` would follow a link
            with short_path(self._directory, self._run + state.SOCKET) as path:
                self._listener = _listen(path)
        except OSError as error:
            return error
        self._mark = mark_of(self._listener.fileno())
        self._file = statedir.file_id(self._directory, self._run + state.SOCKET)
        if not self._is_registered:
            # A forked worker would keep the socket open, and a client of a dead main would wait.
            self._is_registered = True
            os.register_at_fork(after_in_child=self._close_in_child)
        return None

    def _ensure_socket(self) -> None:
        """Create the socket again if somebody has removed it or closed its descriptor."""
        if self._listener is not None and not self._is_ours(self._listener):
            self._listener, self._next_check = None, 0.0
            self._file = None
        if self._directory and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_EVERY
            found = statedir.file_id(self._directory, self._run + state.SOCKET)
            if found is None or found != self._file:
                self._stop_listening()
                self._listen()

    def _is_ours(self, listener: socket.socket) -> bool:
        """Whether the descriptor is still that of our socket.

        If it is not, user code has closed the descriptor, and its number may belong to the server's
        own socket by now. Then it is detached, and not closed.
        """
        if mark_of(listener.fileno()) == self._mark:
            return True
        listener.detach()
        return False

    @property
    def news(self) -> list[int]:
        """Descriptors that become readable when there is something to do.

        A client that waits for an answer is left out, because its descriptor stays readable once it
        has hung up. So is the listening socket while `MAX_CLIENTS` are connected.
        """
        if self._listener is None:
            return []
        fds = [one.fileno() for one in self._clients if one.is_asking]
        return fds if self._is_full else [self._listener.fileno(), *fds]

    @property
    def is_sending(self) -> bool:
        """Whether a client has not read all of its answer yet."""
        return any(one.is_sending for one in self._clients)

    @property
    def _is_full(self) -> bool:
        return len(self._clients) >= MAX_CLIENTS

    def turn(self) -> None:
        """Accept clients, and serve each one as far as it is possible without waiting."""
        self._ensure_socket()
        if self._listener is not None:
            self._accept(self._listener)
        for client in self._clients:
            client.turn(time.monotonic())
        self._clients = [client for client in self._clients if not client.is_over]

    def _accept(self, listener: socket.socket) -> None:
        while not self._is_full:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            if _is_allowed(connection):
                self._clients.append(Client(connection, self._processes))
            else:
                connection.close()

    def _close_in_child(self) -> None:
        self._directory = ""
        for client in self._clients:
            client.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def close(self) -> None:
        """Tell the waiting clients that the server has stopped, and remove the socket."""
        if self._listener is not None:
            for client in self._clients:
                client.answer("error", "the server has stopped")
                client.close()
            self._clients = []
        self._stop_listening()
        self._directory = ""

    def _stop_listening(self) -> None:
        if self._listener is not None:
            if self._is_ours(self._listener):
                self._listener.close()
            self._listener = None
        if self._directory:
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
        listener.listen(QUEUE)
    except OSError:
        listener.close()
        raise
    return listener


def _is_allowed(connection: socket.socket) -> bool:
    """Whether a client runs as main's user or as root.

    The directory is closed to other users. This check is for one that was opened by mistake.
    """
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", credentials)
    return uid in (0, os.geteuid())
