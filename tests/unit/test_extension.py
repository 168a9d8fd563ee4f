"""How the extension is registered, and what it says where it can do nothing."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial

import pytest
from sanic import Sanic
from sanic_ext import Extension

from sanic_reaper import Reaper, __version__, environment, extension, marks, platform
from sanic_reaper.compat import sanic_extensions
from sanic_reaper.events import NAMES
from sanic_reaper.extension import _AppHooks
from sanic_reaper.worker import starts


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch):
    """An extension changes its process: that is not to be felt by other tests in this one."""
    monkeypatch.setattr(environment, "_expected", environment._expected)
    monkeypatch.setattr(starts, "_extended", {})
    for name in ("_server_event", "_startup"):
        monkeypatch.setattr(Sanic, name, getattr(Sanic, name))
    for name in sanic_extensions.MANAGER_SITES:
        if name in sys.modules:
            monkeypatch.setattr(f"{name}.Manager", sys.modules[name].Manager)


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


def test_a_slow_start_is_described_by_sanics_own_file(app):
    """In debug mode asyncio prints where the coroutine of a slow task stands."""
    app.extend(extensions=[Reaper])
    starting = Sanic._startup(app)
    assert "sanic_reaper" not in starting.cr_code.co_filename
    starting.close()


def test_a_hook_for_an_event_that_does_not_exist(app):
    with pytest.raises(ValueError, match=r"no event is called 'worker\.dead'") as error:
        _AppHooks(app).on("worker.dead")
    assert all(name in str(error.value) for name in NAMES)


@pytest.mark.parametrize("event", [None, "worker.died"])
def test_a_hook_is_still_the_function(app, event):
    server = _AppHooks(app)

    @server.on(event)
    def hook(event): ...

    assert server.hooks == [(event, hook)]


@pytest.mark.parametrize("endpoint", ["", "/reaper"])
def test_where_there_is_no_main_process_that_is_said(app, monkeypatch, caplog, endpoint):
    monkeypatch.delenv("SANIC_WORKER_NAME", raising=False)
    app.config.REAPER_ENDPOINT = endpoint
    with caplog.at_level(logging.DEBUG, "sanic.root"):
        _AppHooks(app).before_server_start(app)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("DEBUG", "[reaper] this server has no main process: nothing is supervised") in said
    nobody = ("INFO", "[reaper] this server has no main process: REAPER_ENDPOINT has no effect")
    assert (nobody in said) == bool(endpoint)


def test_a_sync_manager_is_substituted_where_there_is_one(monkeypatch):
    """An extension of sanic-ext's may not be imported, or not start one any more."""
    sites = ("sanic.mixins.startup", "sanic.log", "sanic_ext.not_imported")
    monkeypatch.setattr(sanic_extensions, "MANAGER_SITES", sites)
    monkeypatch.setattr("sanic.mixins.startup.Manager", None)
    sanic_extensions.substitute_manager_factory(
        test_a_sync_manager_is_substituted_where_there_is_one
    )
    from sanic import log
    from sanic.mixins import startup

    assert startup.Manager is test_a_sync_manager_is_substituted_where_there_is_one
    assert not hasattr(log, "Manager")


@pytest.mark.parametrize("use_before", [False, True])
@pytest.mark.parametrize(
    ("config", "label"),
    [({}, __version__), ({"REAPER_ENABLED": False}, "disabled by REAPER_ENABLED")],
)
def test_the_list_of_extensions_says_what_it_does(
    app, caplog, monkeypatch, use_before, config, label
):
    monkeypatch.delenv("SANIC_WORKER_IDENTIFIER", raising=False)
    app.config.update(config)
    if use_before:
        app.ext.dependency(object())
    app.extend(extensions=[Reaper])
    with caplog.at_level(logging.INFO, "sanic.root"):
        app.ext._display()
    assert f"  > reaper [{label}]" in caplog.messages


# -- README's line, later than Sanic takes it -----------------------------------------------------


class Other(Extension):
    name = "other"

    def startup(self, bootstrap) -> None:
        self.app.ctx.other = True


@pytest.mark.parametrize("use", [lambda app: app.ext, lambda app: app.extend(extensions=[Other])])
@pytest.mark.parametrize("extension", [Reaper, Reaper()], ids=["class", "instance"])
def test_it_joins_extensions_that_are_set_up(app, use, extension):
    use(app)
    ext = app.ext
    assert app.extend(extensions=[extension]) is ext
    assert [one.name for one in ext.extensions][-1] == "reaper"
    assert Reaper.of(app) is app.ctx.reaper


@pytest.mark.parametrize("more", [{"extensions": [Other, Reaper]}, {"config": {"oas": False}}])
def test_what_else_comes_too_late_is_refused_in_words(app, more):
    assert app.ext
    with pytest.raises(
        RuntimeError, match=r"a line of its own: app\.extend\(extensions=\[Reaper\]\)"
    ):
        app.extend(**{"extensions": [Reaper], **more})
    with pytest.raises(RuntimeError, match="Cannot extend Sanic after"):  # Sanic's own
        app.extend(extensions=[Other])


