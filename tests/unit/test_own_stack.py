"""Main's file for its own stack, where it can't be had."""

from __future__ import annotations

import signal

import pytest

from sanic_reaper.main.own_stack import OwnStack
from sanic_reaper.model.questions import REQUEST


@pytest.fixture
def directory(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path


def test_a_signal_that_the_user_handles_stays_the_users(directory):
    def mine(signum, frame): ...

    before = signal.signal(REQUEST, mine)
    try:
        stack = OwnStack("run")
        stack.open(str(directory))
        assert list(directory.iterdir()) == []
        assert signal.getsignal(REQUEST) is mine
        stack.close()
        assert signal.getsignal(REQUEST) is mine
    finally:
        signal.signal(REQUEST, before)


def test_a_directory_that_is_gone_costs_the_stack_alone_until_it_is_there(directory, caplog):
    caplog.set_level("DEBUG", "sanic.root")
    stack, place = OwnStack("run"), directory / "later"
    stack.open(str(place))
    [line] = caplog.messages
    assert line.startswith("[reaper] main can't show its stack: ")
    place.mkdir(mode=0o700)
    stack.turn(1e9)
    assert [file.name.startswith("run") for file in place.iterdir()] == [True]
    stack.close()
    assert list(place.iterdir()) == []
