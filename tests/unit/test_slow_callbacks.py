"""What asyncio's line about a slow callback says of a start, in debug mode."""

from __future__ import annotations

import logging

import pytest

from sanic_reaper.worker import slow_callbacks
from sanic_reaper.worker.explanations import PACKAGE
from sanic_reaper.worker.handlers import Place
from sanic_reaper.worker.stepping import NOWHERE, HandlerRun


def said(task: str) -> str:
    message = "Executing %s took %.3f seconds"
    record = logging.LogRecord("asyncio", logging.WARNING, "", 0, message, (task, 0.5), None)
    assert slow_callbacks._name(record)
    return record.getMessage()


@pytest.fixture(autouse=True)
def nobody_before(monkeypatch):
    monkeypatch.setattr(HandlerRun, "last_blocking", NOWHERE)


OURS = f"<Task coro=<before() at {PACKAGE}hooks.py:25>>"


def test_the_handler_is_named():
    HandlerRun.last_blocking = Place("connect", "/app.py", 7)
    assert said(OURS) == "Executing start handler connect (/app.py:7) took 0.500 seconds"


def test_what_is_no_handler_of_the_users_is_not_called_one():
    assert said(OURS) == (
        "Executing Sanic's part of the start, or an extension's, took 0.500 seconds"
    )


def test_a_handler_is_not_blamed_for_the_next_one():
    HandlerRun.last_blocking = Place("connect", "/app.py", 7)
    said(OURS)
    assert "connect" not in said(OURS)


def test_what_is_not_ours_stays_as_it_is():
    assert "<Task coro=<x() at /app.py:1>>" in said("<Task coro=<x() at /app.py:1>>")
