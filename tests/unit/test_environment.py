"""The marks in the environment."""

from __future__ import annotations

import os

import pytest
from sanic.config import Config
from support.programs import said_by

from sanic_reaper import environment, marks
from sanic_reaper.tree import marked


def test_the_environment_of_a_detached_child(monkeypatch):
    monkeypatch.setenv("sanic_reaper_run", "abc")
    monkeypatch.setenv("SANIC_WORKER_NAME", "Sanic-Server-0-0")
    variables = environment.detached_env()
    assert variables["sanic_reaper_detached"] == "abc"
    assert not {"sanic_reaper_run", "SANIC_WORKER_NAME"} & set(variables)


def test_a_given_base_is_left_as_it_is_and_not_added_to(monkeypatch):
    monkeypatch.setenv("sanic_reaper_run", "abc")
    base = {"PATH": "/bin"}
    assert environment.detached_env(base) == {"PATH": "/bin", "sanic_reaper_detached": "abc"}
    assert base == {"PATH": "/bin"}


def test_without_a_server_there_is_nothing_to_be_detached_from(monkeypatch):
    monkeypatch.delenv("sanic_reaper_run", raising=False)
    monkeypatch.setattr(environment, "_expected", False)  # another test may have extended an app
    assert environment.detached_env({"A": "1"}) == {"A": "1"}


def test_marks_are_whole_variables():
    raw = b"A=1\0sanic_reaper_run=abc\0B=2"
    assert marked.is_marked(raw, "abc")
    assert not marked.is_marked(raw, "ab")
    assert not marked.is_marked(b"Xsanic_reaper_run=abc", "abc")
    assert not marked.is_marked(b"A=sanic_reaper_run=abc", "abc")
    assert not marked.is_detached(raw, "abc")
    assert marked.is_detached(b"sanic_reaper_detached=abc", "abc")


def test_who_started_it():
    assert marked.owner(b"A=1\0sanic_reaper_owner=12:345\0B=2") == (12, 345)
    assert marked.owner(b"sanic_reaper_owner=12:345") == (12, 345)
    for nobody in (
        b"",
        b"A=1",
        b"Xsanic_reaper_owner=12:345",
        b"sanic_reaper_owner=12",
        b"sanic_reaper_owner=x:y",
    ):
        assert marked.owner(nobody) is None


@pytest.mark.parametrize("prefix", ["SANIC_", "sanic_", "_", "s"])
def test_sanic_takes_no_mark_for_a_setting(monkeypatch, prefix):
    for name in (marks.RUN, marks.MAIN, marks.DETACHED, marks.OWNER):
        monkeypatch.setenv(name, "1")
    before = set(Config(env_prefix=""))
    assert {
        key for key in set(Config(env_prefix=prefix)) - before if "REAPER" in key.upper()
    } == set()


# -- whose an id is -------------------------------------------------------------------------------

PRELUDE = """
import os
from sanic_reaper import environment, marks
environment.expect_run()

def forked(work):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, work().encode())
        os._exit(0)
    os.waitpid(child, 0)
    return os.read(reading, 1000).decode()

def detached_from():
    return environment.detached_env().get(marks.DETACHED, "")
"""


def test_processes_that_one_script_forks_have_ids_of_their_own():
    program = """
before = detached_from()
others = [forked(environment.begin_run) for _ in range(2)]
own = environment.begin_run()
print(len({*others, own}), own == before, os.environ[marks.RUN] == own)
"""
    assert said_by(PRELUDE + program) == ["3 True True"]


def test_what_a_forked_process_detaches_before_it_serves_is_spared_by_its_own_server():
    program = """
def work():
    detached = detached_from()
    return str(detached == environment.begin_run())

own = detached_from()
print(forked(work), detached_from() == own)
"""
    assert said_by(PRELUDE + program) == ["True True"]


def test_what_is_forked_from_a_server_is_the_servers():
    program = "run = environment.begin_run()\nprint(forked(detached_from) == run)"
    assert said_by(PRELUDE + program) == ["True"]


def test_a_server_that_is_forked_from_a_server_puts_back_the_others_marks():
    program = """
run = environment.begin_run()

def work():
    environment.begin_run()
    environment.end_run()
    return os.environ[marks.RUN]

print(forked(work) == run)
environment.end_run()
print(marks.RUN in os.environ)
"""
    assert said_by(PRELUDE + program) == ["True", "False"]


@pytest.mark.parametrize("stood", [None, "of a server that has started this one"])
def test_when_the_run_is_over_the_environment_is_as_it_was(monkeypatch, stood):
    for name in (marks.RUN, marks.MAIN):
        monkeypatch.delenv(name, raising=False)
        if stood is not None:
            monkeypatch.setenv(name, stood)
    first = environment.begin_run()
    environment.name_main((1, 2), "App", "/")
    environment.end_run()
    assert [os.environ.get(name) for name in (marks.RUN, marks.MAIN)] == [stood] * 2
    assert environment.begin_run() not in (first, stood), "each run has an id of its own"
    environment.end_run()


def test_a_detached_server_may_detach_something_itself(monkeypatch):
    """Both spare it: the server whose worker has started this one, and this one."""
    monkeypatch.setenv(marks.DETACHED, "abc")
    monkeypatch.setenv(marks.RUN, "def")
    raw = f"{marks.DETACHED}={environment.detached_env()[marks.DETACHED]}".encode()
    assert marked.is_detached(raw, "abc")
    assert marked.is_detached(raw, "def")
    assert not marked.is_detached(raw, "ab")


# -- as a block -----------------------------------------------------------------------------------


def marks_here() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in environment._ALL}


@pytest.fixture
def bare(monkeypatch):
    for name in environment._ALL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(marks.RUN, "abc")
    monkeypatch.setenv(marks.OWNER, "1:2")
    return marks_here()


def test_in_a_block_the_environment_is_that_of_a_detached_child(bare):
    with environment.detached_env() as variables:
        assert marks_here() == {marks.DETACHED: "abc"}
        assert variables[marks.DETACHED] == "abc"
    assert marks_here() == bare


def test_a_block_that_fails_restores_it(bare):
    with pytest.raises(OSError, match="no browser"), environment.detached_env():
        raise OSError("no browser")
    assert marks_here() == bare


def test_blocks_that_overlap_restore_it_at_the_end_of_the_last(bare):
    """As those of two threads may, in any order."""
    first, second = environment.detached_env(), environment.detached_env()
    first.__enter__()
    second.__enter__()
    first.__exit__()
    assert marks_here() == {marks.DETACHED: "abc"}
    second.__exit__()
    assert marks_here() == bare


def test_other_variables_are_left_alone(bare, monkeypatch):
    monkeypatch.delenv("OTHER", raising=False)
    with environment.detached_env({"PATH": "/nowhere"}):
        assert os.environ["PATH"] != "/nowhere"
        monkeypatch.setenv("OTHER", "set within")
    assert os.environ["OTHER"] == "set within"


def test_a_block_without_a_server(monkeypatch, bare):
    monkeypatch.delenv(marks.RUN)
    monkeypatch.delenv(marks.OWNER)
    with environment.detached_env():
        assert marks_here().keys() <= {marks.DETACHED}
    assert marks_here() == {}
