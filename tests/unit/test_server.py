"""A server as its files show it."""

from __future__ import annotations

from support.written import a_server

from sanic_reaper.state.server import Server


def test_a_kind_of_record_that_is_not_known_does_not_hide_the_rest():
    """A later release may write more, of the same version of the format."""
    process = {"pid": "100", "start": "1", "role": "worker", "name": "Sanic-Server-0-0"}
    weather = {"pid": "100", "start": "1", "name": "rain"}
    records = [("server", a_server().fields), ("weather", weather), ("process", process)]
    found = Server(0, "/nowhere", records)
    assert found.app == "Shop"
    assert [one.name for one in found.workers] == ["Sanic-Server-0-0"]
