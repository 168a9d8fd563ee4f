"""Requests per second and the time to the first answer, with the Reaper and without it.

The Reaper has no work per request, so the true ratio should be 1. To show that on a noisy host,
both servers are loaded in turn in many short rounds, and each round yields one ratio. The CPU time
that a server spends on a request is far steadier than the requests per second, which depend on
how the connections fell upon the workers: it stands beside them as a second witness.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from benchmarks.report import Section, Table, interval, spread, verdict
from benchmarks.support import (
    BenchmarkError,
    Server,
    Shape,
    cpu_seconds,
    first_answer,
    launched,
    running,
    tidy_when_ended,
)

CONNECTIONS = 16
RATIO = 0.99
LATER = 0.060
"""Seconds by which the first 200 may come later."""


@dataclass
class Load:
    """What the rounds gave for one of the two servers."""

    per_second: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    """Seconds within which 99 of 100 answers came."""
    cpu: list[float] = field(default_factory=list)
    """Seconds of CPU for one request, over the whole tree: main, helpers and watchdog too."""


@dataclass(frozen=True)
class Said:
    """What wrk has counted: requests, those per second, and the 99th percentile in seconds."""

    count: int
    rate: float
    slowest: float


UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


def wrk(server: Server, seconds: int) -> Said:
    """Load one server."""
    url = f"http://127.0.0.1:{server.port}/"
    command = ["wrk", "--latency", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    count = re.search(r"(\d+) requests in", said)
    slowest = re.search(r"99%\s+([\d.]+)(us|ms|s)", said)
    if rate is None or count is None or slowest is None or "Non-2xx" in said:
        raise BenchmarkError(f"wrk said:\n{said}\n{server.log()}")
    return Said(int(count[1]), float(rate[1]), float(slowest[1]) * UNITS[slowest[2]])


def one_turn(server: Server, seconds: int, load: Load) -> None:
    pids = [process.pid for process in server.tree()]
    before = sum(map(cpu_seconds, pids))
    said = wrk(server, seconds)
    load.per_second.append(said.rate)
    load.slowest.append(said.slowest)
    load.cpu.append((sum(map(cpu_seconds, pids)) - before) / said.count)


def loads(method: str, launches: int, rounds: int, seconds: int = 1) -> tuple[Load, Load]:
    """Several launches, since two processes of the same program are seldom equally fast."""
    ours, plain = Load(), Load()
    for launch in range(launches):
        with running(Shape(True, method, "full"), Shape(False, method)) as servers:
            turns = list(zip(servers, (ours, plain), strict=True))
            for server in servers:
                wrk(server, 1)
            for turn in range(rounds):
                order = turns if (launch + turn) % 2 else turns[::-1]
                for server, load in order:
                    one_turn(server, seconds, load)
    return ours, plain


def load_table(launches: int, rounds: int) -> Table:
    table = Table(["", "with", "without", "paired ratio", "95 % interval", "target", ""])
    ours, plain = loads("spawn", launches, rounds)
    faster = [a / b for a, b in zip(ours.per_second, plain.per_second, strict=True)]
    dearer = [a / b for a, b in zip(ours.cpu, plain.cpu, strict=True)]
    shown = [spread(load.per_second, digits=0) for load in (ours, plain)]
    table.rows.append(["requests/s", *shown, *ratio(faster), f"at least {RATIO}", judge(faster)])
    slower = [a / b for a, b in zip(ours.slowest, plain.slowest, strict=True)]
    shown = [spread(load.slowest, 1000) for load in (ours, plain)]
    table.rows.append(["99th percentile, ms", *shown, *ratio(slower), "", ""])
    shown = [spread(load.cpu, 1e6) for load in (ours, plain)]
    table.rows.append(["CPU per request, µs", *shown, *ratio(dearer), "", ""])
    return table


def ratio(values: list[float]) -> list[str]:
    low, high = interval(values)
    return [f"{statistics.median(values):.3f}", f"{low:.3f} to {high:.3f}"]


def judge(ratios: list[float]) -> str:
    """Whether the target is met, and whether this host was quiet enough to tell."""
    low, high = interval(ratios)
    word = verdict(statistics.median(ratios) >= RATIO)
    return f"{word}, within the noise" if low < RATIO <= high else word


def first_200(shape: Shape) -> float:
    """Seconds from exec to the first 200."""
    start = time.perf_counter()
    with launched(shape) as server:
        return first_answer(server) - start


def start_table(rounds: int) -> Table:
    head = ["start method", "with, ms", "without, ms", "later by, ms", "target, ms", ""]
    table = Table(head)
    for method in ("spawn", "fork"):
        took: dict[bool, list[float]] = {True: [], False: []}
        first_200(Shape(True, method))  # unmeasured: it may have modules to compile
        for turn in range(rounds):
            for reaper in (True, False) if turn % 2 else (False, True):
                took[reaper].append(first_200(Shape(reaper, method)))
        later = [a - b for a, b in zip(took[True], took[False], strict=True)]
        shown = [spread(values, 1000, 0) for values in (took[True], took[False], later)]
        met = verdict(statistics.median(later) <= LATER)
        table.rows.append([method, *shown, f"at most {LATER * 1000:.0f}", met])
    return table


def measure(launches: int = 4, rounds: int = 12) -> Section:
    command = f"python -m benchmarks.throughput --launches {launches} --rounds {rounds}"
    section = Section("Throughput and start", command)
    if shutil.which("wrk"):
        section.parts += [
            f"wrk, 1 thread, {CONNECTIONS} keep-alive connections, two workers, heartbeats and "
            "every limit of recycling on, "
            f"{launches} launches of both servers x {rounds} rounds of one second each, in turn. "
            "The paired ratio is the median of the ratios of the rounds. The interval shows how "
            "far chance alone could move it.",
            load_table(launches, rounds),
        ]
    else:
        section.parts.append("wrk is not installed: requests per second were not measured.")
    section.parts += [
        f"From exec to the first 200, two workers, {rounds} starts of each, in turn.",
        start_table(rounds),
    ]
    return section


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    print(measure(options.launches, options.rounds).markdown())


if __name__ == "__main__":
    main()
