"""Servers that can't be seen from here: what is said of them."""

from __future__ import annotations

import os
import pwd

import pytest

from sanic_reaper.commands import elsewhere
from sanic_reaper.commands.elsewhere import as_data, hints
from sanic_reaper.main.watchdog_process import _COMMAND
from sanic_reaper.platform import Row
from sanic_reaper.state import unseen
from sanic_reaper.state.discovery import FRESH, Unread
from sanic_reaper.state.unseen import CONTAINER, OTHER_PLACE, OTHER_USER, Unseen
from sanic_reaper.tree.watchdogs import NAME, watchdog_of

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


@pytest.mark.parametrize(
    "command",
    [
        [],
        [b"python3"],
        [b"python3", b"-c"],
        [b"-c", b"pass", b"1"],
        [b"python3", b"-c", b"import mine", b"12", b"34", b"5", b"0123abcd"],
    ],
)
def test_no_watchdog(command):
    assert watchdog_of(command) is None


def test_a_file_that_is_not_understood_is_told_of_once(monkeypatch, capsys):
    """`ps --watch` reads it again and again."""
    silent = Unread(ME, "/x/old.state", "why not", FRESH)

    def servers(uids, unread):
        unread += [silent, Unread(ME, "/x/new.state", "why not", 1.0)]
        unread += [Unread(ME + 1, f"/y/{n}.state", "why not", 1.0) for n in range(2)]
        return []

    monkeypatch.setattr(elsewhere.discovery, "servers", servers)
    monkeypatch.setattr(elsewhere, "_complained", set())
    assert elsewhere.servers() == []
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "/x/new.state is not understood: why not"
    assert told[1].startswith("2 state files of user ")
    assert len(told) == 2, "nobody writes the old one any more"
    elsewhere.servers()
    assert capsys.readouterr().err == ""


def test_a_user_without_a_name_is_called_by_number():
    assert elsewhere.user(0) == pwd.getpwuid(0).pw_name
    assert [elsewhere.user(uid) for uid in (4_000_000_001, 2**70)] == ["4000000001", str(2**70)]


@pytest.mark.parametrize(
    ("me", "uid", "namespace", "why"),
    [
        (1000, 1001, "", OTHER_USER),
        (1000, 0, "here", OTHER_USER),
        (1000, 1000, "here", OTHER_PLACE),
        (0, 1000, "here", OTHER_PLACE),
        (1000, 1001, "another", CONTAINER),
        (1000, 1000, "another", CONTAINER),
    ],
)
def test_why_the_files_of_a_server_cannot_be_read(monkeypatch, me, uid, namespace, why):
    """By the command line of its watchdog, its user and its PID namespace."""
    rows = {pid: Row(pid, 1, 5, "S", NAME) for pid in (10, 11, 12)}
    rows |= {13: Row(13, 1, 5, "Z", NAME), 14: Row(14, 1, 5, "S", "sh")}
    commands = {pid: [*COMMAND, b"12", b"34", b"5", b"run"] for pid in (10, 13, 14)}
    commands |= {11: [b"sh"], 12: []}
    monkeypatch.setattr(unseen.os, "geteuid", lambda: me)
    monkeypatch.setattr(unseen.platform, "command", commands.get)
    monkeypatch.setattr(unseen.platform, "uid", lambda pid: uid)
    monkeypatch.setattr(unseen.platform, "environ", lambda pid: b"A=1\0TMPDIR=/else\0XDG")
    monkeypatch.setattr(
        unseen.state, "namespace", lambda pid="self": "here" if pid == "self" else namespace
    )
    [found] = unseen.unseen(rows, set())
    assert (found.uid, found.main, found.why) == (uid, 12, why)
    assert found.environment == ({"TMPDIR": "/else"} if why == OTHER_PLACE else {})
    assert unseen.unseen(rows, {"run"}) == [], "one whose files can be read"
