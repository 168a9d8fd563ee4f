"""Servers that can't be seen from here: what is said of them."""

from __future__ import annotations

import os

import pytest

from sanic_reaper.commands.elsewhere import as_data, hints
from sanic_reaper.main.watchdog_process import _COMMAND
from sanic_reaper.state.unseen import CONTAINER, OTHER_PLACE, OTHER_USER, Unseen
from sanic_reaper.tree.watchdogs import watchdog_of

ME, NOBODY = os.geteuid(), 65534
COMMAND = [word.encode() for word in _COMMAND]


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        ([], []),
        (
            [Unseen(NOBODY, 7, OTHER_USER, {}), Unseen(NOBODY, 9, OTHER_USER, {})],
            [
                "user nobody runs 2 servers, which only nobody and root can see: "
                "`sudo -u nobody sanic-reaper ps`"
            ],
        ),
        (
            [Unseen(NOBODY, 7, CONTAINER, {})],
            [
                "user nobody runs 1 server in another PID namespace (a container): "
                "run the command in it"
            ],
        ),
        (
            [Unseen(NOBODY, 7, OTHER_PLACE, {"XDG_RUNTIME_DIR": "/run/my shop\x1b"})],
            [
                "a server of user nobody runs (main process 7), and its files lie elsewhere: "
                "`sudo -u nobody XDG_RUNTIME_DIR='/run/my shop\\x1b' sanic-reaper ps`"
            ],
        ),
        (
            [Unseen(NOBODY, 7, OTHER_PLACE, {})],
            [
                "a server of user nobody runs (main process 7), and its files "
                "can't be read from here"
            ],
        ),
    ],
)
def test_the_lines(found, lines):
    assert hints(found, "sanic-reaper ps") == lines
    assert [one["main"] for one in as_data(found)] == [one.main for one in found]


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        ([b"12", b"34", b"5", b"0123abcd", b"10.0"], (12, 34, 5, "0123abcd")),
        ([b"12", b"34", b"5", b"0123abcd"], (12, 34, 5, "0123abcd")),
        ([b"12", b"34", b"5"], None),
        ([b"12", b"34", b"\xc2\xb2", b"0123abcd"], None),
        ([b"9" * 5000, b"34", b"5", b"0123abcd"], None),
        ([b"12", b"34", b"5", b"\xff"], None),
    ],
)
def test_the_command_line_of_a_watchdog(arguments, known):
    found = watchdog_of([*COMMAND, *arguments])
    assert (found and (found.main, found.start, found.channel, found.run)) == known


@pytest.mark.parametrize("command", [[], [b"python3"], [b"python3", b"-c"], [b"-c", b"pass", b"1"]])
def test_no_watchdog(command):
    assert watchdog_of(command) is None
