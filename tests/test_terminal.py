"""A server in a real terminal: what a person at a keyboard does to it."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.census import holds
from support.server import SUPERVISED, Server

CTRL_C, CTRL_BACKSLASH = b"\x03", b"\x1c"


class Terminal:
    """A pseudo-terminal. What is started on `path` in a session of its own is controlled by it."""

    def __init__(self) -> None:
        self._master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)
        self._open = True

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def read(self) -> bytes:
        """All that has been printed and was not read yet."""
        os.set_blocking(self._master, False)
        content = b""
        with suppress(BlockingIOError, OSError):
            while chunk := os.read(self._master, 65536):
                content += chunk
        return content

    def close(self) -> None:
        """The window is closed, the connection lost."""
        if self._open:
            self._open = False
            os.close(self._slave)
            os.close(self._master)


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def start(launch, terminal: Terminal, **options) -> Server:
    """The terminal's path is the same inside the box: only /proc is another there."""
    server: Server = launch(SUPERVISED, output=terminal.path, **options)
    server.wait_serving()
    return server


@pytest.mark.smoke
@pytest.mark.parametrize("keys", [CTRL_C, CTRL_BACKSLASH], ids=["Ctrl+C", "Ctrl+backslash"])
def test_a_key_stops_it(launch, terminal, keys):
    server = start(launch, terminal)
    terminal.type(keys)
    assert server.exit_code() == 0
    server.wait_gone()
    printed = terminal.read()
    assert b"Traceback" not in printed
    assert b"[reaper] stopped" in printed


def test_closing_the_window_stops_it(launch, terminal):
    server = start(launch, terminal)
    terminal.close()
    server.wait_gone()
    assert len(server.events("after_server_stop done")) == 2
    assert len(server.events("main_process_stop done")) == 1


def test_closing_the_window_does_not_stop_it_under_nohup(launch, terminal):
    script = ["sh", "-c", 'nohup "$0" app.py >/dev/null 2>&1', sys.executable]
    server = start(launch, terminal, argv=script)
    terminal.close()
    assert holds(lambda: server.get()[0] == 200, 1)
    server.stop()
