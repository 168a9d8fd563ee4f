"""`sanic-reaper dump`, where it can't show a stack: it says why, and what would help."""

from __future__ import annotations

import pytest
from support.written import a_server

from sanic_reaper import cli
from sanic_reaper.commands import dump


@pytest.mark.parametrize(
    ("servers", "arguments", "code", "words"),
    [
        ([], [], 1, "no running server has a worker Sanic-Server-0-0"),
        ([a_server("1 serving")], [], 1, "no running server has a worker Sanic-Server-0-0"),
        ([a_server("0 serving")], ["--app", "Bakery"], 1, "no running server"),
        ([a_server("0 serving"), a_server("0 serving", app="Bakery")], [], 2, "give its pid"),
        ([a_server("0 serving")], [], 1, "Sanic-Server-0-0 of Shop: "),
    ],
    ids=["no server", "no such worker", "another app", "two of this name", "nobody answers"],
)
def test_no_stack(monkeypatch, capsys, servers, arguments, code, words):
    monkeypatch.setattr(dump.elsewhere.view, "servers", lambda *_: servers)
    assert cli.main(["dump", "Sanic-Server-0-0", *arguments]) == code
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert words in error
