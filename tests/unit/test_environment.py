"""The marks in the environment."""

from __future__ import annotations

from sanic_reaper import environment


def test_the_environment_of_a_detached_child(monkeypatch):
    monkeypatch.setenv("SANIC_REAPER_RUN", "abc")
    monkeypatch.setenv("SANIC_WORKER_NAME", "Sanic-Server-0-0")
    variables = environment.detached_env()
    assert variables["SANIC_REAPER_DETACHED"] == "abc"
    assert not {"SANIC_REAPER_RUN", "SANIC_WORKER_NAME"} & set(variables)


def test_a_given_base_is_left_as_it_is_and_not_added_to(monkeypatch):
    monkeypatch.setenv("SANIC_REAPER_RUN", "abc")
    base = {"PATH": "/bin"}
    assert environment.detached_env(base) == {"PATH": "/bin", "SANIC_REAPER_DETACHED": "abc"}
    assert base == {"PATH": "/bin"}


def test_without_a_server_there_is_nothing_to_be_detached_from(monkeypatch):
    monkeypatch.delenv("SANIC_REAPER_RUN", raising=False)
    assert environment.detached_env({"A": "1"}) == {"A": "1"}


def test_marks_are_whole_variables():
    raw = b"A=1\0SANIC_REAPER_RUN=abc\0B=2"
    assert environment.is_marked(raw, "abc")
    assert not environment.is_marked(raw, "ab")
    assert not environment.is_marked(b"XSANIC_REAPER_RUN=abc", "abc")
    assert not environment.is_marked(b"A=SANIC_REAPER_RUN=abc", "abc")
    assert not environment.is_detached(raw, "abc")
    assert environment.is_detached(b"SANIC_REAPER_DETACHED=abc", "abc")


def test_who_started_it():
    assert environment.owner(b"A=1\0SANIC_REAPER_OWNER=12:345\0B=2") == (12, 345)
    assert environment.owner(b"SANIC_REAPER_OWNER=12:345") == (12, 345)
    for nobody in (
        b"",
        b"A=1",
        b"XSANIC_REAPER_OWNER=12:345",
        b"SANIC_REAPER_OWNER=12",
        b"SANIC_REAPER_OWNER=x:y",
    ):
        assert environment.owner(nobody) is None
