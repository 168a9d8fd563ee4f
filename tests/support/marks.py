"""Parameters that several test modules share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

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
