"""What the Reaper takes while nothing happens: memory of the watchdog and the workers, CPU time.

Memory is USS, the bytes that come free when the process ends. What two processes share does not
count, so a bare interpreter of the same version runs beside the watchdog, and a plain server beside
the one with the Reaper: each side then shares the same files.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from urllib.request import urlopen

from benchmarks.report import Section, Table, spread, verdict
from benchmarks.support import (
    WATCHDOG,
    BenchmarkError,
    Server,
    Shape,
    cpu_seconds,
    first_answer,
    pss,
    running,
    tidy_when_ended,
    uss,
)

CROWD = 2000
KB, MB = 1024, 1024 * 1024
MORE_WATCHDOG = 3 * MB
MORE_WORKER = 300 * KB
MORE_MAIN = 0.001
SHARE = 0.002
ORDINARY = 20
"""Routes that an ordinary app has more than the smallest."""
WITHOUT = ("", "children", "pidfd", "children,pidfd")
"""Mechanisms of the kernel that are denied to the Reaper, as on an older or smaller one."""

BARE = "import time; time.sleep(1000)"
FORKING = """
import os, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        os.read(0, 1)
        os._exit(0)
print(flush=True)
os.read(0, 1)
"""
"""Its children wait for the end of their input: they cannot outlive the benchmark, even if that
is killed, and nobody has to find and end 2,000 processes."""


@contextmanager
def crowd(number: int) -> Iterator[None]:
    """A host with many other processes."""
    parent = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FORKING, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin
    assert parent.stdout
    try:
        parent.stdout.readline()
        yield
    finally:
        parent.stdin.close()
        parent.wait()
        parent.stdout.close()


@contextmanager
def bare_python() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", BARE])
    try:
        time.sleep(0.3)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def shares(servers: Sequence[Server], seconds: float) -> list[float]:
    """The share of a core that each watchdog took, all of them over the same stretch of time."""
    pids = [server.watchdog().pid for server in servers]
    start, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)
    took = time.perf_counter() - start
    return [(cpu_seconds(pid) - b) / took for pid, b in zip(pids, before, strict=True)]


def watchdog_tables(seconds: float) -> tuple[Table, Table]:
    """Memory and CPU time of the watchdogs, one server for each set of missing mechanisms."""
    memory = Table(["the Reaper does without", "watchdog, KB", "over bare, KB", "target, KB", ""])
    cpu = Table(["the Reaper does without", "few processes, %", f"+{CROWD}, %", "target, %", ""])
    shapes = [Shape(True, without=without) for without in WITHOUT]
    with running(*shapes) as servers, bare_python() as bare:
        quiet = shares(servers, seconds / 4)
        with crowd(CROWD):
            time.sleep(3)
            busy = shares(servers, seconds)
            for server, few, many in zip(servers, quiet, busy, strict=True):
                name = server.shape.without or "nothing"
                size = uss(server.watchdog().pid)
                more = judged(size - uss(bare), MORE_WATCHDOG)
                memory.rows.append([name, str(size // KB), *more])
                figures = [f"{share * 100:.3f}" for share in (few, many, SHARE)]
                cpu.rows.append([name, *figures, verdict(many < SHARE)])
    return memory, cpu


def judged(more: float, most: int) -> list[str]:
    """In KB: how much more it is, what it may be, and whether that holds."""
    return [f"{more / KB:.0f}", f"at most {most // KB}", verdict(more <= most)]


def worker_sizes(server: Server) -> list[int]:
    """The workers of a server that has answered, so that what is loaded late is there too."""
    for _ in range(50):
        first_answer(server)
    return [uss(worker.pid) for worker in server.workers()]


def collected_sizes(server: Server) -> list[int]:
    """The same, once each of them has had a full collection."""
    workers = {worker.pid for worker in server.workers()}
    deadline = time.monotonic() + 60
    while workers:
        with urlopen(f"http://127.0.0.1:{server.port}/collect", timeout=60) as answer:
            workers.discard(int(answer.read()))
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{workers} never answered:\n{server.log()}")
    return [uss(worker.pid) for worker in server.workers()]


SIZERS: dict[int, dict[str, Callable[[Server], list[int]]]] = {
    0: {"smallest": worker_sizes, "smallest, after a full collection": collected_sizes},
    ORDINARY: {f"{ORDINARY} routes more": worker_sizes},
}
"""By the number of routes more: what is asked of each server, one after the other."""


def worker_table(launches: int) -> Table:
    head = ["start method", "app", "with, KB", "without, KB", "more, KB", "target, KB", ""]
    table = Table(head)
    for method in ("spawn", "fork"):
        for routes, sizers in SIZERS.items():
            found: dict[str, tuple[list[int], list[int]]] = {app: ([], []) for app in sizers}
            for _ in range(launches):
                ours = Shape(True, method, "full", routes=routes)
                with running(ours, Shape(False, method, routes=routes)) as servers:
                    for app, sizes in sizers.items():
                        for server, those in zip(servers, found[app], strict=True):
                            those += sizes(server)
            table.rows += [[method, app, *worker_memory(*both)] for app, both in found.items()]
    return table


def worker_memory(ours: list[int], plain: list[int]) -> list[str]:
    more = statistics.median(ours) - statistics.median(plain)
    return [*(spread(sizes, 1 / KB, 0) for sizes in (ours, plain)), *judged(more, MORE_WORKER)]


def idle_table(seconds: float) -> Table:
    """The share of a core that main takes, and its SyncManager for it, while nobody asks."""
    head = ["start method", "main, %", "plain main, %", "SyncManager, %", "plain, %", "more", ""]
    table = Table(head)
    for method in ("spawn", "fork"):
        with running(Shape(True, method, "full"), Shape(False, method)) as servers:
            time.sleep(2)
            pids = [pid for server in servers for pid in (server.popen.pid, sync_manager(server))]
            start, before = time.perf_counter(), [cpu_seconds(pid) for pid in pids]
            time.sleep(seconds)
            took = time.perf_counter() - start
            used = [(cpu_seconds(pid) - b) / took for pid, b in zip(pids, before, strict=True)]
        main, manager, plain, plain_manager = used
        more = main - plain
        shown = [f"{share * 100:.3f}" for share in (main, plain, manager, plain_manager)]
        table.rows.append([method, *shown, f"{more * 100:+.3f}", verdict(more <= MORE_MAIN)])
    return table


def tree_table(launches: int) -> Table:
    head = ["start method", "with, MB", "without, MB", "more, MB"]
    table = Table(head)
    for method in ("spawn", "fork", "forkserver"):
        sizes: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(launches):
            with running(Shape(True, method, "full"), Shape(False, method)) as servers:
                for server in servers:
                    first_answer(server)
                    total = sum(pss(process.pid) for process in server.tree())
                    sizes[server.shape.reaper].append(total / MB)
        more = statistics.median(sizes[True]) - statistics.median(sizes[False])
        shown = [spread(sizes[reaper]) for reaper in (True, False)]
        table.rows.append([method, *shown, f"{more:+.1f}"])
    return table


def sync_manager(server: Server) -> int:
    """The oldest child of main that is no tracker and no watchdog."""
    for child in server.tree()[1:]:
        line = " ".join(child.cmdline())
        if child.name() != WATCHDOG and "resource_tracker" not in line:
            return child.pid
    raise BenchmarkError(f"{server.shape} has no SyncManager")


def measure(seconds: float = 45, launches: int = 5) -> Section:
    command = f"python -m benchmarks.footprint --seconds {seconds:g} --launches {launches}"
    memory, cpu = watchdog_tables(seconds)
    return Section(
        "Footprint",
        command,
        [
            "The watchdog's memory, compared with a bare `python -I -S` of the same version, "
            f"after {seconds:g} s among {CROWD} other processes.",
            memory,
            "The watchdog's CPU time as a share of one core while the servers are idle: on this "
            f"host as it is ({seconds / 4:g} s), and with {CROWD} more processes ({seconds:g} s).",
            cpu,
            f"The memory of one worker, after the server has answered: {launches} launches of "
            "both, two workers, heartbeats and every recycling limit on. After the start, the "
            "Reaper makes the C library give back unused memory (`malloc_trim`, about 190 KB). "
            "Plain Sanic does not. A forked worker shares the main process's pages until it "
            "writes to them. The first full collection of its garbage collector writes to most of "
            "them. The Reaper excludes what came from the main process from collections "
            "(`gc.freeze`). In plain Sanic that collection happens while the worker starts, "
            "unless the app is as small as the first one here.",
            worker_table(launches),
            "The whole server with two workers, helpers and watchdog: proportional set size (PSS).",
            tree_table(launches),
            f"CPU time without any request, over {seconds / 2:g} s. The target is at most 0.1 % of "
            "a core more than plain Sanic's main process.",
            idle_table(seconds / 2),
        ],
    )


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45)
    parser.add_argument("--launches", type=int, default=5)
    options = parser.parse_args()
    print(measure(options.seconds, options.launches).markdown())


if __name__ == "__main__":
    main()
