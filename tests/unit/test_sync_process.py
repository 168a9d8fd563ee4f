"""A SyncManager's own process: how it ends with main, and main's module, which it seldom needs."""

from __future__ import annotations

import sys

import pytest
from support.programs import executed, program, said_by

from sanic_reaper.tree.process import start_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


# -- main's end -----------------------------------------------------------------------------------

SLEEPER = "import time; print(flush=True); time.sleep(60)"

MANAGER = """
import os, signal, sys, time
from sanic_reaper.main.sync_process import ManagerConfig, enter_manager

main, start = map(int, sys.argv[1:])
enter_manager(ManagerConfig((main, start), 0.0, ()))
print("entered", flush=True)
os.kill(main, signal.SIGKILL)
while open(f"/proc/{main}/stat").read().rpartition(")")[2].split()[0] not in "ZX":
    time.sleep(0.005)
os.kill(os.getpid(), signal.SIGTERM)
print("goes on")
"""


def test_it_ends_after_main_also_where_it_has_no_directory_of_its_own():
    with program(SLEEPER) as main:
        done = executed(MANAGER, main.pid, start_of(main.pid))
    assert (done.returncode, done.stdout, done.stderr) == (0, "entered\n", "")


def test_it_does_not_begin_where_main_has_died_before():
    with program(SLEEPER) as main:
        identity = (main.pid, start_of(main.pid))
        main.kill()
        main.wait()
        done = executed(MANAGER, *identity)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- main's module --------------------------------------------------------------------------------

PRELUDE = """
import sys
from sanic_reaper.main.sync_process import LazyMainModule

path = sys.argv[1]
sys.modules["__mp_main__"] = sys.modules["__main__"]
LazyMainModule.stand_in(("init_main_from_path", path))
late = sys.modules["__main__"]
"""

USERS_OWN = """
print("imported")
import __main__
print("as itself:", hasattr(__main__, "Late"))

class Thing:
    pass

print("and now:", __main__.Thing is Thing)

class Late:
    pass
"""


@pytest.fixture
def late(tmp_path):
    """Run a program for which this is main's own module; return its lines."""

    def run(module: str, code: str) -> list[str]:
        (tmp_path / "app.py").write_text(module)
        return said_by(PRELUDE + code, tmp_path / "app.py")

    return run


def test_it_is_imported_when_something_of_it_is_wanted_and_once(late):
    code = 'print("before"); first = late.Thing; print(first is late.Thing, first.__module__)'
    lines = late(USERS_OWN, code)
    assert lines[:2] == ["before", "imported"]
    assert lines[2:] == ["as itself: False", "and now: True", "True __mp_main__"]


def test_from_then_on_it_is_main(late):
    code = 'late.Thing; print(sys.modules["__main__"].Late is late.Late)'
    assert late(USERS_OWN, code)[-1] == "True"


def test_what_the_import_system_asks_does_not_import_it(late):
    code = 'print(hasattr(late, "__file__"), hasattr(late, "__path__"), late.__name__)'
    assert late(USERS_OWN, code) == ["False False __main__"]


def test_a_name_that_it_does_not_have(late):
    assert late("", 'print(hasattr(late, "Thing"))') == ["False"]


def test_one_that_cant_be_imported_says_why_and_is_not_imported_again(late):
    code = """
for _ in range(2):
    try:
        late.Thing
    except Exception as error:
        print(repr(error))
"""
    assert late('print("imported")\n1 / 0', code) == [
        "imported",
        "ZeroDivisionError('division by zero')",
        "AttributeError('Thing')",
    ]


def test_two_who_want_it_at_once_wait_for_one_import(late):
    """Each who talks to a SyncManager has a thread of it."""
    code = """
import threading
found = []
threads = [threading.Thread(target=lambda: found.append(late.Thing)) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(len(found), len(set(found)))
"""
    module = 'import time; print("imported"); time.sleep(0.1)\nclass Thing: pass\n'
    assert late(module, code) == ["imported", "8 1"]


@pytest.mark.parametrize(
    ("module", "loaded"),
    [("()", "__main__"), ('("init_main_from_path", "app.py")', "app")],
    ids=["there is none", "the fork server has imported it"],
)
def test_nothing_stands_in_for_it_where(module, loaded):
    code = f"""
import sys, types
from sanic_reaper.main.sync_process import LazyMainModule

before = sys.modules["__main__"]
sys.modules["__mp_main__"] = types.ModuleType({loaded!r})
LazyMainModule.stand_in({module})
print(sys.modules["__main__"] is before)
"""
    assert said_by(code) == ["True"]
