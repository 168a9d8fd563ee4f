"""From a worker's SIGKILL to the first answer of its replacement, against a worker's own start."""

from __future__ import annotations

import argparse
import signal
import statistics
import time
from urllib.request import urlopen

from benchmarks.report import Section, Table, spread, verdict
from benchmarks.support import Server, Shape, first_answer, running, tidy_when_ended

RATIO = 1.1


def beginning(server: Server) -> float:
    """When the worker began that answers, in seconds since the epoch."""
    with urlopen(f"http://127.0.0.1:{server.port}/began", timeout=60) as answer:
        return float(answer.read())


def replacements(method: str, launches: int) -> tuple[list[float], list[float]]:
    """Seconds until the replacement answers: from its predecessor's death, and from its start."""
    until, own = [], []
    for _ in range(launches):
        with running(Shape(True, method, workers=1)) as [server]:
            [worker] = server.workers()
            first_answer(server)
            killed = time.time()
            worker.send_signal(signal.SIGKILL)
            first_answer(server)
            answered = time.time()
            until.append(answered - killed)
            own.append(answered - beginning(server))
    return until, own


def measure(launches: int = 7) -> Section:
    table = Table(
        ["start method", "until it answers, ms", "of that its own start, ms", "ratio", "target", ""]
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
            "The only worker gets SIGKILL. The table shows the time until its replacement answers, "
            f"and the part of it that the replacement's own start takes. {launches} launches.",
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
