"""How commands write what they have found: units for people, colours for a terminal alone."""

from __future__ import annotations

import io
import os

import pytest

from sanic_reaper.commands.terminal import height, painter, seconds, size


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (2 * 86400, "2 d"),
    ],
)
def test_a_duration_is_in_the_unit_that_people_think_in(value, words):
    assert seconds(value) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (5 << 20, "5 MB"),
        (1 << 30, "1.0 GB"),
        (5 << 40, "5120.0 GB"),
    ],
)
def test_a_size(number, words):
    assert size(number) == words


def test_what_is_no_terminal_has_room_for_all(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert height() == 10_000
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr("sys.stdout", nowhere)
        assert height() == 10_000


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environment", "shown"),
    [
        (Screen(), {}, "\x1b[31mx\x1b[0m"),
        (Screen(), {"NO_COLOR": "1"}, "x"),
        (Screen(), {"TERM": "dumb"}, "x"),
        (io.StringIO(), {}, "x"),
    ],
    ids=["terminal", "NO_COLOR", "dumb", "pipe"],
)
def test_colours(monkeypatch, out, environment, shown):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", out)
    assert painter()("x", "red") == shown
    assert painter()("x", "") == "x"
