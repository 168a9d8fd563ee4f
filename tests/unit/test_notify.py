"""What a service manager is told, and when: a table. And the datagrams that carry it."""

from __future__ import annotations

import os
import socket
import time

import pytest
from support.census import NO_PID

from sanic_reaper.config import Settings
from sanic_reaper.main.notify import (
    EXTRA_TIME,
    STARTING,
    STOPPING,
    UP,
    Messages,
    Notifier,
    Situation,
    ping_interval_of,
)
from sanic_reaper.main.situation import situation_of
from sanic_reaper.main.slot import Slot

EXTRA_TIME_USEC = int(EXTRA_TIME * 1e6)


def extend(seconds: float) -> str:
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6) + EXTRA_TIME_USEC}"


def starting(serving: int, due: float = 0.0) -> Situation:
    return Situation(STARTING, 4, serving, serving > 0, due)


def up(serving: int, turns: bool = True) -> Situation:
    return Situation(UP, 4, serving, turns)


def stopping(due: float) -> Situation:
    return Situation(STOPPING, deadline=due)


LIVES = {
    "a start": [
        (0, starting(0), ["STATUS=0/4 workers serve"]),
        (1, starting(0), []),
        (2, starting(3), ["STATUS=3/4 workers serve"]),
        (3, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
        (4, up(4), []),
    ],
    "a start of which some workers have not returned from after_server_start": [
        (0, starting(1)._replace(finishing=2), ["STATUS=1/4 workers serve, 2 finishing start"]),
        (1, starting(2)._replace(finishing=1), ["STATUS=2/4 workers serve, 1 finishing start"]),
        (2, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
    ],
    "a start before there is anybody to start": [
        (0, Situation(STARTING, deadline=60), ["STATUS=starting", extend(60)]),
        (1, starting(0, due=60.9), ["STATUS=0/4 workers serve"]),
        (1, starting(0, due=61.1), [extend(60.1)]),
    ],
    "a start of which the end is known": [
        (0, starting(0, due=60), ["STATUS=0/4 workers serve", extend(60)]),
        (1, starting(0, due=60.9), []),
        (2, starting(0, due=40), []),
        (9, starting(1, due=75), ["STATUS=1/4 workers serve", extend(66)]),
        (9, starting(1, due=0), []),
    ],
    "a stop in a start": [
        (0, starting(0, due=60), ["STATUS=0/4 workers serve", extend(60)]),
        (1, stopping(21), ["STOPPING=1", "STATUS=stopping", extend(20)]),
        (2, stopping(21), []),
    ],
    "a worker is lost and replaced": [
        (0, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
        (1, up(3), ["STATUS=3/4 workers serve"]),
        (2, up(4), ["STATUS=4/4 workers serve"]),
    ],
    "a restart of all is no second start": [
        (0, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
        (1, up(0), ["STATUS=0/4 workers serve"]),
        (2, up(4), ["STATUS=4/4 workers serve"]),
    ],
    "scaling": [
        (0, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
        (1, Situation(UP, 6, 4), ["STATUS=4/6 workers serve"]),
        (2, Situation(UP, 2, 2), ["STATUS=2/2 workers serve"]),
    ],
    "a stop": [
        (0, up(4), ["READY=1", "STATUS=4/4 workers serve"]),
        (5, stopping(9), ["STOPPING=1", "STATUS=stopping", extend(4)]),
        (8, stopping(9), []),
    ],
    "a stop that is told of after its deadline": [
        (9, stopping(5), ["STOPPING=1", "STATUS=stopping", extend(0)]),
    ],
}


@pytest.mark.parametrize("life", LIVES)
def test_what_is_told(life):
    words = Messages()
    for now, situation, lines in LIVES[life]:
        assert words.on(now, situation) == lines, (now, situation)


PING = "WATCHDOG=1"


def test_signs_of_life():
    words = Messages(ping_interval=5)
    table = [
        (0, starting(0), False),  # the service manager does not wait for any before READY
        (1, starting(4), False),
        (2, up(4), True),
        (6.9, up(4), False),
        (7.1, up(4), True),
        (13, up(4, turns=False), False),  # it is due, and nobody could answer a request
        (14, up(1, turns=False), False),
        (14.5, up(0, turns=False), False),
        (15, up(1), True),  # as soon as one can
        (19.9, up(4), False),
        (20, up(4), True),
        (26, stopping(30), False),
    ]
    told = [PING in words.on(now, situation) for now, situation, _ in table]
    assert told == [expected for _, _, expected in table]


def test_without_a_watchdog_there_are_none():
    words = Messages()
    told = [words.on(now, up(4)) for now in range(100)]
    assert not any(PING in lines for lines in told)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(NO_PID)}, 0.0),  # another's
        ({"WATCHDOG_USEC": "0"}, 0.0),
        ({"WATCHDOG_USEC": ""}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_the_interval(environ, seconds):
    assert ping_interval_of(environ) == seconds


@pytest.mark.parametrize(
    ("wanted", "usec", "seconds"),
    [(1.0, "30000000", 1.0), (0.25, "", 0.25), (0.0, "30000000", 1.0), (0.0, "800000", 0.2)],
)
def test_beats_are_wanted_for_signs_of_life(wanted, usec, seconds):
    notifier = Notifier.of({"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": usec})
    assert notifier.heartbeat_interval(wanted) == seconds


def test_no_beats_for_nobody():
    assert Notifier("/nowhere", 0.0).heartbeat_interval(0.0) == 0.0


# -- datagrams ------------------------------------------------------------------------------------


@pytest.fixture(params=["a path", "an abstract name"])
def listener(request, tmp_path):
    address = str(tmp_path / "notify") if request.param == "a path" else f"@reaper-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address.replace("@", "\0", 1))
        line.setblocking(False)
        yield line, address


def heard(line: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(line.recv(4096).decode())
        except BlockingIOError:
            return found


def test_all_that_is_news_is_one_datagram(listener):
    line, address = listener
    notifier = Notifier(address, 0.0)
    notifier.turn(None)
    assert heard(line) == []  # nobody knows yet how it is
    notifier.begin(None)
    assert heard(line) == ["STATUS=starting"]
    notifier.situation = lambda: up(4)
    notifier.turn(None)
    notifier.turn(None)
    assert heard(line) == ["READY=1\nSTATUS=4/4 workers serve"]
    notifier.turn(time.monotonic())
    [message] = heard(line)
    assert message.startswith("STOPPING=1\nSTATUS=stopping\nEXTEND_TIMEOUT_USEC=")


def send(line: socket.socket) -> bool:
    """Whether there was room for one more. A socket for each: one has a limit of its own, too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noise:
        noise.setblocking(False)
        try:
            noise.sendto(b"X=1", line.getsockname())
        except BlockingIOError:
            return False
        return True


def test_a_full_socket_delays_it_and_only_the_latest_counts(listener):
    line, address = listener
    notifier = Notifier(address, 0.0)
    while send(line):
        pass
    began = time.monotonic()
    for situation in (up(4), up(3), up(2)):
        notifier.situation = lambda situation=situation: situation
        notifier.turn(None)
    assert time.monotonic() - began < 1.0
    assert set(heard(line)) == {"X=1"}
    notifier.turn(None)
    assert heard(line) == ["READY=1\nSTATUS=2/4 workers serve"]


@pytest.mark.parametrize("address", ["/nowhere/at/all", "@nobody-listens", "vsock:2:1", "x" * 500])
def test_nobody_listens(address, caplog):
    notifier = Notifier(address, 0.0)
    notifier.situation = lambda: up(4)
    for _ in range(3):
        notifier.turn(None)
    assert caplog.text.count("the service manager can't be notified through NOTIFY_SOCKET") == 1


def test_a_start_that_is_tried_again_is_due_later():
    """The service manager waits for the next try, and for as long as that may take."""
    slots = [Slot(f"Sanic-Server-{number}-0", Settings.read({})) for number in range(2)]
    slots[0].restart_at = 100.0
    expected = Situation(STARTING, wanted=2, deadline=130.0)
    assert situation_of(slots, has_been_ready=False, startup_timeout=30.0) == expected


def test_where_nobody_counts_the_workers_the_server_is_up():
    """Sanic's own manager runs them."""
    notifier = Notifier("/nowhere", 0.0)
    notifier.guard()
    assert notifier.situation is not None
    assert notifier.situation() == Situation(UP, turns=True)
