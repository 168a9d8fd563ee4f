"""Who listens where: by real sockets of this process and of another."""

from __future__ import annotations

import os
import socket
import sys
import time
from threading import Timer

import pytest
from support.census import identify
from support.http import HOST, Ports
from support.programs import program, said_by
from support.written import a_server

from sanic_reaper.state import ports
from sanic_reaper.state.strays import Stray

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LISTEN = """
import socket, sys, time
listener = socket.create_server((sys.argv[1], int(sys.argv[2])))
print(flush=True)
time.sleep(60)
"""


@pytest.fixture
def address():
    return (HOST, Ports().take())


@pytest.fixture
def holder(address):
    with program(LISTEN, address[0], str(address[1])) as process:
        yield process


def test_a_port_that_is_free(address):
    assert not ports.is_taken(address)
    assert ports.holders(address) == []
    assert ports.explain(address).endswith("is taken by a process that the Reaper may not inspect")
    assert ports.wait_until_free(address, 0.0)


def test_a_port_that_somebody_has(address, holder):
    assert ports.is_taken(address)
    assert ports.holders(address) == [holder.pid]
    assert ports.listening([holder.pid, os.getpid()])[holder.pid] == [address[1]]
    words = ports.explain(address)
    assert f"{address[0]}:{address[1]} is taken by {sys.executable} [{holder.pid}]" in words
    assert not ports.wait_until_free(address, 5.0), "nobody sees to it that it ends"


@pytest.mark.parametrize(
    ("wanted", "other", "is_in_the_way"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("127.0.0.1", "::1", False),
        ("0.0.0.0", "::1", False),
        ("::1", "127.0.0.1", False),
        ("::1", "::1", True),
        ("::1", "::", True),
        ("::", "::1", True),
        ("127.0.0.1", "::", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("127.0.0.1", "::ffff:127.0.0.2", False),
    ],
)
def test_who_is_in_the_way(address, wanted, other, is_in_the_way):
    """Beside that one, who has the same port of another address may stay; and what is told is what
    the kernel does."""
    asked = (wanted, address[1])
    family = socket.AF_INET6 if ":" in other else socket.AF_INET
    with socket.socket(family) as listener:
        if family is socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            listener.bind((other, address[1]))
        except OSError as error:
            pytest.skip(f"no {other} here: {error}")
        listener.listen()
        assert ports.is_taken(asked) is is_in_the_way
        assert ports.holders(asked) == ([os.getpid()] if is_in_the_way else [])


def test_of_a_host_that_nobody_knows_each_holder_of_the_port_is_in_the_way(address, holder):
    """Which of them it is can't be told; another port's are not among them."""
    other = (HOST, Ports().take())
    with program(LISTEN, "127.0.0.2", str(address[1])) as second, program(LISTEN, *map(str, other)):
        for host in ("a..b", "x" * 64):  # no resolver is asked for such a name
            found = ports.holders((host, address[1]))
            assert sorted(found) == sorted([holder.pid, second.pid])


def test_a_neighbour_on_another_address_is_not_waited_for(address, holder, monkeypatch):
    """Nor is it blamed: it may stay for good, whoever is being ended."""
    dying = {holder.pid}
    monkeypatch.setattr(ports, "_are_being_ended", lambda pids: set(pids) <= dying)
    with program(LISTEN, "127.0.0.2", str(address[1])) as neighbour:
        assert f"[{neighbour.pid}]" not in ports.explain(address)
        Timer(0.2, holder.kill).start()
        assert ports.wait_until_free(address, 10.0)


def test_a_process_that_has_just_ended(holder):
    holder.kill()
    holder.wait()
    assert ports._describe(holder.pid) == f"[{holder.pid}], which has just exited"
    assert ports.listening([holder.pid]) == {holder.pid: []}


def test_a_port_whose_holder_is_being_ended_becomes_free(address, holder, monkeypatch):
    monkeypatch.setattr(ports, "_are_being_ended", lambda pids: holder.pid in pids or not pids)
    Timer(0.2, holder.kill).start()
    assert ports.wait_until_free(address, 10.0)


def test_a_holder_that_was_seen_is_waited_for_when_nobody_sees_it_any_more(
    address, holder, monkeypatch
):
    """It exits: its descriptors are closed, and its port is not yet free."""
    monkeypatch.setattr(ports, "UNKNOWN", 5.0)
    monkeypatch.setattr(ports, "_are_being_ended", lambda pids: True)
    hidden_at, hidden = time.monotonic() + 5.5, []

    def holders(address):
        if time.monotonic() < hidden_at:
            return [holder.pid]
        if not hidden:
            Timer(0.2, holder.kill).start()
        hidden.append(address)
        return []

    monkeypatch.setattr(ports, "holders", holders)
    assert ports.wait_until_free(address, 60.0)
    assert hidden


def test_a_holder_that_has_exited_meanwhile_is_no_reason_to_give_up(holder, monkeypatch):
    monkeypatch.setattr(ports.discovery, "servers", list)
    assert not ports._are_being_ended([holder.pid])
    holder.kill()
    holder.wait()
    assert ports._are_being_ended([holder.pid])


def test_a_server_that_ends_while_it_is_looked_for_is_no_reason_to_give_up(holder, monkeypatch):
    """Its last process goes, and then its files, which its watchdog removes."""

    def gone():
        holder.kill()
        holder.wait()
        return []

    monkeypatch.setattr(ports.discovery, "servers", gone)
    assert ports._are_being_ended([holder.pid])


OTHERS = Stray("other", (4712, 1), "Bakery", "/srv", os.geteuid())


@pytest.mark.parametrize("is_stray", [True, False], ids=["a stray", "a stranger"])
def test_a_port_that_a_process_has_of_which_no_file_tells(address, holder, monkeypatch, is_stray):
    """The other servers of this machine, and what is left of others, have no part in it."""
    stray = Stray("run", (4711, 1), "Shop", "/srv", os.geteuid())
    stray.processes[identify(holder.pid)] = "bears this run's marker"
    strays = [OTHERS, stray] if is_stray else [OTHERS]
    monkeypatch.setattr(ports.discovery, "servers", lambda: [a_server(boot="another")])
    monkeypatch.setattr(ports.strays, "strays", lambda table, uids, known: strays)
    words = ports.explain(address)
    assert f"[{holder.pid}], which runs for" in words
    assert words.endswith(": an orphan of Shop, whose main 4711 has died") is is_stray
    assert ("orphan" in words) is is_stray
    assert "Bakery" not in words


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a second user")
@pytest.mark.root
def test_a_port_that_another_user_has_is_told_at_once(address, holder):
    """Nobody of ours ends him, however long a server that is being ended may drain."""
    code = """
import os, sys, time
from sanic_reaper.state import ports
address = (sys.argv[1], int(sys.argv[2]))
os.setuid(65534)
began = time.monotonic()
print(ports.wait_until_free(address, 90.0))
print(time.monotonic() - began < 45)
print(ports.explain(address))
"""
    free, at_once, words = said_by(code, *address)
    assert (free, at_once) == ("False", "True")
    assert words.endswith("is taken by a process of user 0 that the Reaper may not inspect")
