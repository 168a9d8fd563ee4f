"""Every handler is seen, and each is called as plain Sanic calls it: order, arguments, and once."""

from __future__ import annotations

import json
import sys
from signal import SIGTERM

import pytest
from support.marks import methods
from support.server import PLAIN, SUPERVISED, Server

PROGRAM = [sys.executable, "registrations.py"]


def calls(server: Server) -> list[tuple[str, list[str]]]:
    server.wait_for("ready")
    return [(event.more["what"], event.more["given"]) for event in server.events("handler")]


@methods
def test_handlers_are_called_as_plain_sanic_calls_them(launch, method):
    plain = launch(PLAIN.with_(run={"single_process": True}), argv=PROGRAM)
    server = launch(SUPERVISED.with_(method=method), argv=PROGRAM)
    expected = calls(plain)
    assert len(expected) == 11
    assert expected[0][0] == "early"
    assert expected[-1][0] == "late"
    assert calls(server) == expected
    names = json.loads(server.get("/startup")[1])
    own = {"method": "Service.method", "awaiting_method": "Service.awaiting_method"}
    assert names == [own.get(name, name) for name, _ in expected], (
        "and Sanic's own are not among them"
    )
    server.command.process.send(SIGTERM)
    server.wait_gone()


@pytest.mark.parametrize("reaper", ["class", ""])
def test_without_a_main_process_too(launch, reaper):
    subject = SUPERVISED.with_(reaper=reaper, run={"single_process": True})
    server = launch(subject, argv=PROGRAM)
    assert len(calls(server)) == 11
    if reaper:
        assert len(json.loads(server.get("/startup")[1])) == 11
        assert "[reaper]" not in server.output(), "what happens here is for who debugs it"
