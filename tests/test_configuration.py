"""The `REAPER_*` keys, as a user sets them and as a running server understands them."""

from __future__ import annotations

import math
import time
from signal import SIGKILL, SIGTERM

import pytest
from support.census import wait_until
from support.server import ORPHAN_GRACE, SLACK, START, SUPERVISED, Server, Subject

from sanic_reaper import __version__

BAD_CONFIGURATION = 78

BAD_VALUES = [
    ("REAPER_ENABLED", "perhaps"),
    ("REAPER_ENABLED", 1),
    ("REAPER_STARTUP_TIMEOUT", "soon"),
    ("REAPER_STARTUP_TIMEOUT", math.nan),
    ("REAPER_STARTUP_TIMEOUT", -1),
    ("REAPER_SHUTDOWN_TIMEOUT", "10 s"),
    ("REAPER_SHUTDOWN_TIMEOUT", None),
    ("REAPER_SHUTDOWN_TIMEOUT", math.inf),
    ("REAPER_ORPHAN_GRACE", -0.1),
    ("REAPER_ORPHAN_GRACE", True),
    ("REAPER_PDEATHSIG", "SIGNONSENSE"),
    ("REAPER_PDEATHSIG", 15),
    ("REAPER_BLOCKED_WARNING", 0.001),
]

BAD_VARIABLES = [
    ("SANIC_REAPER_STARTUP_TIMEOUT", "soon"),
    ("SANIC_REAPER_STARTUP_TIMEOUT", "nan"),
    ("SANIC_REAPER_ORPHAN_GRACE", "-1"),
    ("SANIC_REAPER_PDEATHSIG", "SIGNONSENSE"),
    ("SANIC_REAPER_ENABLED", "perhaps"),
]

DEFAULTS = Subject(method="fork")


def wait_refused(server: Server, key: str, value: str) -> None:
    server.wait_gone(START)
    assert server.exit_code() == BAD_CONFIGURATION
    [line] = server.output().splitlines()
    assert "[reaper]" in line
    assert key in line
    assert value in line
    assert "allowed" in line


@pytest.mark.parametrize(("key", "value"), BAD_VALUES)
def test_a_bad_value_stops_the_start(launch, key, value):
    wait_refused(launch(DEFAULTS.with_config(**{key: value})), key, repr(value))


@pytest.mark.smoke
@pytest.mark.parametrize(("variable", "value"), BAD_VARIABLES)
def test_a_bad_variable_stops_the_start(launch, variable, value):
    """Sanic turns what looks like a number into one: `-1` becomes -1."""
    server = launch(DEFAULTS, env={variable: value})
    wait_refused(server, variable.removeprefix("SANIC_"), value)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_bad_value_under_each_start_method(launch, method):
    subject = DEFAULTS.with_(method=method).with_config(REAPER_ORPHAN_GRACE=-1)
    wait_refused(launch(subject), "REAPER_ORPHAN_GRACE", "-1")


@pytest.mark.parametrize("value", ["false", "no", "off", "0"])
def test_switched_off_by_a_variable(launch, value):
    """As Sanic reads it: `0` is the number zero there, and no switch."""
    server = launch(DEFAULTS, env={"SANIC_REAPER_ENABLED": value})
    if value == "0":
        wait_refused(server, "REAPER_ENABLED", "0")
        return
    server.wait_serving()
    assert not server.watchdogs


def test_a_variable_sets_the_time_to_drain(launch):
    server = launch(DEFAULTS, env={"SANIC_REAPER_ORPHAN_GRACE": "1.5"})
    server.wait_serving()
    exchange = server.request("/do/async:60")
    killed = server.send(SIGKILL)
    server.wait_gone()
    assert 1.4 < time.monotonic() - killed < 1.5 + SLACK
    exchange.close()


def test_no_time_to_drain(launch):
    server = launch(DEFAULTS.with_config(REAPER_ORPHAN_GRACE=0))
    server.wait_serving()
    server.request("/do/async:60")
    server.send(SIGKILL)
    server.wait_gone(SLACK)


def test_no_time_to_stop(launch):
    """0 is allowed: then a stop is a kill, of our processes only."""
    server = launch(DEFAULTS.with_config(REAPER_SHUTDOWN_TIMEOUT=0))
    server.wait_serving()
    server.request("/do/block")
    server.send(SIGTERM)
    server.wait_gone(SLACK)


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_no_time_to_stop_leaves_nothing_all_the_same(launch, method):
    """Main has to see its workers off within the watchdog's own second, and its children too."""
    kinds = ["plain", "cleaned-daemon", "deaf"]
    subject = SUPERVISED.with_(method=method, children=kinds, main_children=kinds)
    server = launch(subject.with_config(REAPER_SHUTDOWN_TIMEOUT=0))
    server.wait_serving()
    wait_until(lambda: len(server.children) == 9, 10, server.describe)
    server.send(SIGTERM)
    server.wait_gone(SLACK)
    assert server.exit_code() == 0
    assert "Traceback" not in server.output()


