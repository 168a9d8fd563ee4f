"""What it costs to ask for the requests in flight, and what it costs a server that nobody asks.

An answer is timed from outside, and the worker itself tells for how long its event loop stood still
meanwhile. Throughput is measured as in `throughput`, with three servers side by side.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from benchmarks.report import Section, Table, spread
from benchmarks.support import BenchmarkError, Server, Shape, running, tidy_when_ended
from benchmarks.throughput import CONNECTIONS, Load, one_turn, ratio, wrk
from sanic_reaper.model.questions import EVERY_REQUEST
from sanic_reaper.state import control, discovery
from sanic_reaper.state.server import Server as Known

CROWDS = (1_000, 10_000)
SPARE = 500
"""Descriptors that client and server need besides those of the requests in flight."""

SHAPES = {
    "without": Shape(False),
    "with": Shape(True, state="full"),
    "with REAPER_SLOW_REQUEST": Shape(True, state="slow"),
}


def allow_descriptors(most: int) -> int:
    """Raise the limit of open files, for this process and its children. Returns what is allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


@contextmanager
def requests_in_flight(server: Server, number: int) -> Iterator[None]:
    """So many requests, each on a connection of its own, that get no answer."""
    clients = []
    try:
        for _ in range(number):
            client = socket.create_connection(("127.0.0.1", server.port), 60)
            clients.append(client)
            client.sendall(b"GET /wait HTTP/1.1\r\nHost: bench\r\n\r\n")
        yield
    finally:
        for client in clients:
            client.close()


def known(server: Server) -> Known:
    """The record of a server that runs."""
    for one in discovery.servers():
        if one.main[0] == server.popen.pid:
            return one
    raise BenchmarkError(f"its state files are not found:\n{server.log()}")


def ask(server: Server) -> tuple[float, int, int]:
    """Seconds until the whole answer was there, the number of requests, and of those in it."""
    [worker] = server.workers()
    record = known(server)
    began = time.perf_counter()
    text = control.ask_for_stack(record.directory, record.run, str(worker.pid), EVERY_REQUEST)
    took = time.perf_counter() - began
    answer = json.loads(text)
    return took, answer["count"], len(answer["requests"])


def longest_pause(server: Server) -> float:
    """Seconds for which the worker's event loop did not turn since this was asked last."""
    with urlopen(f"http://127.0.0.1:{server.port}/pause", timeout=60) as answer:
        return float(answer.read())


def wait_for(server: Server, number: int) -> None:
    deadline = time.monotonic() + 120
    while ask(server)[1] < number:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"fewer than {number} requests arrived:\n{server.log()}")
        time.sleep(0.2)


def answer_table(rounds: int) -> Table:
    head = ["in flight", "in the answer", "answer, ms", "event loop stands still, ms"]
    table = Table(head)
    for crowd in (1, *CROWDS):
        if allow_descriptors(crowd + SPARE) < crowd + SPARE:
            table.rows.append([f"{crowd:,}", "not measured: too few descriptors", "", ""])
            continue
        with (
            running(Shape(True, state="waiting", workers=1)) as [server],
            requests_in_flight(server, crowd),
        ):
            wait_for(server, crowd)
            took, pauses, described = [], [], 0
            for _ in range(rounds):
                longest_pause(server)
                seconds, _, described = ask(server)
                took.append(seconds)
                pauses.append(longest_pause(server))
        row = [f"{crowd:,}", f"{described:,}", spread(took, 1000), spread(pauses, 1000)]
        table.rows.append(row)
    return table


def loads(launches: int, rounds: int) -> dict[str, Load]:
    """Several launches of the three servers, loaded in turn in short rounds."""
    found = {name: Load() for name in SHAPES}
    for launch in range(launches):
        with running(*SHAPES.values()) as servers:
            turns = list(zip(servers, found.values(), strict=True))
            for server in servers:
                wrk(server, 1)
            for turn in range(rounds):
                first = (launch + turn) % len(turns)
                for server, load in turns[first:] + turns[:first]:
                    one_turn(server, 1, load)
    return found


def load_table(launches: int, rounds: int) -> Table:
    table = Table(["", "", "measured", "paired ratio to without", "95 % interval"])
    found = loads(launches, rounds)
    plain = found["without"]
    for name, load in found.items():
        rows = (
            ("requests/s", load.per_second, plain.per_second, 1.0, 0),
            ("99th percentile, ms", load.slowest, plain.slowest, 1000.0, 1),
            ("CPU per request, µs", load.cpu, plain.cpu, 1e6, 1),
        )
        for what, values, others, scale, digits in rows:
            ratios = ratio([a / b for a, b in zip(values, others, strict=True)])
            shown = ["", ""] if load is plain else ratios
            table.rows.append([name, what, spread(values, scale, digits), *shown])
    return table


def measure(launches: int = 2, rounds: int = 12) -> Section:
    command = f"python -m benchmarks.requests --launches {launches} --rounds {rounds}"
    section = Section("Requests in flight", command)
    section.parts += [
        f"`sanic-reaper requests`, one worker, {rounds} questions for each row: how long the "
        "answer takes, from outside, and the longest time for which the worker's event loop did "
        "not turn meanwhile.",
        answer_table(rounds),
    ]
    if shutil.which("wrk"):
        section.parts += [
            f"What it costs while nobody asks: wrk, 1 thread, {CONNECTIONS} keep-alive "
            f"connections, two workers, {launches} launches of the three servers x {rounds} "
            "rounds of one second each, in turn.",
            load_table(launches, rounds),
        ]
    else:
        section.parts.append("wrk is not installed: requests per second were not measured.")
    return section


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    print(measure(options.launches, options.rounds).markdown())


if __name__ == "__main__":
    main()
