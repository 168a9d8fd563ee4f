"""What a worker's descendants have by birth, whatever they do to their environment."""

from __future__ import annotations

import sys

import pytest
from support.programs import said_by

from sanic_reaper.tree import birthmark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

A, B = birthmark.IGNORED
PATTERN = 1 << A - 1 | 1 << B - 1


@pytest.mark.parametrize(
    ("ignored", "borne"),
    [
        pytest.param(0, False, id="nothing is ignored"),
        pytest.param(PATTERN, True, id="the mark"),
        pytest.param(PATTERN | 1 << 12, True, id="beside SIGPIPE"),
        pytest.param(1 << A - 1, False, id="half of it"),
        pytest.param((1 << 64) - 1, False, id="everything is ignored"),
    ],
)
def test_what_it_looks_like(ignored, borne):
    assert birthmark.is_borne(ignored) == borne


PRELUDE = """
import os, signal, subprocess
from sanic_reaper import platform
from sanic_reaper.tree import birthmark

kept = []

def bears(pid):
    return birthmark.is_borne(platform.ignored_signals(pid))

def zombie(*command, **options):
    kept.append(subprocess.Popen(command, **options))
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)
    return kept[-1].pid
"""


def test_it_is_inherited_over_exec_and_seen_of_a_zombie():
    program = """
print(bears(zombie("true")), end=" ")
birthmark.take()
print(bears(os.getpid()), bears(zombie("sh", "-c", "true")), bears(zombie("true", env={})), end=" ")
birthmark.shed()
print(bears(zombie("true")), bears(4_000_000))
"""
    assert said_by(PRELUDE + program) == ["False True True True False False"]


def test_a_handler_of_the_users_is_left_alone():
    program = f"""
signal.signal({A}, lambda *_: None)
birthmark.take()
birthmark.shed()
print(callable(signal.getsignal({A})), bears(os.getpid()))
"""
    assert said_by(PRELUDE + program) == ["True False"]
