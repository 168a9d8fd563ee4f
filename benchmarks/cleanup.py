"""How long until nothing is left, against the fastest clean-up there can be.

The baseline is a plain Sanic tree of the same shape, every process killed at once through its
pidfd. Even that takes time: the kernel must give back the memory of each process. Both trees are
up side by side and are struck in random order, so that a slow moment of the host hits both.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.report import Section, Table, spread, verdict
from benchmarks.support import (
    Gone,
    Server,
    Shape,
    kill_each,
    kill_main,
    running,
    stop_main,
    tidy_when_ended,
    time_until_gone,
)

METHODS = ("spawn", "fork", "forkserver")
STATES = ("stuck", "idle")
CROWDS = (2, 8, 32, 64, 128)
AT_LEAST = {"stuck": 0.030, "idle": 0.100}
"""Seconds within which the clean-up is fast enough, however fast the baseline is."""


@dataclass(frozen=True)
class Strike:
    """One way to end one kind of server."""

    name: str
    shape: Shape
    blow: Callable[[Server], None]


Results = dict[Strike, list[Gone]]


def strikes(method: str, workers: int = 2) -> list[Strike]:
    """What is compared in one round."""
    found = []
    for state in STATES:
        ours = Shape(True, method, state, workers)
        plain = Shape(False, method, state, workers)
        found.append(Strike("SIGKILL", ours, kill_main))
        found.append(Strike("baseline", plain, kill_each))
    return found


def stops(method: str) -> list[Strike]:
    return [Strike("SIGTERM", Shape(True, method, state), stop_main) for state in STATES]


def one_round(chosen: Sequence[Strike], results: Results) -> None:
    with running(*(strike.shape for strike in chosen)) as servers:
        pairs = list(zip(chosen, servers, strict=True))
        random.shuffle(pairs)
        for strike, server in pairs:
            results[strike].append(time_until_gone(server, strike.blow))


def method_rows(method: str, rounds: int) -> tuple[list[list[str]], list[list[str]]]:
    """The rows of SIGKILL and those of SIGTERM for one start method."""
    results: Results = defaultdict(list)
    for _ in range(rounds):
        one_round([*strikes(method), *stops(method)], results)
    by = {(strike.name, strike.shape.state): gone for strike, gone in results.items()}
    kills = [
        [method, state, *compared(by["SIGKILL", state], by["baseline", state], AT_LEAST[state])]
        for state in STATES
    ]
    terms = [[method, state, *times(by["SIGTERM", state])] for state in STATES]
    return kills, terms


def times(gone: Sequence[Gone]) -> list[str]:
    return [
        spread([g.served for g in gone], 1000),
        spread([g.everything for g in gone], 1000),
    ]


def compared(ours: Sequence[Gone], plain: Sequence[Gone], at_least: float) -> list[str]:
    base = statistics.median(g.everything for g in plain)
    took = statistics.median(g.everything for g in ours)
    limit = max(3 * base, at_least)
    return [
        *times(ours),
        spread([g.everything for g in plain], 1000),
        f"{took / base:.1f}",
        f"{limit * 1000:.0f}",
        verdict(took <= limit),
    ]


Curve = list[tuple[int, float, float]]
"""Workers, seconds until everything was gone, and those of the baseline."""


def scaling_rows(state: str, rounds: int) -> tuple[list[list[str]], str, Curve]:
    """How the time grows with the number of workers, and the sentence that judges it."""
    rows, medians, sizes, curve = [], [], [], []
    for workers in CROWDS:
        results: Results = defaultdict(list)
        chosen = [s for s in strikes("fork", workers) if s.shape.state == state]
        for _ in range(rounds):
            one_round(chosen, results)
        by = {strike.name: gone for strike, gone in results.items()}
        ours, plain = by["SIGKILL"], by["baseline"]
        sizes.append(ours[0].processes)
        medians.append(statistics.median(g.everything for g in ours))
        base = spread([g.everything for g in plain], 1000)
        rows.append([state, str(workers), str(sizes[-1]), *times(ours), base])
        curve.append((workers, medians[-1], statistics.median(g.everything for g in plain)))
    grew, more = medians[-1] / medians[0], sizes[-1] / sizes[0]
    judged = f"{state}: {more:.1f} times the processes took {grew:.1f} times as long. "
    judged += f"Target: no more than {more:.1f} times: {verdict(grew <= more)}."
    return rows, judged, curve


def measure(rounds: int = 5) -> Section:
    section = Section("Cleaning up", f"python -m benchmarks.cleanup --rounds {rounds}")
    ours = ["all but the watchdog, ms", "everything, ms"]
    head = ["start method", "workers", *ours]
    kills = Table([*head, "baseline, ms", "ratio", "target, ms", ""])
    terms = Table(head)
    for method in METHODS:
        killed, stopped = method_rows(method, rounds)
        kills.rows.extend(killed)
        terms.rows.extend(stopped)
    crowd = Table(["workers are", "workers", "processes", *ours, "baseline, ms"])
    judged, curves = [], {}
    for state in STATES:
        rows, sentence, curves[state] = scaling_rows(state, max(3, rounds - 2))
        crowd.rows.extend(rows)
        judged.append(f"- {sentence}")
    section.parts += [
        "SIGKILL to the main process, with two workers that are either stuck in a blocking "
        "`before_server_start` or idle. The ratio is that of *everything* to the baseline. The "
        "target is the larger of three times the baseline and 30 ms (stuck) or 100 ms (idle).",
        kills,
        "SIGTERM to the main process: a graceful stop, so there is no baseline, and the only "
        "target is `REAPER_SHUTDOWN_TIMEOUT`. While workers are stuck, plain Sanic never exits "
        "here.",
        terms,
        "SIGKILL to the main process under fork, with more and more workers.",
        *picture(curves),
        crowd,
        "\n".join(judged),
    ]
    return section


def picture(curves: dict[str, Curve]) -> list[str]:
    """Drawn where there is something to draw with."""
    try:
        from benchmarks.curves import draw
    except ImportError:
        return []
    draw(curves)
    return ["![Seconds until nothing is left, by number of workers](pictures/scaling.svg)"]


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    print(measure(parser.parse_args().rounds).markdown())


if __name__ == "__main__":
    main()
