"""How the extension is registered, and what it says where it can do nothing."""

from __future__ import annotations

import logging

import pytest
from sanic import Sanic

from sanic_reaper import Reaper, internals, platform
from sanic_reaper.events import NAMES
from sanic_reaper.extension import _Server


@pytest.fixture
def app():
    yield Sanic("Extended")
    Sanic._app_registry.pop("Extended")


def test_on_a_system_that_it_does_not_know_it_stays_out_of_the_way(app, monkeypatch):
    monkeypatch.setattr(platform, "SUPPORTED", False)
    app.extend(extensions=[Reaper])
    assert not hasattr(app.ctx, "reaper")
    assert not app.listeners["main_process_start"]
    assert "does nothing on" in Reaper().label()


def test_a_hook_for_an_event_that_does_not_exist(app):
    with pytest.raises(ValueError, match=r"no event is called 'worker\.dead'") as error:
        _Server(app).on("worker.dead")
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize("event", [None, "worker.died"])
def test_a_hook_is_still_the_function(app, event):
    server = _Server(app)

    @server.on(event)
    def hook(event): ...

    assert server.hooks == [(event, hook)]


@pytest.mark.parametrize("endpoint", ["", "/reaper"])
def test_where_there_is_no_main_process_that_is_said(app, monkeypatch, caplog, endpoint):
    monkeypatch.delenv("SANIC_WORKER_NAME", raising=False)
    app.config.REAPER_ENDPOINT = endpoint
    with caplog.at_level(logging.DEBUG, "sanic.root"):
        _Server(app).before_server_start(app)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("DEBUG", "[reaper] no main process here: nothing is supervised") in said
    nobody = ("INFO", "[reaper] no main process here: nobody answers under REAPER_ENDPOINT")
    assert (nobody in said) == bool(endpoint)


def test_a_sync_manager_is_substituted_where_there_is_one(monkeypatch):
    """An extension of sanic-ext's may not be imported, or not start one any more."""
    sites = ("sanic.mixins.startup", "sanic.log", "sanic_ext.not_imported")
    monkeypatch.setattr(internals, "MANAGER_SITES", sites)
    monkeypatch.setattr("sanic.mixins.startup.Manager", None)
    internals.substitute_manager_factory(test_a_sync_manager_is_substituted_where_there_is_one)
    from sanic import log
    from sanic.mixins import startup

    assert startup.Manager is test_a_sync_manager_is_substituted_where_there_is_one
    assert not hasattr(log, "Manager")
