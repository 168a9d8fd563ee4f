"""One server of the demo, and one row with its two servers."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO
from urllib.request import ProxyHandler, build_opener

import psutil

from .family import MARKER, Family, cpu_seconds, describe, role_of, state_of_main
from .patience import END_LIMIT, START_LIMIT, Patience, to_answer, to_settle
from .results import WORKERS, Leftover, Outcome, Result, Row

DELAY = 60
"""Seconds that a worker loads in rows about a start, so that the start does not end by itself."""

# The main process looks for the workers' acks ten times a second. It cannot be seen from outside
# when it has seen the last one. So a server must answer for `ACK_TIME` seconds, and its main
# process must wake up `ACK_TURNS` times meanwhile, which takes longer on a busy machine.
ACK_TIME = 0.3
ACK_TURNS = 5


@dataclass(frozen=True)
class Stage:
    """The properties that all servers of one demo share."""

    program: Path
    start_method: str
    marker: str


class Server:
    """A server that runs slow_start.py, in a session of its own so that no Ctrl+C reaches it.

    Args:
        row: its row.
        stage: what all servers share.
        reaper: whether it runs with the Reaper.
        port: its port.
    """

    def __init__(self, row: Row, stage: Stage, *, reaper: bool, port: int) -> None:
        self.row = row
        self.port = port
        self.family = Family(f"{stage.marker}-{row.name}-{reaper}")
        self.reaper = reaper
        self.began = time.monotonic()
        self.start = 0.0  # seconds until it was ready
        self.answers_since: float | None = None
        self.turns_before = 0
        self.output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        settings = {
            MARKER: self.family.marker,
            "SANIC_CUSTOM_DELAY": "0" if row.serving else str(DELAY),
            "SANIC_CUSTOM_REAPER": "yes" if reaper else "no",
            "SANIC_PORT": str(port),
            "SANIC_START_METHOD": stage.start_method,
        }
        if row.limit:
            settings["SANIC_REAPER_HANDLER_TIMEOUT"] = str(row.limit)
        self.main = subprocess.Popen(
            [sys.executable, str(stage.program)],
            env={**environment_without_sanic(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.family.kill()
        self.main.kill()
        self.main.wait()
        self.output.close()

    def is_ready(self) -> bool:
        """Whether the server has reached the state of its row."""
        self.family.look()
        self.start = time.monotonic() - self.began
        if not self.row.serving:
            return self.said().count("Loading for") >= WORKERS
        if self.said().count("Loaded") < WORKERS or not answers(self.port):
            return False
        if self.answers_since is None:
            self.answers_since, self.turns_before = time.monotonic(), self.turns()
        answering = time.monotonic() - self.answers_since
        # Longer if the start took long: the other worker can be behind.
        turned = self.turns() - self.turns_before
        return turned >= ACK_TURNS and answering > max(ACK_TIME, self.start / 8)

    def turns(self) -> int:
        """How often the main process has gone to sleep."""
        with suppress(psutil.Error):
            return int(psutil.Process(self.main.pid).num_ctx_switches().voluntary)
        return 0

    def said(self) -> str:
        """The output of the server so far."""
        return os.pread(self.output.fileno(), 1 << 20, 0).decode(errors="replace")

    def hurt_workers(self, reaper: float) -> Outcome:
        """Kill all workers, and wait until the server answers again or the limit is over."""
        self.family.look()
        # From Sanic's log: under fork a worker looks like the main process from outside.
        pids = {int(pid) for pid in re.findall(r"Starting worker \[(\d+)\]", self.said())}
        killed = [process for process in self.family.living() if process.pid in pids]
        patience = Patience(to_answer(self.start, reaper), [self.main.pid])
        for process in killed:
            process.send_signal(signal.SIGKILL)
        answered = None
        while answered is None and not patience.is_over:
            answered = patience.elapsed if answers(self.port, 5.0) else None
            time.sleep(0.01)
        return Outcome(
            started=True,
            start=round(self.start, 3),
            waited=round(patience.elapsed, 3),
            port_held=is_held(self.port),
            main="idle",
            is_to_answer=True,
            answers_after=None if answered is None else round(answered, 3),
        )

    def hurt(self, reaper: float = 0.0) -> Outcome:
        """Send the signal, wait until no process lives or the limit is over, and count leftovers.

        Args:
            reaper: seconds that the Reaper's server took. 0: this is the Reaper's server.
        """
        if self.row.to_workers:
            return self.hurt_workers(reaper)
        self.family.look()
        used = {process: cpu_seconds(process) for process in self.family.living()}
        seconds = END_LIMIT if self.reaper else to_settle(self.start, reaper - self.row.limit)
        patience = Patience(self.row.limit + seconds, [process.pid for process in used])
        if self.row.signal is not None and self.row.to_group:
            os.killpg(self.main.pid, self.row.signal)
        elif self.row.signal is not None:
            self.main.send_signal(self.row.signal)
        gone = self.family.wait_until_gone(patience)
        waited = patience.elapsed
        shown = self.leftovers(used, patience)
        left = [process for process in shown if process.state != "Z"]
        if gone is None and not left:
            gone = waited  # the last one has exited while they were counted
        return Outcome(
            started=True,
            start=round(self.start, 3),
            waited=round(waited, 3),
            left=len(left),
            port_held=is_held(self.port),
            main=state_of_main(left),
            cpu=round(sum((process.cpu for process in left), 0.0), 1),
            gone_after=None if gone is None else round(gone, 3),
            exit_code=self.main.poll(),
            processes=tuple(shown),
        )

    def leftovers(self, used: dict[psutil.Process, float], patience: Patience) -> list[Leftover]:
        """The leftovers, in the order of their creation."""
        elapsed = patience.elapsed
        self.main.poll()  # reaps it, or it would be counted as a zombie
        self.family.look()
        left = []
        for process in sorted(self.family.members, key=lambda one: (one.create_time(), one.pid)):
            if process.is_running():
                cpu = max(0.0, cpu_seconds(process) - used.get(process, 0.0)) / elapsed
                role = "main" if process.pid == self.main.pid else role_of(process)
                starved = patience.without_cpu(process.pid) / elapsed
                left.append(describe(process, role, round(100 * cpu, 1), round(100 * starved, 1)))
        return left


def play(row: Row, stage: Stage, say: Callable[[str], None]) -> Result:
    """Run one row: with the Reaper, and then as plain Sanic.

    They run one after the other, so that they do not disturb each other's measurement.

    Args:
        row: the row.
        stage: what all servers share.
        say: called with what the demo is doing.
    """
    first, second = free_ports(2)
    say("a server with the Reaper starts")
    with Server(row, stage, reaper=True, port=first) as server:
        late = wait_until_ready([server])
        say("what does the Reaper leave?")
        reaper = did_not_start(server) if late else server.hurt()
    say("a server without the Reaper starts")
    with Server(row, stage, reaper=False, port=second) as server:
        late = wait_until_ready([server])
        say("what does plain Sanic leave?")
        plain = did_not_start(server) if late else server.hurt(reaper.waited)
    return Result(row, plain=plain, reaper=reaper)


def wait_until_ready(servers: Sequence[Server]) -> list[Server]:
    """Wait until servers are ready. Returns those that are not, after `START_LIMIT` seconds."""
    deadline = time.monotonic() + START_LIMIT
    late = list(servers)
    while late := [server for server in late if not server.is_ready()]:
        if time.monotonic() > deadline or all(server.main.poll() is not None for server in late):
            break
        time.sleep(0.05)
    return late


def did_not_start(server: Server) -> Outcome:
    """The outcome of a server that has not reached the state of its row."""
    exit_code = server.main.poll()
    start = round(time.monotonic() - server.began, 3)
    return Outcome(started=False, start=start, exit_code=exit_code, output=server.said()[-2000:])


class CannotRun(Exception):
    """Something that the demo needs is missing."""


def find_example() -> Path:
    """The path of slow_start.py: in the package (an installed wheel) or next to it (a checkout).

    Raises:
        CannotRun: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    places = [folder / "examples" / "slow_start.py" for folder in (package, package.parent)]
    for place in places:
        if place.is_file():
            return place
    raise CannotRun(f"the example is neither at {places[0]} nor at {places[1]}")


def environment_without_sanic() -> dict[str, str]:
    """Our environment without the settings of a server that the user runs from this shell."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SANIC_")}


def free_ports(count: int) -> list[int]:
    """Free ports of the loopback interface, held all at once so that no two are the same."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def is_held(port: int) -> bool:
    """Whether the next server would find the port in use. The test binds it as Sanic does."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return True
        return False


def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether a request to the port is answered with status 200 within `timeout` seconds."""
    without_proxy = build_opener(ProxyHandler({}))
    try:
        with without_proxy.open(f"http://127.0.0.1:{port}/", timeout=timeout) as answer:
            return bool(answer.status == 200)
    except (OSError, HTTPException):
        return False
