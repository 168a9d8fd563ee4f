"""The policy of supervision, without a process: standstills, limits, causes, hooks."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from sanic_reaper.config import Settings
from sanic_reaper.events import Event, Hooks
from sanic_reaper.main.recycler import MEASURES
from sanic_reaper.model.recycling import CAUSES, WAYS, Limits
from sanic_reaper.model.stalls import Stall
from sanic_reaper.tree.deaths import cause

# -- a loop that stands still ---------------------------------------------------------------------


def looks(stall: Stall, *moments: float) -> list[float]:
    return [round(stall.check(moment), 3) for moment in moments]


def test_a_standstill_is_counted_from_the_beat_that_does_not_come():
    stall = Stall(every=1.0)
    assert looks(stall, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0) == [0, 0, 0, 0.5, 1.0, 2.0]
    stall.beat()
    assert looks(stall, 3.5, 4.0, 4.5) == [0, 0, 0.5]


def test_time_in_which_nobody_has_looked_does_not_count():
    """The machine was suspended, or main was stopped, for an hour."""
    stall = Stall(every=1.0)
    assert looks(stall, 0.0, 0.5, 3600.5, 3601.0) == [0, 0, 0.5, 1.0]


def test_a_clock_that_stands_still():
    stall = Stall(every=1.0)
    assert looks(stall, 5.0, 5.0, 5.0) == [0, 0, 0]


# -- limits ---------------------------------------------------------------------------------------


class Chance(random.Random):
    """What is told, in turn, and then the last of it for good."""

    def __new__(cls, *_: float) -> Chance:
        return super().__new__(cls)  # on 3.10 it takes no more than a seed

    def __init__(self, *values: float) -> None:
        super().__init__()
        self._values = list(values)

    def random(self) -> float:
        return self._values.pop(0) if len(self._values) > 1 else self._values[0]


def limits(*chances: float, **config: object) -> Limits:
    keys = {f"REAPER_{key.upper()}": value for key, value in config.items()}
    return Limits(Settings.read(keys), Chance(*chances or (0.0,)))


def used(lifetime: float = 0.0, requests: int = 0, memory: int = 0) -> Callable[[str], float]:
    """What measures a worker that has used so much, and nothing else."""
    return {"lifetime": lifetime, "requests": requests, "memory": memory}.__getitem__


def test_each_way_to_recycle_has_its_setting_and_its_measure():
    settings = Settings.read({})
    for way in WAYS:
        assert getattr(settings, way.setting) == 0, "off, unless somebody wants it"
    assert len(set(CAUSES)) == len(WAYS)
    assert MEASURES.keys() == set(CAUSES)


def test_nothing_is_measured_that_has_no_limit():
    measured: list[str] = []

    def measure(cause: str) -> float:
        measured.append(cause)
        return 0.0

    assert limits().exceeded(measure) is None
    assert measured == []
    assert limits(max_requests=100).exceeded(measure) is None
    assert measured == ["requests"]


@pytest.mark.parametrize(
    ("config", "below", "at", "cause", "words"),
    [
        (
            {"max_lifetime": 60},
            {"lifetime": 59.9},
            {"lifetime": 60.0},
            "lifetime",
            "it is 60 s old",
        ),
        (
            {"max_lifetime": 0.5},
            {"lifetime": 0.49},
            {"lifetime": 0.5},
            "lifetime",
            "it is 0 s old",
        ),
        (
            {"max_requests": 100},
            {"requests": 99},
            {"requests": 100},
            "requests",
            "it has served 100 requests",
        ),
        (
            {"max_rss": "2MiB"},
            {"memory": 2 * 1024**2 - 1},
            {"memory": 2 * 1024**2},
            "memory",
            "it takes 2 MiB of memory",
        ),
        (
            {"max_rss": "2TiB"},
            {"memory": 2 * 1024**4 - 1},
            {"memory": 2 * 1024**4},
            "memory",
            "it takes 2097152 MiB of memory",
        ),
    ],
)
def test_a_limit(config, below, at, cause, words):
    assert limits(**config).exceeded(used(**below)) is None
    assert limits(**config).exceeded(used(**at)) == (cause, words)


def test_without_limits_a_worker_lives_for_ever():
    assert limits().exceeded(used(1e9, 10**12, 10**15)) is None


def test_chance_makes_a_limit_smaller_never_larger():
    spread = limits(1.0, max_requests=100, recycle_jitter=0.2)
    assert spread.exceeded(used(requests=79)) is None
    assert spread.exceeded(used(requests=80))
    one = limits(1.0, max_requests=3, recycle_jitter=1.0)
    assert one.exceeded(used()) is None
    assert one.exceeded(used(requests=1))


def test_each_limit_has_a_chance_of_its_own():
    """Or a worker that is recycled early for one reason would be early for all."""
    spread = limits(
        0.1, 0.2, 0.3, max_lifetime=1000, max_requests=1000, max_rss=1000, recycle_jitter=1.0
    )
    for below, at in (
        ({"lifetime": 899.9}, {"lifetime": 900.0}),
        ({"requests": 799}, {"requests": 800}),
        ({"memory": 699}, {"memory": 700}),
    ):
        assert spread.exceeded(used(**below)) is None
        assert spread.exceeded(used(**at))


# -- causes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0,), "exit code 0"),
        ((3,), "exit code 3"),
        ((-11,), "killed by SIGSEGV: a crash in C code"),
        ((-15,), "killed by SIGTERM"),
        ((-9,), "killed by SIGKILL, perhaps by the kernel's OOM killer (see the kernel's log)"),
        (
            (-9, 0),
            "killed by SIGKILL, perhaps by the kernel's OOM killer (but its cgroup counts none)",
        ),
        (
            (-9, 1),
            "killed by SIGKILL, by the kernel's OOM killer (its cgroup counts one more)",
        ),
        ((-9, 1, "did not stop in time"), "killed by SIGKILL: did not stop in time"),
        ((-60,), "killed by signal 60"),
        ((None,), "exit status unknown: something in main has reaped it"),
        (
            (None, 0, "did not stop in time"),
            "killed: did not stop in time (exit status unknown: something in main has reaped it)",
        ),
    ],
)
def test_a_cause(arguments, words):
    assert cause(*arguments) == words


# -- hooks ----------------------------------------------------------------------------------------


def wait_idle(hooks: Hooks) -> None:
    hooks.turn()
    thread = hooks._thread
    if thread is not None:
        thread.join(5)
    assert hooks._thread is None


def test_hooks_hear_what_they_have_asked_for_in_order_and_in_another_thread():
    everything: list[Event] = []
    deaths: list[str] = []
    threads: set[threading.Thread] = set()

    def note(event: Event) -> None:
        everything.append(event)
        threads.add(threading.current_thread())

    hooks = Hooks([(None, note), ("worker.died", lambda event: deaths.append(event.reason))])
    hooks.emit("worker.started", "Sanic-Server-0-0", 7)
    hooks.emit("worker.died", "Sanic-Server-0-0", 7, "an exit", exit_code=3)
    wait_idle(hooks)
    assert [event.name for event in everything] == ["worker.started", "worker.died"]
    assert everything[1][1:3] == ("Sanic-Server-0-0", 7)
    assert everything[1].exit_code == everything[1].exitcode == 3
    assert deaths == ["an exit"]
    assert threading.current_thread() not in threads
    assert not any(thread.is_alive() for thread in threads), "none is left when all is told"


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_hook_that_raises_is_no_harm_to_the_others(error, caplog):
    heard: list[str] = []

    def fail(event: Event) -> None:
        raise error("the pager is broken")

    hooks = Hooks([(None, fail), (None, lambda event: heard.append(event.name))])
    hooks.emit("worker.ready", "Sanic-Server-0-0", 7)
    hooks.emit("worker.died", "Sanic-Server-0-0", 7)
    wait_idle(hooks)
    assert heard == ["worker.ready", "worker.died"]
    assert sum("has failed for" in message for message in caplog.messages) == 2


def test_a_hook_that_blocks_holds_up_neither_us_nor_the_end(monkeypatch):
    monkeypatch.setattr("sanic_reaper.events.PATIENCE", 0.05)
    release = threading.Event()
    hooks = Hooks([(None, lambda event: release.wait(10))])
    for _ in range(5000):
        hooks.emit("worker.blocked", "Sanic-Server-0-0", 7)
    hooks.finish()
    assert len(hooks._waiting) <= 1000
    release.set()


def test_without_hooks_there_is_no_thread():
    hooks = Hooks([])
    hooks.emit("worker.died", "Sanic-Server-0-0", 7)
    hooks.turn()
    assert hooks._thread is None
    assert not hooks._waiting
