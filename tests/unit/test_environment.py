"""The marks in the environment."""

from __future__ import annotations

import pytest
from sanic.config import Config

from sanic_reaper import environment


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
    assert environment.detached_env({"A": "1"}) == {"A": "1"}


def test_marks_are_whole_variables():
    raw = b"A=1\0sanic_reaper_run=abc\0B=2"
    assert environment.is_marked(raw, "abc")
    assert not environment.is_marked(raw, "ab")
    assert not environment.is_marked(b"Xsanic_reaper_run=abc", "abc")
    assert not environment.is_marked(b"A=sanic_reaper_run=abc", "abc")
    assert not environment.is_detached(raw, "abc")
    assert environment.is_detached(b"sanic_reaper_detached=abc", "abc")


def test_who_started_it():
    assert environment.owner(b"A=1\0sanic_reaper_owner=12:345\0B=2") == (12, 345)
    assert environment.owner(b"sanic_reaper_owner=12:345") == (12, 345)
    for nobody in (
        b"",
        b"A=1",
        b"Xsanic_reaper_owner=12:345",
        b"sanic_reaper_owner=12",
        b"sanic_reaper_owner=x:y",
    ):
        assert environment.owner(nobody) is None


@pytest.mark.parametrize("prefix", ["SANIC_", "sanic_", "_", "s"])
def test_sanic_takes_no_mark_for_a_setting(monkeypatch, prefix):
    for name in (environment.RUN, environment.MAIN, environment.DETACHED, environment.OWNER):
        monkeypatch.setenv(name, "1")
    before = set(Config(env_prefix=""))
    assert {
        key for key in set(Config(env_prefix=prefix)) - before if "REAPER" in key.upper()
    } == set()