@pytest.mark.parametrize("key", ["REAPER_SHUTDOWN_TIMEOUT", "GRACEFUL_SHUTDOWN_TIMEOUT"])
def test_a_time_to_stop_without_an_end(launch, key):
    """The watchdog takes no moment that is 30,000 years away: it did not stop anybody then."""
    server = launch(DEFAULTS.with_config(**{key: 1e18}))
    server.wait_serving()
    server.send(SIGTERM)
    server.wait_gone(START)
    assert server.exit_code() == 0
    assert "not understood" not in server.output()


def test_the_time_to_stop_follows_sanics_own(launch):
    """Default: GRACEFUL_SHUTDOWN_TIMEOUT + 5. What blocks is killed within that, not before."""
    server = launch(DEFAULTS.with_config(GRACEFUL_SHUTDOWN_TIMEOUT=1.0))
    server.wait_serving()
    server.request("/do/block")
    stopped = server.send(SIGTERM)
    server.wait_gone(6 + SLACK)
    assert time.monotonic() - stopped > 4


def test_sanics_grace_is_left_to_requests(launch):
    """A request may take all of GRACEFUL_SHUTDOWN_TIMEOUT: we come after that."""
    server = launch(DEFAULTS.with_config(GRACEFUL_SHUTDOWN_TIMEOUT=3.0))
    server.wait_serving()
    exchange = server.request("/do/async:2.5")
    server.send(SIGTERM)
    assert exchange.answer() == (200, "done")
    server.wait_gone(8 + SLACK)


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_the_signal_of_the_kernel(launch, method, name):
    """With the watchdog gone as well, this signal is what ends the workers."""
    server = launch(SUPERVISED.with_(method=method).with_config(REAPER_PDEATHSIG=name))
    server.wait_serving()
    for victim in (server.watchdog, server.main):
        victim.send(SIGKILL)
    server.wait_gone(ORPHAN_GRACE + SLACK)
    drained = len(server.events("after_server_stop done"))
    assert drained == (0 if name == "SIGKILL" else 2)


def test_a_key_that_does_not_exist(launch):
    """Most likely misspelt: said once, and no reason not to start."""
    server = launch(DEFAULTS.with_config(REAPER_SHUTDOWN_TIMOUT=3))
    server.wait_serving()
    lines = [line for line in server.output().splitlines() if "REAPER_SHUTDOWN_TIMOUT" in line]
    assert len(lines) == 1
    assert "REAPER_SHUTDOWN_TIMEOUT" in lines[0]
    assert server.stop() == 0


def test_nothing_is_said_without_need(launch):
    """That the Reaper is on, and of each worker that it is up; no more."""
    server = launch(DEFAULTS)
    server.wait_serving()
    wait_until(lambda: server.get()[0] == 200, 5, "an answer")
    lines = [line for line in server.output().splitlines() if "[reaper]" in line]
    assert len(lines) == 3
    assert lines[0].endswith(
        f"[reaper] sanic-reaper {__version__}, start method fork: "
        "a worker has 60 s to start, a stop takes 20 s at most"
    )
    assert all("is up after" in line for line in lines[1:])
    assert "Traceback" not in server.output()
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
@pytest.mark.every_method
def test_advice_on_the_start_method(launch, method):
    """Under fork, with a thread that may hold a lock; and never otherwise."""
    server = launch(DEFAULTS.with_(method=method, thread="metrics"))
    server.wait_serving()
    advice = [line for line in server.output().splitlines() if "the start method is" in line]
    assert len(advice) == (method == "fork")
    if advice:
        assert "main runs 2 threads (metrics)" in advice[0]
        assert "WARNING" in advice[0]
    assert server.stop() == 0


# -- what is decorated ----------------------------------------------------------------------------


MISPLACED = [
    ("startup_timeout", [3], "before_server_stop"),
    ("background", [], "after_server_start"),
]


@pytest.mark.parametrize(("decorator", "arguments", "event"), MISPLACED)
@pytest.mark.parametrize("single", [False, True], ids=["main", "single process"])
def test_a_decorator_of_another_event_stops_the_start(launch, single, decorator, arguments, event):
    subject = SUPERVISED.with_(
        workers=1,
        decorate={decorator: (arguments, {})},
        decorate_event=event,
        run={"single_process": True} if single else {},
    )
    server = launch(subject)
    server.wait_gone(START)
    assert server.exit_code() == BAD_CONFIGURATION
    line = server.wait_for_output(f"@{decorator} has no effect on listen_blocking")
    assert f"registered as {event}" in line
    assert not server.events("before_server_start")
