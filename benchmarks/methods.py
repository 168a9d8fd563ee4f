"""The start methods side by side: how long a start takes, and what a worker takes of memory."""

from __future__ import annotations

import argparse
import statistics
import time

from benchmarks.report import Section, Table, spread
from benchmarks.support import Shape, first_answer, launched, running, tidy_when_ended, uss

KB = 1024
METHODS = ("spawn", "fork", "forkserver")


def start_times(method: str, workers: int, launches: int) -> list[float]:
    """Seconds from the launch of main until all workers serve."""
    found = []
    for _ in range(launches):
        began = time.perf_counter()
        with launched(Shape(True, method, workers=workers)) as server:
            server.wait_ready()
            found.append(time.perf_counter() - began)
    return found


def memory(method: str) -> tuple[float, float]:
    """Bytes that come free with a worker, and with the whole server."""
    with running(Shape(True, method)) as servers:
        for _ in range(50):
            first_answer(servers[0])
        workers = [uss(worker.pid) for worker in servers[0].workers()]
        everything = [uss(process.pid) for process in servers[0].tree()]
    return statistics.median(workers), sum(everything)


def measure(launches: int = 5) -> Section:
    table = Table(
        ["start method", "2 workers serve, ms", "8 workers serve, ms", "a worker, MB", "server, MB"]
    )
    for method in METHODS:
        times = [spread(start_times(method, count, launches), 1e3, 0) for count in (2, 8)]
        sizes = [f"{size / KB / KB:.1f}" for size in memory(method)]
        table.rows.append([method, *times, *sizes])
    return Section(
        "Start methods",
        f"python -m benchmarks.methods --launches {launches}",
        [
            f"The smallest Sanic app with the Reaper: {launches} launches. Memory is what no "
            "other process shares, with two workers (the server: main process, helpers, watchdog "
            "and workers).",
            table,
        ],
    )


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=5)
    print(measure(parser.parse_args().launches).markdown())


if __name__ == "__main__":
    main()
