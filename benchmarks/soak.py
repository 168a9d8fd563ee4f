"""Ten minutes of everything at once: load, killed and hung workers, restarts, scaling, recycling.

What must hold afterwards: exactly the wanted processes, no zombie, and neither main nor the
watchdog has grown, in memory or in descriptors.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.report import Section, Table, verdict
from benchmarks.support import Server, Shape, running, tidy_when_ended, uss

CLIENTS = 4
PACE = 0.005
"""Seconds that a client pauses between two requests: this is about life and death, not speed."""

FEWEST = 2
WORKERS = range(FEWEST, 6)
EVERY = 2.0
"""Seconds between two blows."""

SETTLE = 20.0
"""Seconds until the server must be what is wanted once nobody hurts it any more."""

MORE_FDS = 4
MORE_MEMORY = 0.05
"""The share by which memory may grow between the first minute and the last."""


class Clients:
    """They keep their connections, and count."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        self._port = port
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        while not self._over.wait(PACE):
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                self.answers[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()


class Soak:
    """One server, and what is done to it."""

    def __init__(self, server: Server, seed: int) -> None:
        self.blows: Counter[str] = Counter()
        self.wanted = server.shape.workers
        self._server = server
        self._main = psutil.Process(server.popen.pid)
        self._chance = random.Random(seed)

    def servers(self) -> list[psutil.Process]:
        """The children of main that hold its port, but for those that main has for itself."""
        helpers = {"reaper-watchdog"}
        found = []
        for child in self._main.children():
            with suppress(psutil.Error):
                line = " ".join(child.cmdline())
                if child.name() not in helpers and "resource_tracker" not in line:
                    found.append(child)
        return found[1:]  # the oldest is the SyncManager

    def strike(self) -> None:
        blow = self._chance.choice([self.kill, self.kill, self.restart, self.scale, self.hang])
        self.blows[blow.__name__] += 1
        blow()

    def kill(self) -> None:
        victims = self.servers()
        if victims:
            with suppress(psutil.NoSuchProcess):
                self._chance.choice(victims).send_signal(signal.SIGKILL)

    def restart(self) -> None:
        self._ask(f"/restart/{self._chance.randint(0, 1)}")

    def scale(self) -> None:
        number = self._chance.choice([n for n in WORKERS if n != self.wanted])
        if self._ask(f"/scale/{number}"):
            self.wanted = number

    def hang(self) -> None:
        self._ask("/hang", patience=0.2)

    def _ask(self, path: str, patience: float = 10.0) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=patience)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def go_on(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.strike()
            time.sleep(EVERY)

    def settle(self) -> bool:
        """Whether the server comes to be what is wanted once nobody hurts it any more."""
        by = time.monotonic() + SETTLE
        while time.monotonic() < by:
            if self.wanted != FEWEST and self._ask(f"/scale/{FEWEST}"):
                self.wanted = FEWEST
            with suppress(psutil.NoSuchProcess):
                if self.wanted == FEWEST and self.is_complete():
                    return True
            time.sleep(0.5)
        return False

    def is_complete(self) -> bool:
        tree = self._server.tree()
        if any(process.status() == psutil.STATUS_ZOMBIE for process in tree):
            return False
        # Main, its SyncManager, its watchdog, and under spawn a resource tracker.
        own = (
            3 + (self._server.shape.method != "fork") + (self._server.shape.method == "forkserver")
        )
        return len(tree) == own + self.wanted


class Figures(NamedTuple):
    """Memory and descriptors of a process at one moment."""

    memory: int
    fds: int

    @classmethod
    def of(cls, pid: int) -> Figures:
        return cls(uss(pid), len(list(Path(f"/proc/{pid}/fd").iterdir())))


def compare(name: str, first: Figures, last: Figures) -> tuple[list[str], bool]:
    """A row of the table, and whether the process has not grown."""
    met = last.memory <= first.memory * (1 + MORE_MEMORY) and last.fds <= first.fds + MORE_FDS
    shown = [f"{first.memory / 1024:.0f}", f"{last.memory / 1024:.0f}", str(first.fds)]
    return [name, *shown, str(last.fds), verdict(met)], met


def soak(seconds: float, method: str, seed: int) -> tuple[Section, bool]:
    with running(Shape(True, method, "soak", workers=FEWEST)) as [server]:
        pids = (server.popen.pid, server.watchdog().pid)
        act, clients = Soak(server, seed), Clients(server.port)
        act.go_on(seconds / 10)  # what is loaded late and cached once is no growth
        complete = act.settle()
        first = [Figures.of(pid) for pid in pids]
        act.go_on(seconds * 9 / 10)
        complete = act.settle() and complete
        last = [Figures.of(pid) for pid in pids]
        clients.stop()
        same = pids == (server.popen.pid, server.watchdog().pid) and server.popen.poll() is None
    rows = [compare(*of) for of in zip(("main", "watchdog"), first, last, strict=True)]
    command = f"python -m benchmarks.soak --seconds {seconds:g} --method {method} --seed {seed}"
    blows = ", ".join(f"{name} {count}" for name, count in sorted(act.blows.items()))
    said = ", ".join(f"{word} {count}" for word, count in clients.answers.most_common())
    head = ["process", "memory, first KB", "last KB", "descriptors, first", "last", "no growth"]
    parts: list[str | Table] = [
        f"{seconds:g} s, {method}, seed {seed}; a blow every {EVERY:g} s: {blows}. Workers are "
        "also recycled by age and by requests.",
        f"What {CLIENTS} clients got: {said}. Requests fail only in workers that are killed or "
        "made to hang.",
        f"After the first tenth, and at the end, the server was scaled to {FEWEST} workers. "
        f"Exactly the wanted processes, no zombie: {verdict(complete)}. "
        f"The same main process and watchdog: {verdict(same)}.",
        Table(head, [row for row, _ in rows]),
    ]
    met = complete and same and all(met for _, met in rows)
    return Section("Soak", command, parts), met


def measure(seconds: float = 600.0, method: str = "spawn", seed: int = 1) -> Section:
    return soak(seconds, method, seed)[0]


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--method", default="spawn", choices=["spawn", "fork", "forkserver"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    section, met = soak(options.seconds, options.method, options.seed)
    print(section.markdown())
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
