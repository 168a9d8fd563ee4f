"""What the package relies on inside Sanic and multiprocessing, asked of those that are installed.

A release that changes one of these fails here, with a name, before it fails in a server.
"""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import multiprocessing.process
import multiprocessing.resource_tracker
import sys

import pytest
import sanic_ext.bootstrap
import sanic_ext.extensions.health.monitor
import sanic_ext.extensions.logging.logger
from sanic import Sanic
from sanic.http import http1
from sanic.mixins import startup
from sanic.server import runners
from sanic.server.protocols import http_protocol
from sanic.worker.inspector import Inspector
from sanic.worker.manager import WorkerManager
from sanic.worker.multiplexer import WorkerMultiplexer
from sanic.worker.process import WorkerProcess
from sanic.worker.restarter import Restarter
from sanic.worker.serve import worker_serve

from sanic_reaper.compat import sanic_extensions, sanic_main
from sanic_reaper.main.manager import SupervisedManager

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("name", sanic_extensions.MANAGER_SITES)
def test_these_modules_look_up_manager_when_they_call_it(name):
    assert callable(importlib.import_module(name).Manager)


def test_serve_constructs_the_global_worker_manager_with_the_context_fourth():
    assert startup.WorkerManager is WorkerManager
    parameters = list(inspect.signature(WorkerManager).parameters)
    assert parameters[:4] == ["number", "serve", "server_settings", "context"]


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, member in vars(SupervisedManager).items()
        if inspect.isfunction(member) and hasattr(WorkerManager, name) and name != "__init__"
    ],
)
def test_what_the_manager_overrides_takes_as_many_arguments(name):
    theirs = inspect.signature(getattr(WorkerManager, name))
    ours = inspect.signature(getattr(SupervisedManager, name))
    assert len(ours.parameters) == len(theirs.parameters)


def test_the_manager_overrides_what_it_says_that_it_does():
    for name in ("run", "wait_for_ack", "kill", "shutdown", "shutdown_signal", "shutdown_server"):
        assert getattr(WorkerManager, name) is not getattr(SupervisedManager, name)


def test_the_runner_asks_its_module_for_these_two():
    set_up = inspect.signature(runners._setup_system_signals)
    assert list(set_up.parameters) == ["app", "run_multiple", "register_sys_signals", "loop"]
    body = inspect.getsource(runners._serve_http_1)
    assert "_setup_system_signals(app, run_multiple, register_sys_signals, loop)" in body
    assert "_run_server_forever(" in body
    refusal = "Cannot run Sanic.serve with register_sys_signals=False"
    assert refusal in inspect.getsource(startup.StartupMixin.prepare)


def test_a_worker_says_that_it_serves_no_longer():
    assert "serving" in inspect.signature(WorkerMultiplexer.set_serving).parameters
    assert ".multiplexer.set_serving(" in inspect.getsource(Sanic.set_serving)


def test_worker_processes_have_what_is_read_of_them():
    body = inspect.getsource(WorkerProcess)
    for name in ("_current_process", "SERVER_LABEL"):
        assert name in body
    assert "self._terminate_soon()" in inspect.getsource(WorkerProcess.restart)


def test_the_restarter_restarts_each_process_by_this_one():
    parameters = inspect.signature(Restarter._restart_process).parameters
    assert list(parameters) == ["self", "process", "restart_order", "kwargs"]
    for way in (Restarter._restart_transient, Restarter._restart_durable):
        assert "self._restart_process(process, restart_order, **kwargs)" in inspect.getsource(way)


def test_a_worker_counts_its_requests_in_the_dictionary_that_it_is_given():
    assert "state" in inspect.signature(worker_serve).parameters
    assert 'self.protocol.state["requests_count"] += 1' in inspect.getsource(http1)
    assert "self.state = state if state else {}" in inspect.getsource(http_protocol)


