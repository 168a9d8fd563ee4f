"""Every handler is seen, and each is called as plain Sanic calls it: order, arguments, and once."""

from __future__ import annotations

import json
import re
import sys
from signal import SIGTERM

import pytest
from support.census import wait_until
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
    assert len(expected) == 12
    assert expected[0][0] == "early"
    assert expected[-1][0] == "late"
    assert calls(server) == expected
    *names, after = json.loads(server.get("/startup")[1])
    assert after == "ready", "its after_server_start handler"
    own = {"method": "Service.method", "awaiting_method": "Service.awaiting_method"}
    assert names == [own.get(name, name) for name, _ in expected], (
        "and Sanic's own are not among them"
    )
    server.command.process.send(SIGTERM)
    server.wait_gone()


@methods
def test_a_limit_changes_nothing_in_that(launch, method):
    plain = launch(PLAIN.with_(run={"single_process": True}), argv=PROGRAM)
    decorate = {"startup_timeout": ([30], {})}
    server = launch(SUPERVISED.with_(method=method, decorate=decorate), argv=PROGRAM)
    assert calls(server) == calls(plain)
    server.command.process.send(SIGTERM)
    server.wait_gone()


@methods
def test_in_the_background_each_is_called_with_the_same(launch, method):
    """A partial with its arguments, a wrapper as it stands, and a coroutine that it returns too."""
    plain = launch(PLAIN.with_(run={"single_process": True}), argv=PROGRAM)
    decorate = {"background": ([], {"timeout": 20})}
    server = launch(SUPERVISED.with_(method=method, decorate=decorate), argv=PROGRAM)
    beside = {"with_loop", "completed", "wrapped", "Service", "method", "in_its_own_loop"}
    for name in beside:
        own = {"method": "Service.method"}.get(name, name)
        server.wait_for_output(f"{own} (")
    wait_until(lambda: len(calls(server)) == 13, 10, server.describe)
    expected = calls(plain)
    own_loop = ("in_its_own_loop", ["Sanic"])
    assert sorted(calls(server)) == sorted([*expected, own_loop])
    assert [call for call in calls(server) if call[0] not in beside] == [
        call for call in expected if call[0] not in beside
    ]
    wait_until(lambda: server.get("/startup")[0] == 200, 10, server.describe)
    assert len(re.findall(r"is done after", server.output())) == len(beside)
    server.command.process.send(SIGTERM)
    server.wait_gone()


@pytest.mark.parametrize("reaper", ["class", ""])
def test_without_a_main_process_too(launch, reaper):
    subject = SUPERVISED.with_(reaper=reaper, run={"single_process": True})
    server = launch(subject, argv=PROGRAM)
    assert len(calls(server)) == 12
    if reaper:
        assert len(json.loads(server.get("/startup")[1])) == 12 + 1
        assert "[reaper]" not in server.output(), "what happens here is for who debugs it"
