"""Where there is no main process there is nothing to supervise, and nothing may break."""

from __future__ import annotations

import subprocess
import sys
from signal import SIGINT, SIGKILL, SIGTERM

import pytest
from support.census import Process, holds, wait_until
from support.http import get
from support.marks import signals
from support.server import SHUTDOWN_TIMEOUT, SLACK, START, SUPERVISED, Server, Subject


def serve(launch, mode: str, subject: Subject = SUPERVISED, **options) -> Server:
    return launch(subject, argv=[sys.executable, "modes.py", mode], **options)


@pytest.mark.smoke
@signals(SIGTERM, SIGINT)
def test_single_process(launch, signum):
    server = serve(launch, "single", SUPERVISED.with_(run={"debug": True}))
    server.wait_for("after_server_start done")
    assert server.get()[0] == 200
    [process] = server.box.rows()
    assert process.process == server.command.process, "no watchdog, no SyncManager"
    server.command.process.send(signum)
    assert server.exit_code() == 0
    assert len(server.events("after_server_stop done")) == 1
    line, up = [line for line in server.output().splitlines() if "[reaper]" in line]
    assert "is up after" in up
    assert "DEBUG" in line
    assert "nothing is supervised" in line


def test_single_process_says_nothing_without_debug(launch):
    server = serve(launch, "single")
    server.wait_for("after_server_start done")
    assert (
        server.get()[0] == 200
    )  # Sanic loses a signal in the moment before its loop runs for good
    server.command.process.send(SIGTERM)
    assert server.exit_code() == 0
    assert "[reaper]" not in server.output()


def test_a_handlers_limit_holds_in_a_single_process(launch):
    subject = SUPERVISED.with_(workers=1, listeners={"before_server_start": "block"})
    server = serve(launch, "single", subject.with_config(REAPER_HANDLER_TIMEOUT=1.0))
    server.wait_gone(START)
    assert server.exit_code() == 1
    assert "has not finished within 1 s (REAPER_HANDLER_TIMEOUT = 1)" in server.output()


def test_create_server(launch):
    server = serve(launch, "create_server")
    server.wait_for("up")
    assert server.get()[0] == 200
    assert len(server.box.rows()) == 1
    server.command.process.send(SIGKILL)
    server.wait_gone(SLACK)


def test_asgi(launch):
    server = serve(launch, "asgi")
    assert server.exit_code(20) == 0, server.output()
    replies = [(event.more["reply"], event.more.get("status")) for event in server.events("asgi")]
    assert replies[:2] == [("lifespan.startup.complete", None), ("http.response.start", 200)]
    assert replies[-1] == ("lifespan.shutdown.complete", None)
    server.wait_gone(SLACK)


