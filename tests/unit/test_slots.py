"""What a slot does with its worker and the one that serves until that is ready."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from sanic.worker.constants import ProcessState, RestartOrder

from sanic_reaper.config import Settings
from sanic_reaper.events import Hooks
from sanic_reaper.main.slots import Slots

NAME = "Sanic-Server-0-0"


class Worker:
    """As much of one as a slot asks for."""

    began = 1.0
    ready_is_handled = death_is_reported = False
    handle = "its process"

    def __init__(self, pid, exitcode=None, **startup) -> None:
        known = {"ready": None, "up": None, "failure": None, "has_acked": False, "lingers": False}
        self.pid, self.exitcode, self.status = pid, exitcode, exitcode
        self.startup = SimpleNamespace(**{**known, **startup})
        self.is_ready = self.startup.ready is not None and exitcode is None
        self.link = SimpleNamespace(hear=lambda: None, imports=False)
        self.was_told_to_stop = False

    def terminate(self) -> None:
        self.was_told_to_stop = True

    def __str__(self) -> str:
        return f"{NAME} [{self.pid}]"


class Process:
    """Sanic's object for a name."""

    name = NAME
    _current_process = None

    def __init__(self) -> None:
        self.worker_state = {NAME: {}}
        self.state = None
        self.restarts = []

    def set_state(self, state, force=False) -> None:
        self.state = state

    def restart(self, order, **more) -> None:
        self.restarts.append(order)

    def _terminate_soon(self) -> None:
        raise AssertionError("Sanic starts a thread")


@pytest.fixture
def process():
    return Process()


@pytest.fixture
def slots():
    supervision = SimpleNamespace(
        settings=Settings.read({}),
        hooks=Hooks([]),
        fleet=SimpleNamespace(on_start=[]),
        note_workers=lambda *_: None,
    )
    slots = Slots(supervision, SimpleNamespace(of=lambda worker: ("exit code 1", "exit")))
    slots.has_started = True
    return slots


def test_a_replacement_that_lives_on_after_its_failed_start_is_told_to_stop(slots, process, lines):
    """The outgoing worker serves on, and is the current one again."""
    slot = slots.of(process)
    failed, outgoing = Worker(8, failure="no database", has_acked=True), Worker(7, ready=1.0)
    slot.current, slot.outgoing = failed, outgoing
    slots.supervise([process])
    assert failed.was_told_to_stop
    assert not outgoing.was_told_to_stop
    assert (slot.current, slot.outgoing) == (outgoing, None)
    assert (process._current_process, process.state) == (outgoing.handle, ProcessState.ACKED)
    assert process.worker_state == {NAME: {"pid": 7, "serving": True}}
    assert lines == [
        f"[reaper] {failed} did not start: no database\n"
        "    it was to replace [7], which keeps serving"
    ]


def test_a_replacement_that_was_ready_and_has_exited_sends_nobody_away(slots, process, lines):
    """Both are seen in the same turn. The next replacement does it."""
    slot = slots.of(process)
    dead, outgoing = Worker(8, exitcode=1, ready=2.0), Worker(7, ready=1.0)
    slot.current, slot.outgoing = dead, outgoing
    slots.supervise([process])
    assert not outgoing.was_told_to_stop
    assert slot.outgoing is outgoing
    assert process.restarts == [RestartOrder.SHUTDOWN_FIRST]
    assert lines[0].startswith(f"[reaper] {dead} has died: exit code 1")


def test_a_restart_while_no_replacement_could_be_started_keeps_the_outgoing_worker(slots, process):
    """The system has refused to start one. The outgoing worker is the only one that serves."""
    slot, outgoing = slots.of(process), Worker(7, ready=1.0)
    slot.outgoing = outgoing
    slots.restart(process, RestartOrder.STARTUP_FIRST)
    assert not outgoing.was_told_to_stop
    assert slot.outgoing is outgoing
    assert process.restarts == [RestartOrder.STARTUP_FIRST]


def test_a_worker_is_young_until_it_has_been_ready_for_so_long(slots, process):
    slot = slots.of(process)
    assert not slots.is_younger(NAME, 5.0), "there is none yet"
    slot.current = Worker(7)
    assert slots.is_younger(NAME, 5.0)
    slot.current = Worker(7, ready=-1e9)
    assert not slots.is_younger(NAME, 5.0)
    assert not slots.is_younger("Sanic-Server-9-0", 5.0), "nobody has that name"
