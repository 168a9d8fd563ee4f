"""Play histories, several at a time, and say which have broken an invariant.

In the directory of the tests: `python -m chaos --seconds 60`, or `--count 2000`. It needs root, as
processes are counted in PID namespaces.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from support.http import Ports

from .history import History, draw
from .play import Outcome, play
from .shrink import shrink, source

TRIALS = 3
"""How often a smaller history may pass before it counts as one that passes."""

FIRST_PORTS = 4
"""The suite itself, which may run at the same time, has the ranges before (`support.http`)."""


def main() -> int:
    options = _options()
    first = options.seed if options.seed is not None else random.randrange(10**9)
    print(f"seeds from {first} on; {options.jobs} at a time", flush=True)
    began, total = time.monotonic(), _Total()
    with ProcessPoolExecutor(
        options.jobs, initializer=_take_ports, initargs=(multiprocessing.Value("i", FIRST_PORTS),)
    ) as pool:
        for outcome in _all(pool, first, options):
            total.add(outcome)
            if options.verbose or outcome.violations:
                print(_line(outcome), flush=True)
            if outcome.violations:
                print(outcome.log)
                if options.shrink:
                    print(source(_smallest(outcome.history, options.shrink)), flush=True)
    print(
        f"{total} in {time.monotonic() - began:.0f} s; seeds {first} to {first + total.plays - 1}"
    )
    return 1 if total.violations else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="begin none after that")
    parser.add_argument("--count", type=int, help="play so many, however long it takes")
    parser.add_argument("--seed", type=int, help="of the first; the others follow. Default: chance")
    parser.add_argument("--jobs", type=int, default=8, help="how many at the same time")
    parser.add_argument("--shrink", type=float, default=120.0, metavar="S", help="0: not at all")
    parser.add_argument("--verbose", action="store_true", help="a line for each")
    return parser.parse_args()


def _all(pool: ProcessPoolExecutor, first: int, options: argparse.Namespace) -> Iterator[Outcome]:
    deadline = time.monotonic() + options.seconds
    seed, running = first, set[Future[Outcome]]()

    def more() -> bool:
        if options.count is not None:
            return seed < first + options.count
        return time.monotonic() < deadline

    while running or more():
        while len(running) < options.jobs and more():
            running.add(pool.submit(_play, seed))
            seed += 1
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


_ports: Ports


def _take_ports(counter: multiprocessing.sharedctypes.Synchronized[int]) -> None:
    """Each process has a range of its own."""
    global _ports
    with counter.get_lock():
        os.environ["PYTEST_XDIST_WORKER"] = f"gw{counter.value}"
        counter.value += 1
    _ports = Ports()


def _play(seed: int) -> Outcome:
    return play(draw(seed), _ports)


def _smallest(history: History, seconds: float) -> History:
    ports = Ports()

    def fails(candidate: History) -> bool:
        return any(play(candidate, ports).violations for _ in range(TRIALS))

    return shrink(history, fails, seconds)


class _Total:
    """What came out of all of them."""

    def __init__(self) -> None:
        self.plays = self.violations = self.excused = 0
        self.done: Counter[str] = Counter()
        self.stages: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        self.plays += 1
        self.violations += bool(outcome.violations)
        self.excused += len(outcome.excused)
        self.done += outcome.done
        self.stages[outcome.stage] += 1
        self.codes[str(outcome.code)] += 1

    def __str__(self) -> str:
        lines = [
            f"{count:6} x {what}" for what, count in sorted(self.done.items(), key=lambda i: -i[1])
        ]
        stages = ", ".join(f"{stage} {count}" for stage, count in self.stages.most_common())
        codes = ", ".join(f"{code}: {count}" for code, count in self.codes.most_common())
        return "\n".join(
            [
                *lines,
                f"hit at: {stages}",
                f"exit codes: {codes}",
                f"processes left within a documented limit: {self.excused}",
                f"{self.violations} violations in {self.plays} histories",
            ]
        )


def _line(outcome: Outcome) -> str:
    what = "; ".join(outcome.violations) or "well"
    done = ", ".join(outcome.done)
    return (
        f"{outcome.history.seed}: {outcome.seconds:.1f} s, hit at {outcome.stage}, "
        f"exit code {outcome.code} [{done}]: {what} {outcome.excused or ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
