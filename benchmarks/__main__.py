"""Run every benchmark and write the page."""

from __future__ import annotations

import argparse
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    cleanup,
    footprint,
    handlers,
    methods,
    requests,
    respawn,
    soak,
    throughput,
)
from benchmarks.peers import page
from benchmarks.support import tidy_when_ended

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"

INTRODUCTION = """\
# Benchmarks

What the Reaper costs and how fast it is. This command writes the page

    python -m benchmarks

in about {minutes:.0f} minutes, with nothing but the package, its dependencies and
[wrk](https://github.com/wg/wrk). Run it on your own machine: the ratios should hold, the absolute
figures will not.

Measured on {machine}.

Every figure is a median, with the smallest and the largest value in brackets. Both
sides of a comparison run side by side or in turn, in the same minutes on the same host. Otherwise
a ratio would mean nothing. Servers, load generator and stopwatch share two cores, so single figures
vary by several per cent from one run to the next. Where that matters the
page shows an interval. Targets stand next to the figures. The
tests of the package never fail because of a figure on this page.
"""


def machine() -> str:
    kernel = f"{platform.system()} {platform.release()} ({platform.machine()})"
    names = ("sanic", "sanic-ext", "uvloop", "sanic-reaper")
    packages = ", ".join(f"{name} {installed(name)}" for name in names)
    return f"{kernel}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from this repository" if name == "sanic-reaper" else "not installed"


def main() -> None:
    tidy_when_ended()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--output", type=Path, default=PAGE, help="default: docs/benchmarks.md")
    output: Path = parser.parse_args().output
    start = time.monotonic()
    # Measured by a command of its own, which needs those servers, root, and half an hour.
    sections = [page.markdown(page.load())] if page.DATA.exists() else []
    for subject in (cleanup, throughput, handlers, requests, footprint, methods, respawn, soak):
        sections.append(subject.measure().markdown())
        print(sections[-1], flush=True)
    minutes = (time.monotonic() - start) / 60
    introduction = INTRODUCTION.format(machine=machine(), minutes=minutes)
    output.write_text("\n".join([introduction, *sections]))
    print(f"written to {output}")


if __name__ == "__main__":
    main()
