"""How a listener of main is called, and what is said of one that a stop signal ends."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest
from sanic import Sanic

from sanic_reaper.compat import sanic_listeners
from sanic_reaper.main.listeners import MainListeners, _call, _unchain
from sanic_reaper.main.signals import StopSignals


@pytest.fixture
def app():
    yield Sanic("Listening")
    Sanic._app_registry.pop("Listening")


@pytest.fixture
def loop():
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def signals():
    signals = StopSignals(lambda signum: None, lambda signum: None)
    signals.install()
    yield signals
    signals.restore()


def called(app, loop, signals, *listeners):
    """Have them called as Sanic does in main."""
    for listener in listeners:
        app.listener("main_process_start")(listener)
    MainListeners(signals, 0.0).make_interruptible(app)
    for listener in sanic_listeners.listeners(app, "main_process_start"):
        listener(app, loop)


def test_with_the_app_and_with_the_loop_if_it_wants_that(app, loop, signals):
    seen = []
    called(app, loop, signals, lambda app: seen.append(app), lambda app, loop: seen.append(loop))
    assert seen == [app, loop]


def test_one_that_takes_nothing_fails_with_one_error(app, loop, signals):
    with pytest.raises(TypeError, match="takes 0 positional arguments but 1 was given") as failed:
        called(app, loop, signals, lambda: None)
    assert failed.value.__context__ is None


def stopped(app):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def next_one(app): ...


def of_sanic(app): ...


of_sanic.__module__ = "sanic_reaper"


def test_a_stop_signal_ends_one_and_the_next_is_not_run(app, loop, signals, caplog):
    caplog.set_level("INFO")
    called(app, loop, signals, stopped, next_one, of_sanic)
    ended, skipped = caplog.messages
    assert ended.endswith("a stop signal interrupted the main_process_start listener stopped")
    assert skipped.endswith("listener next_one was skipped: a stop signal came before it")


def test_one_in_c_that_has_no_signature_is_called_with_the_app(app, loop):
    assert _call(type, app, loop) is Sanic


async def blocking(app):
    time.sleep(0.5)


def test_a_coroutine_that_blocks_is_shown_where_it_blocks(app, loop, signals, caplog):
    app.listener("main_process_start")(blocking)
    MainListeners(signals, 0.05).make_interruptible(app)
    for listener in sanic_listeners.listeners(app, "main_process_start"):
        listener(app, loop)
    [text] = caplog.messages
    assert "main starts no worker yet: its main_process_start listener blocking still" in text
    assert "blocking the event loop" in text
    assert "in blocking:  time.sleep(0.5)\n" in text


def test_the_first_try_of_sanics_is_removed_from_below_an_error_of_the_users():
    """The user's own chain of errors stays."""
    first, inner, error = TypeError("no loop"), KeyError("port"), ValueError("no port")
    inner.__context__, error.__context__ = first, inner
    _unchain(error, first)
    assert error.__context__ is inner
    assert inner.__context__ is None
