"""Advice on the start method, as a table; and no word where there is no need."""

from __future__ import annotations

import os
import sys
import threading

import pytest
from sanic import Sanic

from sanic_reaper.config import Settings
from sanic_reaper.main.advice import (
    UNGUARDED,
    _tasks,
    advice,
    for_a_failed_start,
    for_interpreter,
    for_this_process,
    stands_in_a_guard,
)
from sanic_reaper.main.server import _checked


@pytest.mark.parametrize(
    ("start_method", "system", "threads", "words"),
    [
        ("spawn", "linux", 9, None),
        ("spawn", "darwin", 1, None),
        ("forkserver", "linux", 9, None),
        ("fork", "linux", 1, None),
        ("fork", "linux", 3, ["3 threads", "spawn", "a lock"]),
        ("fork", "darwin", 1, ["macOS", "spawn"]),
    ],
)
def test_what_is_said(start_method, system, threads, words):
    found = advice(start_method, system, threads, [])
    assert (found is None) == (words is None)
    assert all(word in found for word in words or [])


@pytest.mark.parametrize(("name", "is_told"), [("cpython", False), ("pypy", True)])
def test_another_python_is_named(name, is_told):
    found = for_interpreter(name)
    assert (found is not None) == is_told
    assert not is_told or found == (
        f"this Python is {name}: the Reaper is made for CPython and not tested here; start method "
        "fork and `sanic-reaper run` do not work"
    )


GUARDED = """
if True:
    advise(method)
"""


@pytest.mark.parametrize(
    ("method", "source", "name", "is_told"),
    [
        ("spawn", "advise(method)", "__main__", True),
        ("forkserver", "advise(method)", "__main__", True),
        ("fork", "advise(method)", "__main__", False),
        ("spawn", "def run():\n    advise(method)\nrun()", "__main__", True),
        ("spawn", GUARDED, "__main__", False),
        ("spawn", "advise(method)", "module", False),
        ("spawn", None, "__main__", False),
    ],
)
def test_a_main_module_that_each_worker_would_run(tmp_path, method, source, name, is_told):
    """`None`: the source can't be read, as with `-c`."""
    file = tmp_path / "app.py"
    if source is not None:
        file.write_text(source)
    told = []
    code = compile(source or "advise(method)", str(file), "exec")
    names = {"advise": lambda method: told.append(for_a_failed_start(method))}
    exec(code, {"__name__": name, "method": method, **names})
    assert told == [UNGUARDED % method if is_told else None]


def test_threads_are_counted_where_the_kernel_does_not_tell(monkeypatch):
    monkeypatch.setattr(os, "listdir", refuse)
    assert _tasks() == 0


def refuse(path: str) -> list[str]:
    raise FileNotFoundError(path)


def test_threads_are_named():
    assert "(metrics, pool)" in advice("fork", "linux", 3, ["pool", "metrics"])
    assert "main runs 3 threads: a worker" in advice("fork", "linux", 3, [])


def denied(*_: object) -> list[str]:
    raise PermissionError


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_threads_of_this_process(monkeypatch):
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="metrics")
    thread.start()
    try:
        found = for_this_process("fork")
        assert "metrics" in found
        assert f"main runs {max(len(os.listdir('/proc/self/task')), 2)} threads" in found
        monkeypatch.setattr(os, "listdir", denied)
        assert f"main runs {threading.active_count()} threads" in for_this_process("fork")
        monkeypatch.setattr("sys.platform", "darwin")
        assert "macOS" in for_this_process("fork")
        assert for_this_process("spawn") is None
    finally:
        release.set()
        thread.join()


@pytest.mark.parametrize(
    ("line", "guarded"),
    [
        ("app.run()", False),
        ("main()", False),
        ("try:\n    app.run()\nfinally: ...", False),
        ('if __name__ == "__main__":\n    app.run()', True),
        ("if not is_worker():\n    app.run()", True),
    ],
)
def test_a_call_of_the_main_module_that_each_worker_would_make_too(line, guarded):
    source = f"import os\n\n{line}\n"
    assert stands_in_a_guard(source, 3 + line.count("\n")) is guarded
    assert stands_in_a_guard(source, 99), "what is not there is not blamed"


def test_a_start_that_no_module_has_called_is_the_fault_of_none():
    """In a thread: the main module is not among its callers."""
    told: list[str | None] = []
    thread = threading.Thread(target=lambda: told.append(for_a_failed_start("spawn")))
    thread.start()
    thread.join()
    assert told == [None]


@pytest.mark.parametrize(("name", "is_told"), [("cpython", False), ("pypy", True)])
def test_another_python_is_named_at_the_start_of_the_server(monkeypatch, caplog, name, is_told):
    app = Sanic("Elsewhere")
    try:
        monkeypatch.setattr(sys.implementation, "name", name)
        settings = _checked(Settings.read({}), app)
        monkeypatch.undo()
    finally:
        Sanic._app_registry.pop("Elsewhere")
    assert settings == Settings.read({})
    assert [line.partition(":")[0] for line in caplog.messages] == [
        "[reaper] this Python is pypy"
    ] * is_told
