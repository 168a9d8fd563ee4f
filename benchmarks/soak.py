"""Ten minutes of everything at once: load, killed and hung workers, restarts, scaling, recycling.

What must hold afterwards: exactly the wanted processes, no zombie, and neither main nor the
watchdog has grown, in memory or in descriptors.
"""

from __future__ import annotations

import argparse
import http.client
import random
import signal
import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil

from benchmarks.report import Section, Table, verdict
from benchmarks.support import Server, Shape, running, tidy_when_ended, uss

CLIENTS = 4
PACE = 0.005
"""Seconds that a client pauses between two requests: this is about life and death, not speed."""

WORKERS = range(2, 6)
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

    def is_complete(self) -> bool:
        tree = self._server.tree()
        if any(process.status() == psutil.STATUS_ZOMBIE for process in tree):
            return False
        # Main, its SyncManager, its watchdog, and under spawn a resource tracker.
        own = (
            3 + (self._server.shape.method != "fork") + (self._server.shape.method == "forkserver")
        )
        return len(tree) == own + self.wanted


class Figures:
    """Memory and descriptors of a process, from time to time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.memory: list[int] = []
        self.fds: list[int] = []

    def take(self) -> None:
        self.memory.append(uss(self.pid))
        self.fds.append(len(list(Path(f"/proc/{self.pid}/fd").iterdir())))

    def row(self, name: str) -> tuple[list[str], bool]:
        """A row of the table, and whether it has not grown: the first minute against the last."""
        part = max(1, len(self.memory) // 10)
        first, last = (statistics.median(v) for v in (self.memory[:part], self.memory[-part:]))
        before, after = (statistics.median(v) for v in (self.fds[:part], self.fds[-part:]))
        met = last <= first * (1 + MORE_MEMORY) and after <= before + MORE_FDS
        shown = [f"{first / 1024:.0f}", f"{last / 1024:.0f}", f"{before:.0f}", f"{after:.0f}"]
        return [name, *shown, verdict(met)], met


def soak(seconds: float, method: str, seed: int) -> tuple[Section, bool]:
    with running(Shape(True, method, "soak", workers=3)) as [server]:
        act = Soak(server, seed)
        main, watchdog = Figures(server.popen.pid), Figures(server.watchdog().pid)
        clients = Clients(server.port)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            act.strike()
            time.sleep(EVERY)
            main.take()
            watchdog.take()
        clients.stop()
        complete = _within(SETTLE, act.is_complete)
        same = watchdog.pid == server.watchdog().pid and server.popen.poll() is None
        main_row, main_met = main.row("main")
        watchdog_row, watchdog_met = watchdog.row("watchdog")
    command = f"python -m benchmarks.soak --seconds {seconds:g} --method {method} --seed {seed}"
    blows = ", ".join(f"{name} {count}" for name, count in sorted(act.blows.items()))
    said = ", ".join(f"{word} {count}" for word, count in clients.answers.most_common())
    table = Table(
        ["process", "memory, first KB", "last KB", "descriptors, first", "last", "no growth"],
        [main_row, watchdog_row],
    )
    parts: list[str | Table] = [
        f"{seconds:g} s, {method}, seed {seed}; a blow each {EVERY:g} s: {blows}; workers are also "
        "recycled by age and by requests meanwhile.",
        f"{CLIENTS} clients were answered: {said}.",
        f"Afterwards exactly the wanted processes ({act.wanted} workers), no zombie: "
        f"{verdict(complete)}; the same main and watchdog as before: {verdict(same)}.",
        table,
    ]
    return Section("Soak", command, parts), complete and same and main_met and watchdog_met


def _within(seconds: float, condition: object) -> bool:
    assert callable(condition)
    by = time.monotonic() + seconds
    while time.monotonic() < by:
        with suppress(psutil.NoSuchProcess):
            if condition():
                return True
        time.sleep(0.2)
    return False


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
