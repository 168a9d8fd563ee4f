"""Workers that are worn out are replaced, one at a time, and nobody notices."""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

import pytest
from support.census import holds, wait_until
from support.load import Load
from support.marks import methods, signals
from support.server import PLAIN, START, SUPERVISED

NOTED = SUPERVISED.with_(on_event="note")


@pytest.mark.parametrize(
    ("limit", "reason", "cause"),
    [
        ({"REAPER_MAX_LIFETIME": 3.0}, "s old", "lifetime"),
        ({"REAPER_MAX_REQUESTS": 50}, "requests", "requests"),
        ({"REAPER_MAX_RSS": "1MiB"}, "MiB of memory", "memory"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@methods
def test_no_request_fails_while_every_worker_is_recycled(launch, method, limit, reason, cause):
    server = launch(NOTED.with_(method=method).with_config(**limit))
    server.wait_serving()
    first = {str(event.pid) for event in server.wait_for("after_server_start", 2)[:2]}
    with Load(server.port, clients=6, pause=0.002) as load:
        recycled = server.wait_for("worker.recycled", 3, 2 * START)
        wait_until(lambda: set(load.answers) - first, 10, "a successor to answer")
    assert not load.failures
    assert {event.more["whose"] for event in recycled} == {"Sanic-Server-0-0", "Sanic-Server-1-0"}
    assert all(reason in event.more["reason"] for event in recycled)
    assert {event.more["cause"] for event in recycled} == {cause}
    assert set(load.answers) & first, "and those that were recycled had answered before"
    assert not server.events("worker.died")
    assert server.stop() == 0


def test_one_at_a_time(launch):
    """Each limit is passed at once by all; the next one waits until the last one is gone."""
    subject = NOTED.with_(method="fork", workers=3, listeners={"before_server_stop": "async:0.5"})
    server = launch(subject.with_config(REAPER_MAX_RSS=1))
    server.wait_serving()
    at_most = 4

    def enough() -> bool:
        assert len(server.workers) <= at_most, server.describe()
        return len(server.events("worker.recycled")) >= 4

    wait_until(enough, 2 * START, server.describe)
    times = [event.time for event in server.events("after_server_stop done")]
    starts = [event.time for event in server.events("after_server_start")][3:]
    for ended, started in zip(times, starts[1:], strict=False):
        assert ended < started, "the old one was gone before the next one began"
    assert server.stop() == 0


@methods
def test_a_successor_that_does_not_start_changes_nothing(launch, method):
    server = launch(
        NOTED.with_(method=method, workers=1, successor="raise").with_config(REAPER_MAX_REQUESTS=5)
    )
    [worker] = server.wait_serving()
    for _ in range(10):
        server.get()
    server.wait_for("successor")
    server.wait_for_output("which keeps serving")
    assert holds(lambda: server.get()[0] == 200, 2)
    assert server.workers == [worker]
    assert len(server.events("successor")) == 1, "not again and again"
    assert server.stop() == 0


@methods
def test_a_successor_that_hangs_changes_nothing_either(launch, method):
    subject = NOTED.with_(method=method, workers=1, successor="block")
    # A healthy start must come as far as its handler within the limit: the first one, to serve, and
    # the successor's, to block there.
    server = launch(subject.with_config(REAPER_MAX_REQUESTS=5, REAPER_STARTUP_TIMEOUT=10))
    [worker] = server.wait_serving()
    for _ in range(10):
        server.get()
    server.wait_for("holding")
    server.wait_for_output("which keeps serving")
    wait_until(lambda: server.workers == [worker], START, server.describe)
    assert server.get()[0] == 200
    assert server.stop() == 0


@methods
def test_the_old_one_dies_while_its_successor_starts(launch, method):
    subject = NOTED.with_(method=method, workers=1, successor="async:2")
    server = launch(subject.with_config(REAPER_MAX_REQUESTS=5))
    [worker] = server.wait_serving()
    for _ in range(10):
        server.get()
    server.wait_for("successor")
    worker.send(SIGKILL)
    wait_until(lambda: server.workers and server.workers != [worker], START, server.describe)
    assert server.get()[0] == 200
    assert len(server.events("successor")) == 1, "the successor is the replacement"
    assert server.stop() == 0


@signals(SIGTERM, SIGKILL)
def test_main_ends_in_the_midst_of_it(launch, signum):
    subject = NOTED.with_(method="fork", workers=2, successor="block")
    server = launch(subject.with_config(REAPER_MAX_RSS=1))
    server.wait_serving()
    server.wait_for("successor")
    server.send(signum)
    server.wait_gone()


@methods
def test_a_restart_without_downtime_fails_no_request(launch, method):
    server = launch(SUPERVISED.with_(method=method))
    server.wait_serving()
    first = {str(event.pid) for event in server.wait_for("after_server_start", 2)}
    old = server.workers
    with Load(server.port, clients=6, pause=0.002) as load:
        assert server.get("/restart-without-downtime")[0] == 200
        wait_until(lambda: not any(one.alive for one in old), START, server.describe)
        # Not how many have answered: which process accepts a connection is the kernel's choice.
        wait_until(lambda: set(load.answers) - first, 10, "a new one to answer")
    assert not load.failures
    assert set(load.answers) & first, "and the old ones had answered before"
    assert server.stop() == 0


def test_control_plain_sanic_recycles_nobody(launch):
    server = launch(PLAIN.with_(method="fork").with_config(REAPER_MAX_REQUESTS=5))
    workers = server.wait_serving()
    for _ in range(50):
        server.get()
    assert holds(lambda: server.workers == workers, 2)
