"""The Inspector of an app, with two more commands: also one that is not Sanic's own."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import pytest
from sanic.worker.inspector import Inspector

from sanic_reaper.worker.inspector import add_commands


class Own(Inspector):
    def __init__(self) -> None:
        self.word = "mine"


class Reduced(Own):
    def __reduce__(self):
        return (Reduced, ())


def made(base):
    app = SimpleNamespace(inspector_class=base)
    add_commands(app, "/nowhere", "run")
    return app.inspector_class


@pytest.mark.parametrize("base", [Own, Reduced])
def test_it_is_pickled_as_under_spawn(base):
    copy = pickle.loads(pickle.dumps(made(base)()))
    assert copy.word == "mine"
    assert isinstance(copy, base)
    assert hasattr(copy, "reaper") == (base is Own), "one that is pickled in a way of its own"


def test_a_second_server_in_the_process_adds_them_once():
    app = SimpleNamespace(inspector_class=made(Own))
    add_commands(app, "/elsewhere", "another run")
    assert app.inspector_class.__bases__[0] is Own
    assert app.inspector_class._reaper_server[:2] == ("/elsewhere", "another run")


def test_what_is_no_class_is_left_alone():
    assert made(Own.__init__) is Own.__init__


def test_a_server_whose_files_are_gone():
    told = made(Own)().reaper()
    assert "the state files of main can't be read" in str(told)
