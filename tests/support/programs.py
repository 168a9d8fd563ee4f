"""Small programs for this Python: what is not to happen in the process of the tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest


class Program(subprocess.Popen):  # type: ignore[type-arg]  # generic at run time, but not to inherit
    """A child, and the first line that it has printed."""

    said = ""


NOBODY = 65534


@contextmanager
def program(code: str, *arguments: str) -> Iterator[Program]:
    """A child of the tests that runs this Python, and prints a line when it has come so far.

    The line is the `said` of what is returned.
    """
    command = [sys.executable, "-c", code, *arguments]
    with Program(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.said = process.stdout.readline().decode()
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def burning(number: int) -> Iterator[None]:
    """So many processes take the machine's cores from everybody else."""
    command = [sys.executable, "-I", "-S", "-c", "while True: pass"]
    burners = [subprocess.Popen(command) for _ in range(number)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


def executed(code: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """One that has ended, and what it has printed."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


def said_by(code: str, *arguments: object, **options: Any) -> list[str]:
    """The lines that one has printed, which has to end in order."""
    done = executed(code, *arguments, **options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr  # nothing else tells of an error in an at-fork hook
    return done.stdout.splitlines()


def by_anybody(argv: Sequence[str]) -> list[str]:
    """With an interpreter that any user may execute; `run` needs nothing else."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        check = "import sys; sys.exit(sys.version_info < (3, 10))"
        try:
            if subprocess.run([candidate, "-c", check], user=NOBODY, check=False).returncode == 0:
                return [candidate if word == sys.executable else word for word in argv]
        except OSError:
            continue
    pytest.skip("no Python here that another user could execute")
