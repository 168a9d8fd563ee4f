"""A `before_server_start` handler that does not end is ended, and named. Real servers hang here."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from support.census import holds
from support.http import can_bind
from support.marks import METHODS, methods
from support.server import (
    PLAIN,
    START,
    STARTUP_TIMEOUT,
    SUBJECTS,
    SUPERVISED,
    Server,
    Subject,
    without_deprecations,
)

LIMIT = 2.0
"""Seconds for a handler."""

AFTER = 2.0
"""Seconds after its limit until nothing may be left."""

BUSY = 1.5
"""Seconds on top, for three other tests on the same two cores."""

SOURCE = (SUBJECTS / "subject.py").read_text().splitlines()


class Hang(NamedTuple):
    """A way not to end, and how the log must tell of it."""

    action: str
    handler: str
    line: str
    """The innermost line of user code."""
    how: str

    @property
    def place(self) -> str:
        """The line in the words of the log."""
        number = next(n for n, text in enumerate(SOURCE, 1) if text.strip() == self.line)
        return f"subject.py:{number} in "


BLOCKING, AWAITING = "blocking the event loop", "awaiting"
HANGS = {
    "async sleep": Hang("async", "listen", "await asyncio.sleep(float(seconds or 600))", AWAITING),
    "async, in a thread": Hang(
        "async-thread", "listen", "await asyncio.to_thread(time.sleep, 600)", AWAITING
    ),
    "blocking sleep": Hang(
        "block", "listen_blocking", "time.sleep(float(seconds or 600))", BLOCKING
    ),
    "blocking socket": Hang("socket", "listen_blocking", "ours.recv(1)", BLOCKING),
    "lock": Hang("lock", "listen_blocking", "lock.acquire()", BLOCKING),
    "GIL held in C": Hang(
        "hold_gil", "listen_blocking", "libc.pthread_mutex_lock(mutex)", BLOCKING
    ),
    "catastrophic regex": Hang(
        "regex", "listen_blocking", 're.match("(a+)+$", "a" * 60 + "b")', BLOCKING
    ),
    "swallowing everything": Hang("swallow", "listen_blocking", "time.sleep(600)", BLOCKING),
    "swallowing everything, async": Hang(
        "async-swallow", "listen", "await asyncio.sleep(600)", AWAITING
    ),
}

every_loop = pytest.mark.parametrize("uvloop", [False, True], ids=["asyncio", "uvloop"])


def limited(hang: Hang, method: str, uvloop: bool = True) -> Subject:
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": hang.action})
    return subject.with_config(REAPER_HANDLER_TIMEOUT=LIMIT, USE_UVLOOP=uvloop)


def wait_ended(server: Server, since: float, limit: float = LIMIT) -> str:
    """Wait for the end of a server whose workers hang; return what it has printed."""
    server.wait_gone(START)
    took = time.monotonic() - since
    assert server.exit_code() == 1, server.output()
    assert took < limit + AFTER + BUSY, f"{took:.2f} s\n{server.output()}"
    assert can_bind(server.port)
    return server.output()


@every_loop
@methods
@pytest.mark.parametrize("name", HANGS)
def test_a_handler_that_does_not_end(launch, name, method, uvloop):
    hang = HANGS[name]
    server = launch(limited(hang, method, uvloop))
    output = wait_ended(server, min(event.time for event in server.wait_for("holding")))
    [error] = server.errors()
    assert "the server ends with exit code 1" in error
    assert re.search(r"Sanic-Server-[01]-0 \[\d+\] did not start", error)
    assert f"took longer than {LIMIT:g} s" in error
    handler = re.search(
        r"^    handler  (.+) \((.+):(\d+)\), for (\d+\.\d\d) s, (.+)$", output, re.M
    )
    assert handler, output
    name, file, line, seconds, how = handler.groups()
    assert name == f"listener.<locals>.{hang.handler}".rpartition(".")[2]
    assert Path(file) == SUBJECTS / "subject.py"
    assert SOURCE[int(line) - 1].endswith(f"def {hang.handler}(app: Sanic) -> None:")
    assert LIMIT <= float(seconds) < LIMIT + AFTER
    assert how.startswith(hang.how)
    [sits] = [line for line in output.splitlines() if line.startswith("    sits in  ")]
    assert sits.endswith(f":  {hang.line}"), sits
    [remedy] = [line for line in output.splitlines() if line.startswith("    remedy   ")]
    assert f"REAPER_HANDLER_TIMEOUT = {LIMIT:g}" in remedy
    assert "@background" in remedy
    assert "Traceback" not in output


@every_loop
@methods
@pytest.mark.parametrize("action", ["block-cleanup", "async-cleanup"])
def test_its_finally_blocks_run(launch, action, method, uvloop):
    subject = SUPERVISED.with_(
        method=method, workers=1, listeners={"before_server_start": action}
    ).with_config(REAPER_HANDLER_TIMEOUT=LIMIT, USE_UVLOOP=uvloop)
    server = launch(subject)
    wait_ended(server, server.wait_for("holding")[0].time)
    assert len(server.events("cleaned up")) == 1


@methods
def test_the_hard_limit_shows_every_thread(launch, method):
    subject = SUPERVISED.with_(
        method=method, workers=1, listeners={"before_server_start": "swallow-thread"}
    ).with_config(REAPER_HANDLER_TIMEOUT=LIMIT)
    server = launch(subject)
    output = wait_ended(server, server.wait_for("holding")[0].time)
    assert re.search(r'^  File ".*subject.py", line \d+ in swallow$', output, re.M)
    assert re.search(r'^  File ".*subject.py", line \d+ in sit_elsewhere$', output, re.M)


@pytest.mark.parametrize("action", ["block-cleanup:600", "async-cleanup:600"])
def test_a_finally_block_has_a_second(launch, action):
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"before_server_start": action}
    ).with_config(REAPER_HANDLER_TIMEOUT=LIMIT)
    server = launch(subject)
    output = wait_ended(server, server.wait_for("holding")[0].time)
    assert "StartupTimeout did not end it" in output
    assert not server.events("cleaned up")


@every_loop
@methods
def test_an_import_that_does_not_end(launch, method, uvloop):
    """No handler is there to be limited; the limit of the whole start is."""
    if method == "fork":
        pytest.skip("under fork a worker imports nothing")
    subject = SUPERVISED.with_(method=method, importing="block")
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT, USE_UVLOOP=uvloop))
    output = wait_ended(
        server, min(event.time for event in server.wait_for("holding")), STARTUP_TIMEOUT
    )
    [error] = server.errors()
    assert f"REAPER_STARTUP_TIMEOUT = {STARTUP_TIMEOUT:g} s" in error
    assert "has not even imported the app" in error
    assert re.search(r'^  File ".*subject.py", line \d+ in block$', output, re.M)


@every_loop
@methods
def test_a_handler_that_raises(launch, method, uvloop):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "raise"})
    server = launch(subject.with_config(USE_UVLOOP=uvloop))
    server.wait_gone(START)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert "its before_server_start handler listen_blocking" in error
    assert re.search(r"subject.py:\d+\) failed after \d\.\d\d s$", error)
    output = server.output()
    assert output.count("Traceback") == 1, "from the handler on, once"
    assert output.count("RuntimeError: the database is not there") == 1
    assert "/site-packages/sanic/" not in without_deprecations(output)


@pytest.mark.parametrize("name", HANGS)
def test_control_plain_sanic_hangs(launch, name):
    server = launch(
        PLAIN.with_(method="fork", listeners={"before_server_start": HANGS[name].action})
    )
    server.wait_for("holding", 2)
    assert holds(lambda: not server.command.ended and len(server.box.rows()) >= 4, LIMIT + AFTER)
    assert not server.events("all acked")


def test_control_an_import_hangs(launch):
    server = launch(PLAIN.with_(importing="block"))
    server.wait_for("holding", 2)
    assert holds(lambda: not server.command.ended, STARTUP_TIMEOUT + AFTER)


def test_control_a_handler_that_raises_kills_the_group(launch):
    server = launch(PLAIN.with_(method="fork", listeners={"before_server_start": "raise"}))
    assert server.exit_code(START) == -9


# -- limits ---------------------------------------------------------------------------------------


@methods
def test_a_handlers_own_limit(launch, method):
    subject = SUPERVISED.with_(
        method=method,
        listeners={"before_server_start": "async"},
        decorate={"startup_timeout": ([LIMIT], {})},
    )
    server = launch(subject.with_config(REAPER_HANDLER_TIMEOUT=60.0))
    output = wait_ended(server, min(event.time for event in server.wait_for("holding")))
    assert f"@startup_timeout({LIMIT:g})" in output
    assert "REAPER_HANDLER_TIMEOUT" not in output


def test_no_limit_for_this_one(launch):
    subject = SUPERVISED.with_(
        method="fork",
        listeners={"before_server_start": "block:2"},
        decorate={"startup_timeout": ([0], {})},
    )
    server = launch(subject.with_config(REAPER_HANDLER_TIMEOUT=1.0))
    server.wait_serving()
    assert server.stop() == 0


@methods
def test_the_limit_of_the_whole_start_names_the_handler_too(launch, method):
    subject = SUPERVISED.with_(method=method, listeners={"before_server_start": "async"})
    server = launch(subject.with_config(REAPER_STARTUP_TIMEOUT=STARTUP_TIMEOUT))
    server.wait_gone(START)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert f"it has not started within REAPER_STARTUP_TIMEOUT = {STARTUP_TIMEOUT:g} s" in error
    output = server.output()
    assert re.search(r"^    handler  listen \(.*subject.py:\d+\), for .*, awaiting$", output, re.M)
    assert "in sleep_in_loop:  await asyncio.sleep(float(seconds or 600))" in output


# -- what is said of a start that succeeds --------------------------------------------------------


SLOW = {
    "block:3": ("listen_blocking", "block", "time.sleep(float(seconds or 600))"),
    "async:3": ("listen", "sleep_in_loop", "await asyncio.sleep(float(seconds or 600))"),
}


@pytest.mark.parametrize("action", SLOW)
@methods
def test_a_slow_handler_is_reported_once_while_it_runs(launch, method, action):
    """With its stack: the line it sits in, and how it came there."""
    handler, function, line = SLOW[action]
    subject = SUPERVISED.with_(method=method, workers=1, listeners={"before_server_start": action})
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=1.0))
    server.wait_for_output("is slow to start")
    assert not server.events("before_server_start done")
    server.wait_serving()
    output = server.output()
    assert output.count(f"is slow to start: {handler} still runs") == 1
    assert f"in {function}:  {line}" in output
    names = re.findall(r'^  File ".*subject.py", line \d+ in (\w+)$', output, re.M)
    assert names[0] == function, "innermost first"
    assert names[-1] == handler, "down to the handler, and no further"
    assert "site-packages/sanic/" not in without_deprecations(output)
    assert "WARNING" in next(line for line in output.splitlines() if "is slow to start" in line)
    assert server.stop() == 0


@methods
def test_a_slow_handler_of_many_workers_is_shown_once(launch, method):
    """And the others are counted."""
    subject = SUPERVISED.with_(
        method=method, workers=4, listeners={"before_server_start": "block:8"}
    )
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=1.0))
    server.wait_serving()
    output = server.output()
    assert output.count("    handler  listen_blocking") == 1
    assert output.count('  File "') <= 4, "the stack of one of them"
    counts = re.findall(r"(\d) more workers? (?:is|are) slow to start: listen_blocking", output)
    assert sum(map(int, counts)) == 3
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_asyncios_own_line_names_the_handler(launch, method):
    """In debug mode. It would name the outermost coroutine of the start, which is ours."""
    subject = SUPERVISED.with_(
        method=method,
        workers=1,
        listeners={"before_server_start": "block:1"},
        run={"debug": True},
    )
    server = launch(subject)
    said = server.wait_for_output("Executing start handler ")
    assert re.search(r"Executing start handler listen_blocking \(.*subject.py:\d+\) took \d", said)
    server.wait_serving()
    lines = [line for line in server.output().splitlines() if "Executing " in line]
    assert not any("sanic_reaper" in line for line in lines)
    assert not any("handler ?" in line for line in lines)
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_slow_handler_that_holds_the_gil(launch, method):
    """From inside nobody could report it."""
    subject = SUPERVISED.with_(
        method=method, workers=1, listeners={"before_server_start": "hold_gil"}
    )
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=1.0))
    server.wait_for_output("in hold_gil:  libc.pthread_mutex_lock(mutex)")
    assert "in C code that holds the GIL" in server.output()
    assert server.stop() == 0


def test_no_warning_where_none_is_wanted(launch):
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_start": "block:2"})
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=0))
    server.wait_serving()
    assert "is slow" not in server.output()
    assert server.stop() == 0


@methods
def test_the_summary_of_a_start(launch, method):
    server = launch(SUPERVISED.with_(method=method, listeners={"before_server_start": "block:0.3"}))
    server.wait_serving()
    lines = [line for line in server.output().splitlines() if "is up after" in line]
    assert len(lines) == 2
    for line in lines:
        found = re.search(
            r"INFO: \[reaper\] (Sanic-Server-[01]-0) \[\d+\] is up after (\d+\.\d\d) s: "
            # One function for two events: file and line would not tell them apart.
            r"import (\d+\.\d\d) s, listen_blocking (\d\.\d\d) s \(blocked the event loop\), "
            r"start_children 0\.\d\d s, succeed 0\.\d\d s, listen_blocking "
            r"\d\.\d\d s(?: \(blocked the event loop\))?(?:, extensions \d+\.\d\d s)?, "
            r"Sanic \d+\.\d\d s$",
            line,
        )
        assert found, line
        assert float(found[2]) >= float(found[3]) + 0.3
    assert server.stop() == 0


def test_the_same_as_data(launch):
    subject = SUPERVISED.with_(method="fork", listeners={"before_server_start": "async:0.3"})
    server = launch(subject)
    server.wait_serving()
    status, body = server.get("/startup")
    assert status == 200

    records = json.loads(body)
    names = ["listen", "start_children", "succeed", "listen_blocking"]
    assert [record["name"] for record in records] == names
    assert [record["event"] for record in records[-2:]] == [
        "before_server_start",
        "after_server_start",
    ]
    first = records[0]
    assert first["file"].endswith("subject.py")
    assert SOURCE[first["line"] - 1].endswith("async def listen(app: Sanic) -> None:")
    assert 0.3 <= first["seconds"] < 2
    assert first["blocked"] < 0.1
    assert first["error"] is None
    assert server.stop() == 0


@pytest.mark.parametrize("method", METHODS)
def test_no_thread_and_no_alarm_stay(launch, method):
    server = launch(
        SUPERVISED.with_(method=method, workers=1).with_config(REAPER_HANDLER_TIMEOUT=5.0)
    )
    control = launch(PLAIN.with_(method="fork", workers=1))
    [worker], [other] = server.wait_serving(), control.wait_serving()
    assert server.get()[0] == 200
    threads, plain = (len(list(Path(f"/proc/{one.pid}/task").iterdir())) for one in (worker, other))
    assert threads <= plain
    assert holds(lambda: server.workers == [worker], 6), "an alarm left behind would end it"
    assert server.stop() == 0


# -- listeners of main ----------------------------------------------------------------------------

MAIN = {
    ("main_process_start", "block"): ("listen_blocking", "block", "blocking main"),
    ("main_process_start", "async"): ("listen", "sleep_in_loop", "awaiting"),
    ("main_process_ready", "block"): ("listen_blocking", "block", "blocking main"),
    ("main_process_ready", "async"): ("listen", "sleep_in_loop", "awaiting"),
}


@pytest.mark.parametrize(("event", "action"), MAIN)
def test_a_listener_of_main_that_hangs_is_named_and_ended_by_a_stop(launch, event, action):
    """There is no worker yet, so nothing else would tell of it."""
    handler, function, how = MAIN[event, action]
    subject = SUPERVISED.with_(method="fork", workers=1, listeners={event: action})
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=1.0))
    line = server.wait_for_output("main starts no worker yet")
    assert "WARNING" in line
    assert f"its {event} listener {handler} still runs" in line
    server.wait_for_output(f"sits in  {SUBJECTS / 'subject.py'}")
    output = server.output()
    assert re.search(
        rf"^    handler  {handler} \(.*subject.py:\d+\), for \d+.\d\d s, {how}$", output, re.M
    )
    assert f"in {function}:  " in output
    assert server.stop() == 0
    assert "main starts no worker yet" in server.output()
    assert server.output().count("main starts no worker yet") == 1


def test_a_listener_of_main_that_is_quick_is_not(launch):
    """And nothing is left of the alarm: it would end main."""
    subject = SUPERVISED.with_(
        method="fork", workers=1, listeners={"main_process_start": "block:1"}
    )
    server = launch(subject.with_config(REAPER_SLOW_HANDLER=2.0))
    server.wait_serving()
    assert holds(lambda: not server.command.ended, 2)
    assert "main starts no worker yet" not in server.output()
    assert server.stop() == 0
