"""Sanic's own suite with every app extended, compared with the same suite without the Reaper.

    python tests/sanic_suite.py CHECKOUT [ARGUMENTS OF PYTEST]

CHECKOUT is a clone of Sanic at the tag of the release that is installed, or the nearest before it.
Its tests need what its `setup.py` lists as `tests_require`, but for `pytest-sanic`, and aioquic,
pytest-asyncio, pytest-timeout and a version of websockets that still has what they import (13).

Each test is run with an empty extension and with the Reaper, in which the servers that the tests
start are extended, too. What fails in both is no fault of ours. Exit code 1: a test fails with the
Reaper alone. Each way takes about ten minutes.

Each test that may fail with the Reaper stands in `EXPECTED`, with the reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXPECTED: dict[str, str] = {}
"""Part of a test's id, and why it may fail: it looks at an internal that is replaced on purpose."""

PLUGIN = "sanic_suite"
"""This file is pytest's plugin, too."""


def main() -> int:
    checkout, arguments = Path(sys.argv[1]), sys.argv[2:]
    results = {}
    for way in WAYS:
        results[way] = whole(checkout, way, arguments)
        print(f"{way}: {sum(map(is_failure, results[way].values()))} of {len(results[way])} failed")
    return compare(results)


def whole(checkout: Path, way: str, arguments: list[str]) -> dict[str, str]:
    """The outcome of each test. One that fails is run once more, in a process of its own: some of
    Sanic's tests fail after others, and would then be compared with nothing."""
    outcomes = run(checkout, way, arguments or ["tests"])
    for test in [test for test, outcome in outcomes.items() if is_failure(outcome)]:
        outcomes[test] = run(checkout, way, [test]).get(test, "failed")
    return outcomes


def compare(results: dict[str, dict[str, str]]) -> int:
    """Name the tests that fail with the Reaper alone.

    Returns:
        The exit code.
    """
    unexpected = 0
    for test, outcome in sorted(results["reaper"].items()):
        if not is_failure(outcome) or is_failure(results["empty"].get(test, "")):
            continue
        why = next((reason for part, reason in EXPECTED.items() if part in test), None)
        unexpected += why is None
        print(f"with the Reaper alone: {test}: {why or 'UNEXPECTED'}")
    return 1 if unexpected or not results["reaper"] else 0


def run(checkout: Path, way: str, tests: list[str]) -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record"
        # Servers that the tests start, and their workers, have to be extended, too.
        Path(folder, "sitecustomize.py").write_text(f"import {PLUGIN}\n")
        # Not `python -m pytest`: that would import the checkout's `sanic`, not the one installed.
        scripts = str(Path(sys.executable).parent)
        command = [f"{scripts}/pytest", "-q", "-p", PLUGIN, "-p", "no:cacheprovider", "--tb=short"]
        command += ["--timeout=120", "--continue-on-collection-errors", "-o", "asyncio_mode=auto"]
        path = [folder, str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
        environment = {
            **os.environ,
            "SANIC_SUITE_WAY": way,
            "SANIC_SUITE_RECORD": str(record),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PATH": os.pathsep.join([scripts, os.environ["PATH"]]),
        }
        subprocess.run([*command, *tests], cwd=checkout, env=environment, check=False)
        lines = record.read_text().splitlines() if record.exists() else []
    outcomes: dict[str, str] = {}
    for test, outcome in map(json.loads, lines):
        if not is_failure(outcomes.get(test, "")):  # its end may fail, or what comes before it
            outcomes[test] = outcome
    return outcomes


def is_failure(outcome: str) -> bool:
    return outcome == "failed"


# -- in the process of the tests ------------------------------------------------------------------


def extend_every_app(extension: Any) -> None:
    from sanic import Sanic

    original = Sanic.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self.extend(extensions=[extension], built_in_extensions=False)

    Sanic.__init__ = __init__  # type: ignore[method-assign]


def empty() -> Any:
    from sanic_ext import Extension

    class Empty(Extension):  # type: ignore[no-untyped-call]
        name = "empty"

        def startup(self, bootstrap: Any) -> None: ...

    return Empty


def reaper() -> Any:
    from sanic_reaper import Reaper

    return Reaper


WAYS = {"empty": empty, "reaper": reaper}

if "SANIC_SUITE_WAY" in os.environ:
    extend_every_app(WAYS[os.environ["SANIC_SUITE_WAY"]]())


def pytest_runtest_logreport(report: Any) -> None:
    if report.when == "call" or report.outcome == "failed":
        with open(os.environ["SANIC_SUITE_RECORD"], "a") as record:
            record.write(json.dumps([report.nodeid, report.outcome]) + "\n")


def pytest_collectreport(report: Any) -> None:
    """A file that can't be imported counts as a test that fails."""
    if report.failed:
        pytest_runtest_logreport(report)


if __name__ == "__main__":
    sys.exit(main())