def test_an_import_starts_nothing(tmp_path):
    """A module that has an extended app is imported by tools of all kinds."""
    code = (
        "import multiprocessing, os, threading\n"
        "from sanic import Sanic\n"
        "from sanic_reaper import Reaper\n"
        "app = Sanic('Imported')\n"
        "app.extend(extensions=[Reaper])\n"
        "assert threading.active_count() == 1\n"
        "assert not multiprocessing.active_children()\n"
        "import subprocess; assert not subprocess._active\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


# -- several apps ---------------------------------------------------------------------------------


@signals(SIGTERM, SIGKILL)
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_two_apps_with_the_reaper(launch, ports, method, signum):
    """One main, one supervisor; the second app's Reaper leaves it the work."""
    second = ports.take()
    subject = SUPERVISED.with_(method=method)
    server = serve(launch, "two apps", subject, env={"SECOND_PORT": str(second)})
    server.wait_serving()
    assert server.get()[0] == 200
    assert get(second) == (200, "Secondary")
    assert len(server.watchdogs) == 1
    assert "are not supervised" not in server.output()
    server.send(signum)
    server.wait_gone()


@pytest.mark.parametrize("action", ["raise", "sys.exit", "async", "block", "hold_gil"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_handler_of_the_second_app_that_fails(launch, ports, method, action):
    """Its start is a task, beside the first app's: nobody else would ever hear of it."""
    subject = SUPERVISED.with_(method=method, secondary=action)
    server = serve(
        launch,
        "two apps",
        subject.with_config(REAPER_HANDLER_TIMEOUT=2.0),
        env={"SECOND_PORT": str(ports.take())},
    )
    server.wait_gone(START)
    assert server.exit_code() == 1
    [error] = server.errors()
    assert "did not start: its before_server_start handler start_second" in error
    if action in ("async", "block", "hold_gil"):
        assert "took longer than 2 s" in error
        assert server.output().count("    sits in  ") == 1


def test_the_second_app_takes_its_time(launch, ports):
    """Longer than the first one: the worker is up, and ready when both are."""
    second = ports.take()
    subject = SUPERVISED.with_(method="fork", workers=1, secondary="async:3")
    server = serve(
        launch,
        "two apps",
        subject.with_config(REAPER_HANDLER_TIMEOUT=20.0),
        env={"SECOND_PORT": str(second)},
    )
    server.wait_serving()
    assert server.get("/health") == (200, "ready: False")
    wait_until(lambda: server.get("/health") == (200, "ready: True"), 10, server.describe)
    assert get(second) == (200, "Secondary")
    assert server.stop() == 0


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_the_reaper_on_a_secondary_app_only(launch, ports, method):
    """It can't do anything there, and says on which app it could."""
    second = ports.take()
    subject = SUPERVISED.with_(method=method, reaper="")
    server = serve(launch, "secondary", subject, env={"SECOND_PORT": str(second)})
    server.wait_serving()
    assert get(second) == (200, "Secondary")
    assert not server.watchdogs
    warnings = [line for line in server.output().splitlines() if "[reaper]" in line]
    assert len(warnings) == 1, "once, and not once in each worker"
    assert "WARNING" in warnings[0]
    assert "Secondary" in warnings[0]
    assert "Primary" in warnings[0]
    server.send(SIGTERM)
    server.wait_gone(15)


@pytest.mark.parametrize("work", [{}, {"BY_HAND_WORK": "1"}], ids=["no work", "work"])
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_an_app_that_is_started_by_hand_in_a_worker(launch, ports, method, work):
    """What becomes of its start is its user's business: it holds up nothing of the worker's."""
    second = ports.take()
    subject = SUPERVISED.with_(method=method)
    server = serve(
        launch,
        "by hand",
        subject.with_config(REAPER_ENDPOINT="/__reaper__"),
        env={"SECOND_PORT": str(second), **work},
    )
    server.wait_serving()
    wait_until(lambda: server.get("/__reaper__/ready")[0] == 200, 10, server.describe)
    assert server.get("/health") == (200, "ready: True")
    assert server.get()[0] == 200
    if work:  # which begins with the first request, where nothing else tells that it is served
        assert get(second)[0] == 503
    wait_until(lambda: get(second) == (200, "ByHand"), 10, server.describe)

    [victim, other] = server.workers
    victim.send(SIGKILL)
    server.wait_for("after_server_start", 3)
    wait_until(lambda: server.get("/__reaper__/ready")[0] == 200, 10, server.describe)
    assert other.alive
    assert server.stop() == 0


# -- a server that main gives up before it has workers ---------------------------------------------


@pytest.mark.parametrize(
    ("subject", "error"),
    [
        (SUPERVISED.with_(workers=0), "RuntimeError: Cannot serve with no workers"),
        (SUPERVISED.with_(workers=-1), "RuntimeError: Cannot serve with -1 workers"),
        *(
            (
                SUPERVISED.with_(listeners={event: "raise"}),
                "RuntimeError: the database is not there",
            )
            for event in ("main_process_start", "main_process_ready")
        ),
    ],
    ids=["no workers", "fewer than none", "main_process_start", "main_process_ready"],
)
def test_the_users_error_is_the_last_word(launch, subject, error):
    """Sanic asks for the states of workers then, of a SyncManager that has ended."""
    server = launch(subject)
    assert server.exit_code(START) == 1
    server.wait_gone()
    output = server.output()
    assert output.rstrip().endswith(error), output
    assert "BrokenPipeError" not in output
    assert "AttributeError" not in output


# -- one server after another ---------------------------------------------------------------------


def stop_and_go_on(server: Server, count: int) -> list[Process]:
    """Stop the server that runs; return what the script has started since it was launched."""
    server.send(SIGTERM)
    server.wait_for("goes on", count)
    wait_until(lambda: len(server.children) == count, 5, server.describe)
    wait_until(lambda: not server.workers, SHUTDOWN_TIMEOUT, server.describe)
    return server.children


@pytest.mark.parametrize("mode", ["twice", "one after the other"])
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_script_runs_a_server_and_another_one(launch, method, mode):
    """Each is supervised and cleans up, and neither touches what the script has started itself."""
    server = serve(launch, mode, SUPERVISED.with_(method=method, children=["cleaned-daemon"]))
    server.wait_for("all acked")
    first_manager, first_watchdog = server.sync_manager, server.watchdog
    assert server.get()[0] == 200
    wait_until(lambda: len(server.children) == 2, 5, server.describe)
    assert holds(lambda: len(server.children) == 2, 1.5), "the watchdog looks once a second"
    assert len(stop_and_go_on(server, 1)) == 1
    assert not first_manager.alive

    server.wait_for("all acked", 2)
    assert len(server.workers) == 2
    assert server.get()[0] == 200
    wait_until(lambda: not first_watchdog.alive, 5, "the first server's watchdog to end")
    assert server.watchdog != first_watchdog
    own = stop_and_go_on(server, 2)
    assert holds(lambda: server.main.alive and all(child.alive for child in own), SHUTDOWN_TIMEOUT)
    assert "Traceback" not in server.output()
    server.send(SIGTERM)
    assert server.exit_code() == -SIGTERM, "no server is there to turn the signal into a stop"
    wait_until(lambda: len(server.box.rows()) == len(own), 5, server.describe)
    assert holds(lambda: all(child.alive for child in own), 1), "they are the script's"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_main_is_killed_while_the_second_server_runs(launch, method):
    server = serve(launch, "twice", SUPERVISED.with_(method=method, children=["daemon"]))
    server.wait_for("all acked")
    stop_and_go_on(server, 1)
    server.wait_for("all acked", 2)
    server.send(SIGKILL)
    server.wait_gone()


# -- switched off ---------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_switched_off(launch, method):
    """Registered, and otherwise plain Sanic: down to what it leaves."""
    server = launch(SUPERVISED.with_(method=method).with_config(REAPER_ENABLED=False))
    server.wait_serving()
    assert not server.watchdogs
    server.send(SIGKILL)
    assert holds(lambda: len(server.workers) == 2, 1)
    assert "[reaper]" not in server.output()


def test_switched_off_it_stops_as_ever(launch):
    server = launch(SUPERVISED.with_config(REAPER_ENABLED=False))
    server.wait_serving()
    assert server.stop() == 0
    assert len(server.events("after_server_stop done")) == 2
    assert "[reaper]" not in server.output()


# -- in a test of the user's ----------------------------------------------------------------------

TESTING = """
import asyncio
from sanic import Sanic, text
from sanic_reaper import Reaper

app = Sanic("Tested")
app.extend(extensions=[Reaper])
app.add_route(lambda request: text("ok"), "/")

for _ in range(2):
    _, response = app.test_client.get("/")
    assert response.text == "ok"

async def ask():
    _, response = await app.asgi_client.get("/")
    assert response.text == "ok"

asyncio.run(ask())
print("all asked")
"""


def test_sanic_testing(tmp_path):
    """Its clients run a server of one process, twice on the same app, and none at all."""
    command = [sys.executable, "-c", TESTING]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "all asked" in done.stdout
    assert "Traceback" not in done.stderr
    assert "[reaper]" not in done.stdout + done.stderr
