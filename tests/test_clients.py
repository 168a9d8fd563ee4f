"""Suites of users: dozens of apps in one process, and each of sanic-testing's clients."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support.server import SUBJECTS


def lines(scenario: str, *how: str, cwd) -> list[str]:
    """What a scenario prints of its requests, in a process that has nothing else to do."""
    command = [sys.executable, "-W", "ignore", str(SUBJECTS / "suite.py"), scenario, *how]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=180, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line[2:] for line in done.stdout.splitlines() if line.startswith("> ")]
    assert found[-1] == "done"
    return found


@pytest.mark.parametrize("scenario", ["many", "at once"])
def test_a_suite_sees_what_it_sees_without_the_reaper(scenario, tmp_path):
    """Answers, their order where there is one, failing starts; `@background` work is done."""
    supervised = lines(scenario, cwd=tmp_path)
    plain = lines(scenario, "plain", cwd=tmp_path)
    if scenario == "at once":  # who is first is a matter of chance there
        supervised, plain = sorted(supervised), sorted(plain)
    assert supervised == plain
    assert any(" 200 loaded True" in line for line in supervised)
    assert not any(" 503" in line for line in supervised)


def test_work_that_goes_on_concerns_nobody_else(tmp_path):
    found = lines("unfinished work", cwd=tmp_path)
    assert len(found) == 1 + 5 * 3
    assert all(" 200 none True " in line or " 204 " in line for line in found[:-1])


def test_work_that_fails_is_the_tests_failure_and_nobody_elses(tmp_path):
    """No stop of the process, and no exit code that a later server ends with."""
    *found, _ = lines("failing work", cwd=tmp_path)
    assert [line.split()[:4] for line in found[:3]] == [
        ["Failing", "test", path, "500"] for path in ("/", "/ready", "/")
    ]
    assert all(" 200 none True " in line or " 204 " in line for line in found[3:])
    assert len(found) == 4 * 3


def test_each_app_has_its_own_settings(tmp_path):
    *found, _ = lines("settings", cwd=tmp_path)
    assert [line.split()[0] for line in found] == [
        "First",
        *["Second"] * 3,
        "Third",
        *["Fourth"] * 3,
    ]
    assert found[0] == "First timed out"
    assert found[4] == "Third timed out"
