"""A server under test: started in a box, watched from outside, told apart by what it reports."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .box import Box, Command
from .census import Process, Row, holds, wait_until
from .commands import Said, run
from .http import Exchange, get

SUBJECTS = Path(__file__).parents[1] / "subjects"
START = 30.0
"""Seconds that a start may take on a machine that is busy with three more tests."""

SHUTDOWN_TIMEOUT = 4.0
ORPHAN_GRACE = 2.0
STARTUP_TIMEOUT = 5.0
"""Not shorter: a healthy start has to come as far as its handler, beside three other tests."""
SLACK = 3.0
"""Seconds on top of a configured limit: the watchdog's own second, and a busy machine."""
BOUND = max(SHUTDOWN_TIMEOUT, ORPHAN_GRACE) + SLACK
"""Seconds until nothing is left, whatever has happened to main."""


def without_deprecations(output: str) -> str:
    """Without Python's two lines on each use of what is deprecated. Sanic has them shown."""
    return re.sub(r"^.*:\d+: DeprecationWarning: .*\n  .*\n", "", output, flags=re.M)


@dataclass(frozen=True)
class Subject:
    """What the program under test is to be and to do (`subjects/subject.py`).

    An *action* is `name` or `name:seconds`, see ACTIONS there.
    """

    reaper: str = "class"
    """How the app is extended: `class`, `instance`, `register`, or as `extend` of
    `subjects/subject.py` tells; empty: plain Sanic."""
    method: str = "spawn"
    workers: int = 2
    importing: str = ""
    """The action of the module that has the app, where a worker imports it."""
    successor: str = ""
    """The action of the start of a worker that comes when the server serves already."""
    in_thread: str = ""
    """What a thread of main's does to the workers when they serve; then it ends: THREADS there."""
    listeners: Mapping[str, str] = field(default_factory=dict)
    """The action of each listener, by the name of its event."""
    secondary: str = ""
    """The action of the `before_server_start` listener of a second app (`subjects/modes.py`)."""
    decorate: Mapping[str, Any] = field(default_factory=dict)
    """Decorators of the `before_server_start` listener, by name, with ([arguments], {keywords})."""
    extra_work: Sequence[str] = ()
    """The actions of more `@background` handlers, called `extra_0` and so on."""
    decorate_event: str = "before_server_start"
    """Or of the one of another event."""
    children: Sequence[str] = ()
    """What each worker starts (`subjects/children.py`)."""
    children_first: bool = False
    """Before the other handlers of its start, not after them."""
    main_children: Sequence[str] = ()
    """What main starts."""
    replace_not_ready: bool = False
    """Whether the app has its own answer to a request that comes before background work is done."""
    other_names: bool = False
    """Whether what a worker touches in Sanic for a stop without failed requests is not there."""
    threshold: int = 0
    """What the app sets `WorkerManager.THRESHOLD` to: tenths of a second. 0: it does not."""
    busy_main: float = 0.0
    """Seconds that main is busy with something else after it has started its first worker."""
    late: bool = False
    """Whether forked workers begin when main is dead."""
    successor_stops: bool = False
    """Whether a watchdog that takes another one's place stops before it does anything."""
    late_watchdog: bool = False
    """Whether no watchdog can be started until `Server.let_watchdogs_start`."""
    log: str = ""
    """The format of the app's log: `json`, `own keys`, `two`, or, if empty, Sanic's own
    (LOGS there)."""
    own_inspector: bool = False
    """Whether the app has an Inspector of a class of its own."""
    own_route: str = ""
    """One more path on which the app answers."""
    on_event: str = ""
    """What the app's own hook does with each event, besides leaving it for the test: an action."""
    only_the_watchdog: bool = False
    """Whether an orphaned worker has all the time in the world to be asked to stop."""
    thread: str = ""
    """The name of a thread that runs in main before the workers start."""
    manage: bool | str = False
    """Whether main has a process of the user's; or what that one starts, and then it ends.
    `careless`: it thinks of no interrupt; `handler`: it has a handler of its own for one;
    `ignoring`: it ignores it."""
    manage_name: str = "Custom"
    """What main calls that process."""
    transient: bool = False
    """Whether that process is restarted along with the workers."""
    dies: str = ""
    """How each worker dies, within two seconds of its start: DEATHS there."""
    trap: str = ""
    """The signal that main's own code handles."""
    at_exit: str = ""
    """The action of main's interpreter when it ends."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the app's; those of the Reaper are set after `extend`."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """More arguments for `app.run`."""

    def with_(self, **changes: Any) -> Subject:
        return dataclasses.replace(self, **changes)

    def with_config(self, **keys: Any) -> Subject:
        return self.with_(config={**self.config, **keys})


LIMITS = {"REAPER_SHUTDOWN_TIMEOUT": SHUTDOWN_TIMEOUT, "REAPER_ORPHAN_GRACE": ORPHAN_GRACE}
"""Short ones: what does not end by itself shall not hold up the suite."""

SUPERVISED = Subject(config=LIMITS)
PLAIN = Subject(reaper="")

SCRIPT = [sys.executable, "app.py"]
SHELL_SCRIPT = ["sh", "-c", '"$0" app.py; echo "next line, after $?"', sys.executable]
"""A script that starts the server and goes on after it; both are in one process group."""
CONTAINER_SCRIPT = [
    "setsid",
    "sh",
    "-c",
    'sleep 600 & "$0" app.py; echo "next line, after $?"; '
    'kill $!; wait $!; [ $? = 143 ] && echo "the other lived"',
    sys.executable,
]
"""The same for a container, in which something else runs as well. As PID 1 it leads group 1."""


@dataclass(frozen=True)
class Event:
    """A line that the subject has left."""

    event: str
    pid: int
    start: int
    name: str
    time: float
    more: Mapping[str, Any]


class Server:
    """A subject that runs in a box.

    Args:
        box: where it runs. Closing the box ends it, whatever has become of it.
        folder: where its output goes.
        port: where it listens.
    """

    def __init__(
        self,
        box: Box,
        subject: Subject,
        folder: Path,
        port: int,
        *,
        argv: Sequence[str] = SCRIPT,
        env: Mapping[str, str] | None = None,
        cwd: Path = SUBJECTS,
        output: Path | None = None,
        session: bool = True,
        uid: int | None = None,
    ) -> None:
        self.box = box
        self.subject = subject
        self.port = port
        self._events = box.folder / f"events-{port}"
        self._output = folder / "output"
        own = {
            "SUBJECT": json.dumps(dataclasses.asdict(subject)),
            "EVENTS": str(self._events),
            "PORT": str(port),
            "TMPDIR": str(box.tmp),
            "XDG_RUNTIME_DIR": str(box.folder),
        }
        self.env = {**_clean_environment(), **own, **(env or {})}
        self.command: Command = box.start(
            argv,
            env=self.env,
            cwd=cwd,
            output=output or self._output,
            session=session,
            uid=uid,
        )

    # -- what it says -----------------------------------------------------------------------------

    def events(self, name: str | None = None) -> list[Event]:
        try:
            # What is behind the last end of a line is still being written.
            lines = self._events.read_text().rpartition("\n")[0].splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            fields = json.loads(line)
            known = {key: fields.pop(key) for key in ("event", "pid", "start", "name", "time")}
            if name in (None, known["event"]):
                found.append(Event(**known, more=fields))
        return found

    def wait_for(self, name: str, count: int = 1, within: float = START) -> list[Event]:
        """Wait for `count` events of this name."""

        def enough() -> list[Event]:
            found = self.events(name)
            return found if len(found) >= count else []

        return wait_until(enough, within, lambda: f"{count} x {name!r}\n{self.describe()}")

    def output(self) -> str:
        try:
            return self._output.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def errors(self) -> list[str]:
        """The lines that it has logged as errors."""
        return [line for line in self.output().splitlines() if "ERROR" in line]

    def wait_for_output(self, words: str, within: float = START) -> str:
        """Wait for a line with these words, and return it."""
        return wait_until(
            lambda: next((line for line in self.output().splitlines() if words in line), ""),
            within,
            lambda: f"a line with {words!r}\n{self.describe()}",
        )

    def describe(self) -> str:
        events = ", ".join(f"{event.event} [{event.pid}]" for event in self.events())
        rows = "\n".join(map(str, self.box.rows()))
        return f"events: {events}\nprocesses:\n{rows}\noutput:\n{self.output()}"

    # -- who is who -------------------------------------------------------------------------------

    def process_of(self, event: Event) -> Process | None:
        return self.box.find(event.pid, event.start or None)

    def processes_of(self, events: Sequence[Event]) -> list[Process]:
        found = {self.process_of(event) for event in events}
        return sorted(process for process in found if process is not None)

    @property
    def main(self) -> Process:
        """Sanic's main process, once it has begun to start. Must live when first asked for."""
        if not hasattr(self, "_main"):
            process = self.process_of(self.wait_for("main_process_start")[-1])
            assert process is not None, f"main is gone\n{self.describe()}"
            self._main = process
        return self._main

    @property
    def sync_manager(self) -> Process:
        process = self.box.find(*self.wait_for("sync manager")[-1].more["of"])
        assert process is not None, f"no SyncManager\n{self.describe()}"
        return process

    @property
    def watchdogs(self) -> list[Process]:
        """By command line: its name can't be set everywhere."""
        living = [row.process for row in self.box.rows() if row.state not in "ZX"]
        return [one for one in living if "sanic_reaper.watchdog.entry" in " ".join(one.command)]

    @property
    def watchdog(self) -> Process:
        found = self.watchdogs
        assert len(found) == 1, f"not one watchdog\n{self.describe()}"
        return found[0]

    def wait_watchdog_replaced(self, dead: Process, within: float) -> None:
        """Wait until there is one, and another one than this, and main has heard from it: it waits
        for words then (or somebody has stopped it), and main sleeps again."""

        def replaced() -> bool:
            found = self.watchdogs
            if len(found) != 1 or found[0] == dead:
                return False
            # In this order: main is awake from the moment when the watchdog has answered.
            return (found[0].sleeping or found[0].stopped) and self.main.sleeping

        wait_until(replaced, within, lambda: f"a new watchdog\n{self.describe()}")

    def let_watchdogs_start(self) -> None:
        """For a subject with a `late_watchdog`."""
        starter = self._events.with_name(f"{self._events.name}.starter")
        starter.write_text('#!/bin/sh\nexec "$@"\n')
        starter.chmod(0o755)

    @property
    def family(self) -> dict[str, Process]:
        """The processes that `multiprocessing` runs for main, by name."""
        found = self.wait_for("all acked")[-1].more["family"]
        processes = {name: self.box.find(*identity) for name, identity in found.items()}
        return {name: process for name, process in processes.items() if process is not None}

    def named(self, name: str) -> list[Process]:
        """The living processes that `ps -o comm` shows under this name."""
        rows = self.box.rows()
        return [row.process for row in rows if row.name == name and row.state not in "ZX"]

    @property
    def children(self) -> list[Process]:
        """What the workers have started: each of `subjects/children.py` ends up as a sleep."""
        return self.named("sleep")

    @property
    def zombies(self) -> list[Row]:
        return [row for row in self.box.rows() if row.state == "Z"]

    # -- where it is ------------------------------------------------------------------------------

    def wait_serving(self) -> list[Process]:
        """Wait until main has seen every worker's ack; return the workers."""
        self.wait_for("all acked")
        return self.workers

    def wait_main_stuck(self) -> None:
        """Wait until main sits in a call that does not return.

        As long as it runs it wakes up ten times a second, to look at the states of its workers.
        """

        def asleep() -> bool:
            before = self.main.switches
            return holds(lambda: self.main.switches == before, 0.4)

        wait_until(asleep, 10, "main to be stuck")

    @property
    def workers(self) -> list[Process]:
        """The living workers that serve."""
        return self.processes_of(self.events("after_server_start"))

    def get(self, path: str = "/", timeout: float = 5) -> tuple[int, str]:
        return get(self.port, path, timeout)

    def request(self, path: str) -> Exchange:
        """Send a request and wait until a worker has it."""
        before = len(self.events("request"))
        exchange = Exchange(self.port, path)
        self.wait_for("request", before + 1)
        return exchange

    # -- hurting it -------------------------------------------------------------------------------

    def send(self, signum: int) -> float:
        """Send main a signal; return when."""
        main = self.main
        now = time.monotonic()
        main.send(signum)
        return now

    def send_group(self, signum: int) -> float:
        """Do to main's process group what the terminal does at Ctrl+C."""
        row = self.main.look()
        assert row is not None
        now = time.monotonic()
        os.killpg(row.group, signum)
        return now

    def kill_with_watchdog(self) -> None:
        """Kill main, and its watchdog first; return when both are gone.

        Main is held before that, or it might replace the watchdog.
        """
        victims = (self.watchdog, self.main)
        self.main.freeze()
        for victim in victims:
            victim.send(signal.SIGKILL)
        wait_until(lambda: not any(one.alive for one in victims), 10, self.describe)

    def order(self, message: str) -> None:
        """Have main's manager receive a message, as a worker or the Inspector would send it."""
        self._events.with_name(f"{self._events.name}.order").write_text(message)
        self.send(signal.SIGUSR2)

    # -- what operators ask -----------------------------------------------------------------------

    def ask(self, *arguments: str, uid: int | None = None, cwd: Path = SUBJECTS) -> Said:
        """Run `sanic-reaper` where this server runs."""
        return run(self.box, self.env, self._output.with_name("said"), *arguments, uid=uid, cwd=cwd)

    # -- its end ----------------------------------------------------------------------------------

    def exit_code(self, within: float = BOUND) -> int:
        """The exit code of what was launched. Negative: the signal that killed it."""
        try:
            return self.command.exit_code(within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def wait_gone(self, within: float = BOUND) -> float:
        """Wait until nothing is left in the box; return how long that took."""
        try:
            return self.box.wait_empty(within)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop it, and make sure that it does as it should."""
        self.send(signum)
        code = self.exit_code()
        self.wait_gone()
        return code


def holding_its_sync_manager(action: str) -> dict[str, str]:
    """The environment of a server whose SyncManager does not get so far as to run."""
    return _holding(action)


def holding_its_workers() -> dict[str, str]:
    """The environment of a server whose spawned workers begin when main is dead."""
    return _holding("until-orphaned")


def _holding(action: str) -> dict[str, str]:
    path = [str(SUBJECTS / "held"), str(SUBJECTS), os.environ.get("PYTHONPATH")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, path)), "HOLD": action}


def _clean_environment() -> dict[str, str]:
    """The environment of the tests, without what would configure the server behind our back, and
    without the order to compile every module anew in each process: a third of a start's time."""
    foreign = ("SANIC_", "PYTHONDONTWRITEBYTECODE")
    return {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
