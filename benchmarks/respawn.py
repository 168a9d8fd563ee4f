"""From a worker's SIGKILL to the first answer of its replacement, against a worker's own start."""

from __future__ import annotations

import argparse
import re
import signal
import statistics
import time

from benchmarks.report import Section, Table, spread, verdict
from benchmarks.support import Server, Shape, first_answer, running, tidy_when_ended

RATIO = 1.1


def start_times(server: Server) -> list[float]:
    """What the workers have said of their starts so far."""
    return [float(seconds) for seconds in re.findall(r"is up after ([\d.]+) s", server.log())]


def replacements(method: str, launches: int) -> tuple[list[float], list[float]]:
    """Seconds until the replacement answers, and seconds that its own start has taken."""
    until, own = [], []
    for _ in range(launches):
        with running(Shape(True, method, workers=1)) as [server]:
            [worker] = server.workers()
            first_answer(server)
            killed = time.perf_counter()
            worker.send_signal(signal.SIGKILL)
            until.append(first_answer(server) - killed)
            own.append(start_times(server)[-1])
    return until, own


def measure(launches: int = 7) -> Section:
    table = Table(
        ["start method", "until it answers, ms", "its own start, ms", "ratio", "target", ""]
    )
    for method in ("spawn", "fork", "forkserver"):
        until, own = replacements(method, launches)
        ratio = statistics.median(a / b for a, b in zip(until, own, strict=True))
        shown = [spread(values, 1000, 0) for values in (until, own)]
        table.rows.append([method, *shown, f"{ratio:.2f}", f"{RATIO}", verdict(ratio <= RATIO)])
    return Section(
        "Replacement",
        f"python -m benchmarks.respawn --launches {launches}",
        [
            "The only worker is killed by SIGKILL; its own start is what its line in the log says, "
            f"from the start of the process to the end of its handlers. {launches} launches.",
            table,
        ],
    )


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--launches", type=int, default=7)
    print(measure(parser.parse_args().launches).markdown())


if __name__ == "__main__":
    main()
