"""What main asks of Sanic and of `multiprocessing`, where they are not as they mostly are."""

from __future__ import annotations

import inspect
import multiprocessing.resource_tracker
import multiprocessing.spawn
import sys
import types

import pytest
from sanic import Sanic
from support.programs import said_by

from sanic_reaper.compat import (
    sanic_app,
    sanic_extensions,
    sanic_listeners,
    sanic_main,
    sanic_server,
    services,
    spawning,
)


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
    assert sanic_main.health_monitor_window() == 0.0


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


WORKER = """
import sys
from sanic import Sanic
from sanic_reaper import Reaper
from sanic_reaper.worker import entry

app = Sanic("Extended")
app.extend(extensions=[Reaper])
print(*sorted(name for name in sys.modules if name.startswith("sanic_reaper.compat.")))
"""


def test_what_a_worker_loads_of_it():
    """What the main process alone touches, and the contracts, cost a worker nothing."""
    [line] = said_by(WORKER)
    names = ("sanic_app", "sanic_extensions", "sanic_listeners", "sanic_requests", "sanic_server")
    assert line.split() == [f"sanic_reaper.compat.{name}" for name in names]


@pytest.mark.parametrize("spelling", ["MISSED_THRESHHOLD", "MISSED_THRESHOLD"])
def test_a_health_monitor_whose_word_is_spelt_right(monkeypatch, spelling):
    monitor = types.SimpleNamespace(**{spelling: 10, "REPORT_INTERVAL": 5})
    module = types.SimpleNamespace(HealthMonitor=monitor)
    monkeypatch.setitem(sys.modules, "sanic_ext.extensions.health.monitor", module)
    assert sanic_main.health_monitor_window() == 15.0


def test_the_resource_tracker_is_known_where_multiprocessing_does_not_tell():
    [line] = said_by(UNTOLD)
    assert line == "True"


UNTOLD = """
import multiprocessing.resource_tracker as tracker, os

class Untold(tracker.ResourceTracker):
    # What is called `_pid` has another name there.
    __slots__ = ()
    def __getattribute__(self, name):
        if name == "_pid" and os.environ.get("UNTOLD"):
            raise AttributeError(name)
        return super().__getattribute__(name)

tracker._resource_tracker = Untold()
tracker.ensure_running = lambda: (
    os.environ.pop("UNTOLD"), tracker._resource_tracker.ensure_running(),
    os.environ.update(UNTOLD="1"),
)
os.environ["UNTOLD"] = "1"
from sanic_reaper.compat import services
from sanic_reaper.tree.process import children_of
services.ensure_resource_tracker()
[(pid, name)] = services.resource_tracker()
print(pid in {pid for pid, _ in children_of(os.getpid())})
del os.environ["UNTOLD"]  # the tracker itself reads its `_pid` at the exit, from 3.12 on
"""


# -- where Sanic or CPython lacks something, or has it already ------------------------------------


def test_the_exit_code_of_a_server_of_one_process_is_left_alone_outside_of_it():
    """Under ASGI `serve_single` does not run, and the code would be that of a later server."""
    before = inspect.getattr_static(Sanic, "_cleanup_apps")
    sanic_app.exit_single_process_with(3)
    assert inspect.getattr_static(Sanic, "_cleanup_apps") is before


def test_a_sanic_that_cleans_up_elsewhere_gets_no_such_method(monkeypatch):
    owner = next(one for one in Sanic.__mro__ if "_cleanup_apps" in vars(one))
    monkeypatch.delattr(owner, "_cleanup_apps")
    sanic_app.exit_single_process_with(3)
    assert not hasattr(Sanic, "_cleanup_apps")


def test_a_late_extend_is_wrapped_once(monkeypatch):
    monkeypatch.setattr(Sanic, "extend", Sanic.extend)
    wrapped = []
    for _ in range(2):
        sanic_extensions.allow_late_extend(lambda extension: False, lambda app, extension: None)
        wrapped.append(Sanic.extend)
    assert hasattr(wrapped[0], "reaper_wraps_it")
    assert wrapped[0] is wrapped[1]


def test_a_listener_is_registered_where_the_order_of_all_is_not_known():
    registered = []
    app = types.SimpleNamespace(listener=lambda event: lambda one: registered.append((event, one)))
    sanic_listeners.put_first(app, "main_process_start", print)
    assert registered == [("main_process_start", print)]
    assert sanic_listeners.listeners(app, "main_process_start") == []


def test_a_listener_in_c_that_has_no_signature_gets_the_app(app):
    assert sanic_listeners.listener_arguments(type, app) == (app,)


class Connection:
    """As much of a connection of Sanic's as is asked when it is cut off."""

    def __init__(self, is_websocket: bool) -> None:
        self.done = []
        fail = types.SimpleNamespace(fail_connection=lambda code: self.done.append(code))
        self.websocket = fail if is_websocket else None

    def abort(self) -> None:
        self.done.append("aborted")


@pytest.mark.parametrize(("is_websocket", "done"), [(True, [1001]), (False, ["aborted"])])
def test_a_websocket_that_is_cut_off_is_told_that_the_server_goes_away(is_websocket, done):
    connection = Connection(is_websocket)
    sanic_server.cut_off(connection)
    assert connection.done == done


@pytest.mark.parametrize("has_main", [True, False])
def test_main_is_asked_to_stop_where_there_is_one(has_main):
    asked = []
    multiplexer = types.SimpleNamespace(terminate=lambda: asked.append("stop"))
    app = types.SimpleNamespace(**({"multiplexer": multiplexer} if has_main else {}))
    sanic_server.ask_main_to_stop(app)
    assert asked == ["stop"] * has_main


@pytest.mark.parametrize("waits", [True, False], ids=["waits", "does not"])
def test_the_exit_waits_for_no_resource_tracker(monkeypatch, waits):
    """Whether CPython's own class waits when it is collected, or not."""
    ended = []
    waiting = {"__del__": lambda self: ended.append("waited")} if waits else {}
    tracker = type("Tracker", (), waiting)()
    monkeypatch.setattr(multiprocessing.resource_tracker, "_resource_tracker", tracker)
    services.do_not_wait_for_tracker()
    monkeypatch.undo()
    assert not hasattr(tracker, "__del__")
    del tracker
    assert ended == []
