"""Background work: which requests it keeps waiting, and how it fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from sanic_reaper.worker.background import BackgroundTasks, NotReady
from sanic_reaper.worker.handlers import EXEMPT, BackgroundOptions, Place

PLACE = Place("load", "app.py", 3)


class AStart:
    """A start, and what it was told. Its listeners begin the work."""

    awaits_listeners = True

    def __init__(self, is_supervised: bool) -> None:
        self.is_supervised = is_supervised
        self.failures: list[str] = []

    def fail(self, reason: str) -> None:
        self.failures.append(reason)


def tasks_of(start: Any, works: int = 1) -> BackgroundTasks:
    tasks = BackgroundTasks(start)
    for _ in range(works):
        tasks.add(Any, lambda app: None, PLACE, BackgroundOptions(0.0, True))
    return tasks


def a_request(is_exempt: bool) -> Any:
    return SimpleNamespace(
        app=None, route=SimpleNamespace(ctx=SimpleNamespace(**{EXEMPT: is_exempt}))
    )


@pytest.mark.parametrize("works", [1, 0], ids=["while it goes on", "when it is done"])
@pytest.mark.parametrize("is_exempt", [True, False])
def test_which_requests_are_turned_away(works, is_exempt):
    """Health checks are not: without a main process they meet the gate as well."""
    answer = tasks_of(AStart(is_supervised=False), works)._gate(a_request(is_exempt))
    if works and not is_exempt:
        with pytest.raises(NotReady) as raised:
            asyncio.run(answer)
        assert raised.value.status_code == 503
    else:
        assert asyncio.run(answer) is None


def test_a_start_that_fails_in_several_places_fails_once():
    """The first failure is the reason of its end, and each work keeps its own."""
    start = AStart(is_supervised=True)
    tasks = tasks_of(start, works=2)
    errors = OSError("no such model"), OSError("no such table")
    for work, error in zip(tasks.pending, errors, strict=True):
        tasks._on_failure(work, error, [])
    [reason] = start.failures
    assert "no such model" in reason
    assert tuple(work.error for work in tasks.pending) == errors
