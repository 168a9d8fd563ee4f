"""The fork server: deaf to SIGTERM while main lives, and its children hear as if it were not."""

from __future__ import annotations

import json
import sys
from signal import SIGKILL, SIGTERM

import pytest
from support.census import holds, identify, wait_until
from support.programs import program, said_by

from sanic_reaper.compat.services import FORK_SERVER_GUARD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

START = """
import json, multiprocessing, os, signal, sys, time
from sanic_reaper.compat import services

context = multiprocessing.get_context("forkserver")
"""
ENSURE = """
services.ensure_fork_server()
[(server, _)] = services.fork_server()
"""


def test_a_child_ends_when_it_is_terminated():
    """A pool that can't end its processes would wait for them without end."""
    code = f"""{START}{ENSURE}
process = context.Process(target=time.sleep, args=(600,))
process.start()
process.terminate()
process.join(30)
print(process.exitcode)
"""
    assert said_by(code) == [str(-SIGTERM)]


GRANDCHILD = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(3))
if not (pid := os.fork()):
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_that_forks_keeps_its_own_handler():
    code = f"""{START}{ENSURE}
process = context.Process(target=exec, args=({GRANDCHILD!r},))
process.start()
process.join(30)
print(process.exitcode)
"""
    assert said_by(code) == ["3"]


def test_it_hears_when_main_is_gone():
    code = f"""{START}{ENSURE}
# While a child lives the fork server does, too: it does not exit by itself.
process = context.Process(target=time.sleep, args=(600,))
process.start()
print(json.dumps([server, process.pid]), flush=True)
signal.pause()
"""
    with program(code) as main:
        server, child = map(identify, json.loads(main.said))
        server.send(SIGTERM)
        assert holds(lambda: server.alive, 0.5)
        main.send_signal(SIGKILL)
        main.wait()
        server.send(SIGTERM)
        wait_until(lambda: not server.alive, 10, "the fork server to end")
        child.send(SIGKILL)


@pytest.mark.parametrize(
    ("preloaded", "stays"),
    [(None, []), (["__main__"], []), (["json", "__main__"], ["json"]), ([], [])],
)
def test_it_does_not_import_the_main_module(preloaded, stays):
    """CPython 3.13.15, 3.14.8 and 3.15 would: an import that hangs would hang the start of main."""
    wanted = "" if preloaded is None else f"multiprocessing.set_forkserver_preload({preloaded})"
    code = f"""{START}{wanted}{ENSURE}
while "forkserver import main" not in (words := open(f"/proc/{{server}}/cmdline").read()):
    time.sleep(0.01)  # it is not executed yet
print(json.dumps([word for word in words.split("\\0") if "forkserver import main" in word]))
"""
    [line] = said_by(code)
    [command] = json.loads(line)
    assert "'__main__'" not in command
    assert str([FORK_SERVER_GUARD, *stays]) in command
