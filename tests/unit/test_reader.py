"""Main's reading of a worker's pipe: messages, and the stacks of `faulthandler`."""

from __future__ import annotations

import fcntl
import os

import pytest

from sanic_reaper.main import reader as reader_module
from sanic_reaper.main.reader import Reader
from sanic_reaper.model.stacks import frames_of


def test_nothing_to_read_is_no_error(pipe):
    reader = Reader(pipe[0])
    assert reader.read() == ([], "")
    pipe[1].close()
    assert reader.read() == ([], "")


def test_half_a_message_waits_for_its_rest(pipe):
    reader = Reader(pipe[0])
    os.write(pipe[1].fileno(), b'\x1e["be')
    assert reader.read() == ([], "")
    os.write(pipe[1].fileno(), b'gin"]\n')
    assert reader.read() == ([["begin"]], "")


def test_a_message_that_a_stack_has_torn_is_dropped(pipe):
    reader = Reader(pipe[0])
    os.write(pipe[1].fileno(), b'\x1e["beThread 0x1:\n  File "a.py", line 1 in f\n\x1e["end"]\n')
    messages, stack = reader.read()
    assert messages == [["end"]]
    assert stack == '  File "a.py", line 1 in f\n'


STACK = """\
Thread 0x00007f (most recent call first):
  File "/lib/threading.py", line 1 in wait

Current thread 0x00007e (most recent call first):
  File "/srv/a b.py", line 12 in load
  File "/srv/app.py", line 3 in <module>
"""


@pytest.mark.parametrize(
    ("stack", "frames"),
    [
        (STACK, [("/srv/a b.py", 12, "load"), ("/srv/app.py", 3, "<module>")]),
        (STACK.partition("Current")[0], [("/lib/threading.py", 1, "wait")]),
        ('Stack (most recent call first):\n  File "a.py", line 1 in f\n', [("a.py", 1, "f")]),
        ('Current thread 0x1 (x):\n  File "a.py", line ??? in f\n', [("a.py", 0, "f")]),
        ("", []),
        ("Segmentation fault\n", []),
    ],
)
def test_what_faulthandler_writes(stack, frames):
    assert frames_of(stack) == frames


@pytest.mark.parametrize(
    ("thread", "frames"),
    [
        (0x7F, [("/lib/threading.py", 1, "wait")]),
        (0x7E, [("/srv/a b.py", 12, "load"), ("/srv/app.py", 3, "<module>")]),
        (0x7D, []),
    ],
)
def test_a_thread_by_its_ident(thread, frames):
    assert frames_of(STACK, thread) == frames
    named = STACK.replace("0x00007f (most", "0x00007f [background load] (most")
    assert frames_of(named, thread) == frames


def test_a_line_without_an_end_takes_neither_time_nor_memory(pipe, monkeypatch):
    monkeypatch.setattr(reader_module, "LONGEST", 100_000)
    monkeypatch.setattr(reader_module, "MOST_AT_ONCE", 65536)
    reader = Reader(pipe[0])
    os.set_blocking(pipe[1].fileno(), False)
    for _ in range(10):
        os.write(pipe[1].fileno(), b"x" * 60_000)
        assert reader.read() == ([], "")
        assert len(reader._partial) <= 100_000
    os.write(pipe[1].fileno(), b'\n\x1e["open"]\n')
    messages, _ = reader.read()
    assert messages == [["open"]]


@pytest.mark.skipif(not hasattr(fcntl, "F_SETPIPE_SZ"), reason="a pipe of Linux")
def test_one_turn_takes_only_so_much(pipe):
    """Main's loop turns although a worker writes as fast as main reads."""
    fcntl.fcntl(pipe[1].fileno(), fcntl.F_SETPIPE_SZ, 2**20)
    os.set_blocking(pipe[1].fileno(), False)
    line = b"x" * 1023 + b"\n"
    written = os.write(pipe[1].fileno(), line * 1024)
    reader = Reader(pipe[0])
    _, first = reader.read()
    assert 0 < len(first) < reader_module.MOST_AT_ONCE + 65536 < written
    total = len(first)
    while text := reader.read()[1]:
        total += len(text)
    assert total == written, "nothing is lost"


def test_a_descriptor_that_is_another_files_by_now_is_neither_read_nor_closed(pipe):
    reader = Reader(pipe[0])
    fd = reader._fd
    other, its = os.pipe()
    os.dup2(other, fd)
    os.write(its, b'\x1e["open"]\n')
    assert reader.read() == ([], "")
    assert reader.is_lost
    reader.close()
    assert os.read(fd, 100) == b'\x1e["open"]\n'
    for one in (fd, other, its):
        os.close(one)
