"""A server in a real terminal: what a person at a keyboard does to it."""

from __future__ import annotations

import sys

import pytest
from support.census import holds
from support.server import SUPERVISED, Server
from support.terminal import Terminal

CTRL_C, CTRL_BACKSLASH = b"\x03", b"\x1c"


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
    printed = terminal.shown
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