def test_a_worker_finalises_its_routes_in_startup_after_it_has_loaded_the_app():
    startup = inspect.unwrap(Sanic._startup)  # Sanic's own, where another test has extended an app
    assert inspect.iscoroutinefunction(startup)
    assert "app._startup()" in inspect.getsource(runners._serve_http_1)
    body = inspect.getsource(startup)
    assert body.index("self.finalize()") < body.index("self.state.is_started = True")


def test_a_stop_by_the_app_itself_tells_main_and_stops_the_loop():
    assert list(inspect.signature(Sanic.stop).parameters) == ["self", "terminate", "unregister"]
    body = inspect.getsource(Sanic.stop)
    assert 'if terminate and hasattr(self, "multiplexer"):' in body
    assert body.index("self.multiplexer.terminate()") < body.index("get_event_loop().stop()")


def test_sanic_notes_which_apps_it_starts_beside_the_primary_one():
    assert "app.state.primary = False" in inspect.getsource(Sanic._start_servers)


def test_a_worker_that_cannot_load_its_app_says_so_within_the_except_block():
    body = inspect.getsource(worker_serve)
    assert body.index("except Exception as e:") < body.index("multiplexer.terminate(True)")
    assert list(inspect.signature(WorkerMultiplexer.terminate).parameters) == ["self", "early"]


def test_a_route_has_its_middleware_in_a_deque():
    body = inspect.getsource(Sanic.finalize_middleware)
    assert "route.extra.request_middleware = deque(" in body


def test_a_method_of_the_inspector_is_a_command_behind_the_key():
    body = inspect.getsource(Inspector)
    assert "getattr(self, action" in body
    assert "self.app.on_request(self._authentication)" in body
    assert "primary.inspector_class(" in inspect.getsource(startup.StartupMixin.serve)


def test_whether_a_connection_is_kept_is_asked_when_a_response_begins():
    assert "self.response_func = self.http1_response_header" in inspect.getsource(http1)
    assert '"keep-alive" if self.keep_alive else "close"' in inspect.getsource(http1)
    assert "while self.keep_alive and" in inspect.getsource(http1)


def test_the_clean_up_of_a_worker_knows_its_server_and_its_connections():
    cleanup = next(
        code
        for code in runners._serve_http_1.__code__.co_consts
        if inspect.iscode(code) and code.co_name == "_cleanup"
    )
    assert {"http_server", "connections"} <= set(cleanup.co_freevars)


def test_the_health_monitor_sends_a_bare_name_and_a_restart_does_not():
    monitor = sys.modules["sanic_ext.extensions.health.monitor"]
    assert "self.monitor_publisher.send(state.name)" in inspect.getsource(monitor)
    assert 'name += ":"' in inspect.getsource(WorkerMultiplexer.restart)
    assert sanic_main.health_monitor_window() == 15


def test_serve_says_one_thing_of_an_exception_on_its_way_out():
    body = inspect.getsource(startup.StartupMixin.serve)
    assert body.count("Experienced exception while trying to serve") == 1


def test_the_end_of_serve_asks_for_values_only():
    assert "worker_state.values()" in inspect.getsource(startup.StartupMixin._get_process_states)


def test_a_single_process_cleans_up_last():
    body = inspect.getsource(startup.StartupMixin.serve_single)
    assert body.rstrip().endswith("cls._cleanup_apps()")


def test_serve_is_found_among_the_callers():
    assert sanic_main._frame_of_serve(sys._getframe()) is None
    assert Sanic.serve.__func__.__code__.co_name == "serve"


def test_extensions_are_set_up_once_and_are_a_list():
    """What `add_extension` does for one that comes later."""
    app = Sanic("Internals")
    try:
        assert not hasattr(app, "_ext")
        assert app.ext is app._ext
        assert isinstance(app.ext.extensions, list)
        source = inspect.getsource(sanic_ext.bootstrap.Extend.__init__)
        assert "extension = Extension.create(ext, app, self.config)" in source
        assert "extension._startup(self)" in source
    finally:
        Sanic._app_registry.pop("Internals")


def test_multiprocessing_tells_its_children():
    assert isinstance(multiprocessing.process._children, set)
    assert hasattr(multiprocessing.resource_tracker._resource_tracker, "_pid")
