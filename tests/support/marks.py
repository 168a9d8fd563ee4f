"""Parameters that several test modules share."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Hashable, Iterable
from typing import Any

import pytest

by_itself = pytest.mark.skipif(
    "COVERAGE_PROCESS_CONFIG" in os.environ, reason="what measures coverage imports some of it"
)
"""For a test of what is imported."""


def is_musl() -> bool:
    """Whether the C library of this Python is musl."""
    return "musl" in (sysconfig.get_config_var("SOABI") or "")


METHODS = ("spawn", "fork", "forkserver")

methods = pytest.mark.parametrize("method", METHODS)
"""For each of the ways in which `multiprocessing` starts a process."""


def signals(*signums: Any) -> Any:
    """For each of these signals, under its name."""
    return pytest.mark.parametrize("signum", signums, ids=lambda signum: signum.name)


def smoke_of(values: Iterable[Any], *chosen: Any) -> list[Any]:
    """The values of a parameter, of which `chosen` stand for all the others in the smoke tests."""
    return [
        pytest.param(value, marks=pytest.mark.smoke) if value in chosen else value
        for value in values
    ]


IN_TURN = ("method", "signum", "uvloop")
"""Parameters whose values take turns."""


def repetitions(items: Iterable[pytest.Item]) -> set[pytest.Item]:
    """What a run may leave out: a case under a start method, where another one stands for it.

    The methods take turns from case to case, so that each meets a third of the cases of a test; so
    do the signals and the event loops. What is marked as smoke or as `every_method` is always run.
    """
    cases: dict[Hashable, list[pytest.Item]] = {}
    for item in items:
        params = getattr(item, "callspec", None) and item.callspec.params  # type: ignore[attr-defined]
        if params and any(name in params for name in IN_TURN):
            others = tuple(sorted((k, str(v)) for k, v in params.items() if k not in IN_TURN))
            cases.setdefault((item.nodeid.partition("[")[0], others), []).append(item)
    left_out: set[pytest.Item] = set()
    for turn, case in enumerate(cases.values()):
        chosen = case[turn % len(case)]
        for item in case:
            needed = item.get_closest_marker("smoke") or item.get_closest_marker("every_method")
            if item is not chosen and not needed:
                left_out.add(item)
    return left_out
