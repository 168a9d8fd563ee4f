"""What the timing of a `before_server_start` handler costs: one handler, called with and without.

In one process, with a pipe to a reader, as a worker has it. What a worker does once is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing import Pipe
from typing import Any

from benchmarks.report import Section, Table, spread, verdict
from sanic_reaper.worker.handlers import describe
from sanic_reaper.worker.in_flight import InFlight
from sanic_reaper.worker.reports import Reports
from sanic_reaper.worker.startup import Startup
from sanic_reaper.worker.stepping import call_with

MORE = 50e-6
"""Seconds that a handler may cost more."""

BATCH = 100


def blocking(app: Any) -> None:
    pass


async def awaiting(app: Any) -> None:
    await asyncio.sleep(0)


async def timed(call: Callable[[], Awaitable[Any]]) -> float:
    """Seconds that one call takes, over a batch of them."""
    began = time.perf_counter()
    for _ in range(BATCH):
        await call()
    return (time.perf_counter() - began) / BATCH


async def compare(handler: Callable[..., Any], limit: float, rounds: int) -> list[list[float]]:
    """The seconds of a call without and with us, in turn."""
    receiver, sender = Pipe(duplex=False)
    start = Startup(0.0, time.monotonic())
    start.send = Reports(sender, start.where, InFlight([])).send
    place = describe(handler)
    found: list[list[float]] = [[], []]
    for _ in range(rounds):
        found[0].append(await timed(lambda: call_with(handler, app=None)))
        found[1].append(
            await timed(lambda: start._run(handler, {"app": None}, place, limit, "the benchmark"))
        )
        while receiver.poll():
            os.read(receiver.fileno(), 1 << 20)
        start.records.clear()
    return found


def measure(rounds: int = 50) -> Section:
    table = Table(["handler", "limit", "without, µs", "with, µs", "more, µs", "target, µs", ""])
    for handler in (blocking, awaiting):
        for limit in (0.0, 30.0):
            plain, ours = asyncio.run(compare(handler, limit, rounds))
            more = statistics.median(ours) - statistics.median(plain)
            shown = [spread(seconds, 1e6) for seconds in (plain, ours)]
            row = [handler.__name__, f"{limit:g} s" if limit else "none", *shown]
            table.rows.append(
                [*row, f"{more * 1e6:.1f}", f"under {MORE * 1e6:.0f}", verdict(more < MORE)]
            )
    return Section(
        "Handlers",
        f"python -m benchmarks.handlers --rounds {rounds}",
        [
            f"A `before_server_start` handler that does nothing: {rounds} rounds of {BATCH} calls.",
            table,
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    print(measure(parser.parse_args().rounds).markdown())


if __name__ == "__main__":
    main()
