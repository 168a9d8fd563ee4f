"""What main asks of Sanic and of `multiprocessing`, where they are not as they mostly are."""

from __future__ import annotations

import multiprocessing.spawn
import sys

import pytest
from sanic import Sanic

from sanic_reaper.compat import sanic_main, spawning


@pytest.fixture
def app():
    yield Sanic("Asked")
    Sanic._app_registry.pop("Asked")


@pytest.mark.parametrize(
    ("settings", "address", "to_bind"),
    [
        ({"host": "127.0.0.1", "port": 7999}, "127.0.0.1:7999", True),
        ({"unix": "/run/app.sock"}, "unix:/run/app.sock", False),
    ],
)
def test_where_an_app_listens(app, settings, address, to_bind):
    app.prepare(**settings, motd=False)
    assert sanic_main.address(app) == address
    assert sanic_main.addresses() == ([("127.0.0.1", 7999)] if to_bind else [])


def test_nobody_complains_where_there_is_no_health_monitor(monkeypatch):
    monkeypatch.delitem(sys.modules, "sanic_ext.extensions.health.monitor", raising=False)
    assert sanic_main.age_of_a_complaint() == 0.0


@pytest.mark.parametrize(
    ("command", "changed"),
    [
        (
            ["python", "-c", "from multiprocessing.spawn import spawn_main; spawn_main()", "--x"],
            [
                "python",
                "-c",
                "from multiprocessing.spawn import spawn_main\nPROGRAM\nspawn_main()",
                "--x",
            ],
        ),
        (["app.exe", "--multiprocessing-fork", "pipe=4"], None),
    ],
    ids=["python", "frozen"],
)
def test_a_program_before_what_is_spawned(monkeypatch, command, changed):
    """A frozen program starts itself, and has no place for one."""
    monkeypatch.setattr(multiprocessing.spawn, "get_command_line", lambda: [*command])
    with spawning.spawning_with("PROGRAM"):
        assert multiprocessing.spawn.get_command_line() == (changed or command)
    assert multiprocessing.spawn.get_command_line() == command
