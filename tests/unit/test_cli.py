"""The `sanic-reaper` command itself: which command is meant, and how it ends."""

from __future__ import annotations

import errno
import os

import pytest

from sanic_reaper import cli
from sanic_reaper.commands import health


@pytest.fixture
def given(monkeypatch):
    """What `health` is given, in the place of a probe."""
    found = []
    monkeypatch.setattr(health, "main", lambda words: found.append(words) or 7)
    return found


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["health", "--json", "--", "x"], ["--json", "--", "x"]),
        (["--", "health", "--json"], ["--json"]),
        (["--", "health"], []),
    ],
)
def test_a_command_gets_the_words_after_its_name(given, words, arguments):
    assert cli.main(words) == 7
    assert given == [arguments]


@pytest.mark.parametrize("words", [["nonsense"], ["--", "nonsense"], ["--nonsense", "health"]])
def test_no_command(given, capsys, words):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert (end.value.code, given) == (cli.USAGE, [])
    assert "usage: sanic-reaper" in capsys.readouterr().err


def test_an_error_that_is_not_of_the_output_is_not_swallowed(monkeypatch):
    """Whoever reports it needs the traceback."""

    def fail(words):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(health, "main", fail)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        cli.main(["health"])


def test_an_interrupted_command(monkeypatch):
    def interrupt(words):
        raise KeyboardInterrupt

    monkeypatch.setattr(health, "main", interrupt)
    assert cli.main(["health"]) == 130
