"""Sanic's own suite with every app extended, compared with the same suite without the Reaper.

    python tests/sanic_suite.py CHECKOUT [ARGUMENTS OF PYTEST]

CHECKOUT is a clone of Sanic at the tag of the release that is installed. Its tests need what its
`setup.py` lists as `tests_require`. Each test is run in both ways, with an empty extension and with
the Reaper: what fails in both is no fault of ours. Exit code 1: a test fails with the Reaper alone.

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
    with tempfile.TemporaryDirectory() as folder:
        results = {way: run(checkout, way, arguments, Path(folder) / way) for way in WAYS}
    for way, outcomes in results.items():
        print(f"{way}: {sum(map(is_failure, outcomes.values()))} of {len(outcomes)} failed")
    news = sorted(
        test
        for test, outcome in results["reaper"].items()
        if is_failure(outcome) and not is_failure(results["empty"].get(test, ""))
    )
    unexpected = 0
    for test in news:
        why = next((reason for part, reason in EXPECTED.items() if part in test), None)
        unexpected += why is None
        print(f"with the Reaper alone: {test}: {why or 'UNEXPECTED'}")
    return 1 if unexpected or not results["reaper"] else 0


def run(checkout: Path, way: str, arguments: list[str], record: Path) -> dict[str, str]:
    """The outcome of each test."""
    # Not `python -m pytest`: that would import the checkout's `sanic`, not the one installed.
    command = [str(Path(sys.executable).with_name("pytest"))]
    options = ["-q", "-p", PLUGIN, "-p", "no:cacheprovider", "--timeout=120", "--tb=no"]
    path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]
    environment = {
        **os.environ,
        "SANIC_SUITE_WAY": way,
        "SANIC_SUITE_RECORD": str(record),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    tests = arguments or ["tests"]
    subprocess.run([*command, *options, *tests], cwd=checkout, env=environment, check=False)
    lines = record.read_text().splitlines() if record.exists() else []
    return dict(map(json.loads, lines))


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


if __name__ == "__main__":
    sys.exit(main())