def test_it_attaches_before_and_others_come_later(app):
    handle = Reaper.attach(app)
    assert handle is app.ctx.reaper
    app.extend(extensions=[Other])
    assert app.ctx.other
    assert Reaper.of(app) is handle


def test_it_is_there_once(app):
    heard = []
    app.extend(extensions=[Reaper, Reaper(heard.append)])
    handle = Reaper.attach(app, on_event=print)
    assert handle is app.ctx.reaper
    assert [hook for _, hook in handle.hooks] == [heard.append, print]
    assert len(app.listeners["main_process_start"]) == 1


def test_two_apps_share_an_extension_and_nothing_else(app):
    second = Sanic("Second")
    try:
        shared = Reaper(print)
        for one in (app, second):
            one.extend(extensions=[shared])
        assert Reaper.of(app) is not Reaper.of(second)
        assert len(Reaper.of(app).hooks) == len(Reaper.of(second).hooks) == 1
    finally:
        Sanic._app_registry.pop("Second")


def test_an_app_that_is_not_extended_says_so(app):
    with pytest.raises(LookupError, match=r"Extended is not extended .* comes first"):
        Reaper.of(app)


class Slotted:
    __slots__ = ("db",)


def test_what_is_the_users_own_stays(app, caplog):
    app.ctx.reaper = mine = object()
    app.extend(extensions=[Reaper])
    assert app.ctx.reaper is mine
    assert Reaper.of(app).ready in (True, False)
    assert caplog.messages == [
        "[reaper] Extended has an app.ctx.reaper of its own, which stays: "
        "use Reaper.of(app) instead"
    ]


def test_a_context_that_takes_nothing(caplog):
    app = Sanic("Slotted", ctx=Slotted())
    try:
        handle = Reaper.attach(app, on_event=print)
        assert handle.hooks == [(None, print)]
        assert handle is Reaper.of(app)
        assert "app.ctx.reaper of its own" in caplog.text
    finally:
        Sanic._app_registry.pop("Slotted")


def test_a_later_line_of_the_user_is_told_where_it_belongs(app):
    app.extend(extensions=[Reaper])
    with pytest.raises(RuntimeError, match=r"Cannot extend .* put that line below this one"):
        app.extend(config={"oas": False})


# -- hooks that can't be called -------------------------------------------------------------------


async def coroutine(event): ...


def generator(event):
    yield


async def asynchronous_generator(event):
    yield


class Awaited:
    async def __call__(self, event): ...


NO_HOOKS = [
    *(5, "worker.died", lambda: None, lambda a, b: None),
    *(coroutine, partial(coroutine), generator, asynchronous_generator, Awaited()),
]


@pytest.mark.parametrize("hook", NO_HOOKS)
def test_what_is_no_hook_is_refused_where_it_is_registered(app, hook):
    with pytest.raises(TypeError, match="a function of one argument, an Event"):
        Reaper(on_event=hook)
    if callable(hook):
        with pytest.raises(TypeError, match=r"app\.ctx\.reaper\.on"):
            _AppHooks(app).on("worker.died")(hook)


@pytest.mark.parametrize("hook", [print, [].append, lambda event, more=1: None])
def test_what_takes_an_event_is_a_hook(hook):
    Reaper(on_event=hook)


def test_a_hook_in_c_that_has_no_signature_is_believed(app):
    server = _AppHooks(app)
    assert server.on("worker.died")(max) is max
    assert server.hooks == [("worker.died", max)]


def test_a_bare_decorator_hears_everything(app):
    server = _AppHooks(app)

    @server.on
    def hook(event): ...

    assert server.hooks == [(None, hook)]


# -- where nothing is supervised ------------------------------------------------------------------


def test_on_a_system_that_it_does_not_know_there_is_an_object_that_does_nothing(app, monkeypatch):
    """The user's lines work there too, on an app that has no extension at all."""
    monkeypatch.setattr(platform, "SUPPORTED", False)
    handle = Reaper.attach(app, on_event=print)
    assert not isinstance(handle, _AppHooks)
    assert handle.on("worker.died")(print) is print


@pytest.mark.parametrize("main", ["", "x\ty", f"{os.getppid()}\t1"])
def test_a_process_that_main_has_not_started_is_no_worker_of_it(app, monkeypatch, main):
    """Its environment can come from a server all the same: a script that a worker has run."""
    tied = []
    monkeypatch.setattr("sanic_reaper.worker.guard.tie", lambda *words: tied.append(words))
    monkeypatch.setenv(marks.MAIN, main)
    assert extension._arm_unsupervised_worker(app) is False
    assert tied == []


@pytest.mark.parametrize("is_there", [True, False])
def test_the_end_of_a_server_is_the_last_of_its_listeners(app, is_there):
    """If a listener of the user's has removed it, it stays so."""
    server, hooks = _AppHooks(app), app.listeners["main_process_stop"]
    hooks[:] = [*[server.main_process_stop] * is_there, print]
    server._move_stop_last()
    assert hooks == [print, *[server.main_process_stop] * is_there]
