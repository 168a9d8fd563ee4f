"""Measure every cell of the comparison, write what came out as JSON, and draw it.

`python -m benchmarks.peers` takes about half an hour; `--only` and `--rows` take words of names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from support.http import Ports

from benchmarks.peers import page
from benchmarks.peers.drawing import heat_map
from benchmarks.peers.measure import LIMIT, measure
from benchmarks.peers.scenarios import SCENARIOS, Scenario
from benchmarks.peers.servers import GRACE, PEERS, WRAPPERS, Peer


def main() -> None:
    options = _options()
    if not options.draw:
        _measure(options)
    data = page.load(options.output)
    heat_map(data)
    print(page.markdown(data))


def _measure(options: argparse.Namespace) -> None:
    peers = [peer for peer in PEERS if _wanted(peer.name, options.only)]
    rows = [row for row in SCENARIOS if _wanted(row.name, options.rows)]
    cells = [
        (peer, wrapper, row)
        for row in rows
        for wrapper in (WRAPPERS if options.wrappers is None else options.wrappers)
        for peer in peers
        if not (wrapper and peer.alone)
    ]
    began, results = time.monotonic(), []
    with ProcessPoolExecutor(options.jobs) as pool:
        for result in pool.map(_cell, cells):
            results.append(result)
            print(_line(result), flush=True)
    minutes = (time.monotonic() - began) / 60
    about = {"machine": _machine(), "grace": GRACE, "limit": LIMIT, "minutes": round(minutes)}
    data = {**about, "cells": _merged(options.output, results)}
    options.output.write_text(json.dumps(data, indent=1) + "\n")
    print(f"{len(results)} cells in {minutes:.0f} minutes, written to {options.output}")


def _merged(path: Path, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What was measured before, where it was not measured again now."""
    known = page.load(path)["cells"] if path.exists() else []
    by = {(cell["name"], cell["wrapper"], cell["row"]): cell for cell in [*known, *results]}
    return list(by.values())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", action="append", metavar="WORD", help="these servers")
    parser.add_argument("--rows", action="append", metavar="WORD", help="these scenarios")
    parser.add_argument("--wrappers", action="append", choices=list(WRAPPERS), help="default: all")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time")
    parser.add_argument("--output", type=Path, default=page.DATA)
    parser.add_argument("--draw", action="store_true", help="from what was measured before")
    return parser.parse_args()


def _wanted(name: str, words: list[str] | None) -> bool:
    return not words or any(word.lower() in name.lower() for word in words)


_ports: Ports | None = None


def _cell(what: tuple[Peer, str, Scenario]) -> dict[str, Any]:
    global _ports
    if _ports is None:  # a range for each process, away from those of the tests
        os.environ["PYTEST_XDIST_WORKER"] = f"gw{8 + os.getpid() % 6}"
        _ports = Ports()
    peer, wrapper, scenario = what
    try:
        cell = measure(peer, list(WRAPPERS[wrapper]), scenario, _ports).as_dict()
    except AssertionError as error:
        cell = {"note": str(error).splitlines()[0]}
    return {"peer": peer.title, "name": peer.name, "wrapper": wrapper, "row": scenario.name, **cell}


def _line(result: dict[str, Any]) -> str:
    where = f"{result['row']} | {result['name']} | {result['wrapper'] or '-'}"
    if result.get("note"):
        return f"{where}: {result['note']}"
    seconds = "never" if result["seconds"] is None else f"{result['seconds']:.2f} s"
    more = [f"{key} {result[key]}" for key in ("lost", "hurt") if result[key]]
    return f"{where}: {result['left']} left, {seconds}, code {result['code']} {' '.join(more)}"


def _machine() -> str:
    kernel = f"{platform.system()} {platform.release()} ({platform.machine()})"
    return f"{kernel}, {os.cpu_count()} cores, Python {platform.python_version()}"


if __name__ == "__main__":
    sys.exit(main())
