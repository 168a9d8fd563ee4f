"""`HandlerRun`: each step of a handler is timed, and a limit reaches the handler anywhere."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from contextlib import suppress

import pytest

from sanic_reaper.worker import finishing, summary
from sanic_reaper.worker.alarm import Alarm
from sanic_reaper.worker.explanations import explain, explain_start, innermost
from sanic_reaper.worker.handler_runner import Record
from sanic_reaper.worker.handlers import Place, StartupTimeout
from sanic_reaper.worker.startup import Startup
from sanic_reaper.worker.stepping import HandlerRun, call_with

LIMIT = 0.1
PLACE = Place("handler", __file__, 1)


def loops():
    kinds = {"asyncio": asyncio.new_event_loop}
    with suppress(ImportError):
        import uvloop

        kinds["uvloop"] = uvloop.new_event_loop
    return kinds


@pytest.fixture(params=loops().items(), ids=loops().keys())
def loop(request):
    loop = request.param[1]()
    yield loop
    loop.close()


def timeout(limit=LIMIT):
    return StartupTimeout(PLACE, limit, "@startup_timeout")


def perform(loop, handler, limit=0.0):
    """Run a handler to its end; return its run."""
    runs = []

    async def main():
        runs.append(HandlerRun(call_with(handler, None), timeout(limit) if limit else None))
        return await runs[0]

    return loop.run_until_complete(main()), runs[0]


def blocking_sleep(app):
    time.sleep(5)


def blocking_socket(app):
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def blocking_lock(app):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


async def awaiting_sleep(app):
    await asyncio.sleep(5)


async def awaiting_future(app):
    await asyncio.get_running_loop().create_future()


async def awaiting_thread(app):
    gate = threading.Event()
    try:
        await asyncio.to_thread(gate.wait, 5)
    finally:
        gate.set()


async def blocking_in_a_coroutine(app):
    await asyncio.sleep(0)
    time.sleep(5)


async def awaiting_after_work(app):
    for _ in range(5):
        await asyncio.sleep(0)
    await asyncio.gather(asyncio.sleep(5), asyncio.sleep(5))


BLOCKING = [blocking_sleep, blocking_socket, blocking_lock, blocking_in_a_coroutine]
AWAITING = [awaiting_sleep, awaiting_future, awaiting_thread, awaiting_after_work]


@pytest.mark.parametrize("handler", [*BLOCKING, *AWAITING])
def test_the_limit_is_raised_inside_the_handler(loop, handler):
    limit = 0.5  # until which a handler has to come to where it waits, on a busy machine too
    seen = []
    if handler is awaiting_thread:  # the executor keeps its thread: the limit strikes in no `start`
        loop.run_until_complete(asyncio.to_thread(int))

    async def with_a_finally(app):
        try:
            return await call_with(handler, app)
        except BaseException as error:
            seen.append(error)
            raise
        finally:
            seen.append("finally")

    began = time.perf_counter()
    with pytest.raises(StartupTimeout) as raised:
        perform(loop, with_a_finally, limit)
    assert limit <= time.perf_counter() - began < 5, "not when it would have come to its own end"
    assert seen == [raised.value, "finally"]
    assert raised.value.blocked == (handler in BLOCKING)


@pytest.mark.parametrize("handler", [blocking_sleep, awaiting_sleep])
def test_nothing_is_left_of_a_limit(loop, handler):
    before, threads = signal.getsignal(signal.SIGALRM), threading.enumerate()
    with pytest.raises(StartupTimeout):
        perform(loop, handler, LIMIT)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert set(threading.enumerate()) <= set(threads)
    assert not asyncio.all_tasks(loop)


def test_a_handler_that_is_in_time_gives_what_it_gives(loop):
    async def answer(app):
        await asyncio.sleep(0.01)
        return "value"

    value, run = perform(loop, answer, 5)
    assert value == "value"
    assert run.longest_step < 0.1
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("first", [0.1, 0.3])
def test_two_at_once_have_a_limit_each(loop, first):
    """There is one alarm clock, and the one that ends first does not take it away."""
    limits = {"one": first, "other": 0.4 - first}
    before = signal.getsignal(signal.SIGALRM)
    took = {}

    async def limited(name):
        began = time.perf_counter()
        with suppress(StartupTimeout):
            await HandlerRun(awaiting_sleep(None), timeout(limits[name]))
        took[name] = time.perf_counter() - began

    async def main():
        await asyncio.gather(limited("one"), limited("other"))

    loop.run_until_complete(main())
    for name, limit in limits.items():
        assert limit <= took[name] < limit + 0.5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_limit_that_comes_while_another_handler_blocks(loop):
    """It is raised in its own handler, not in the one that happens to run."""

    async def main():
        blocking = HandlerRun(call_with(lambda app: time.sleep(0.3) or "went on", None), timeout(5))
        return await asyncio.gather(
            HandlerRun(awaiting_sleep(None), timeout()), _awaited(blocking), return_exceptions=True
        )

    limited, other = loop.run_until_complete(main())
    assert isinstance(limited, StartupTimeout)
    assert other == "went on"


def test_its_exceptions_are_its_own(loop):
    async def fail(app):
        await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        perform(loop, fail, 5)


def test_a_handler_may_have_limits_of_its_own(loop):
    """Of asyncio's kinds, all of which cancel the task: none of them is taken for ours."""

    async def limited(app):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.sleep(5), 0.02)
        task = asyncio.current_task()
        assert not getattr(task, "cancelling", lambda: 0)()
        return "went on"

    assert perform(loop, limited, 5)[0] == "went on"


def test_a_limit_inside_the_handlers_own(loop):
    async def limited(app):
        await asyncio.wait_for(asyncio.sleep(5), 4)

    with pytest.raises(StartupTimeout):
        perform(loop, limited, LIMIT)


def test_a_cancellation_from_elsewhere_stays_one(loop):
    async def main():
        task = asyncio.ensure_future(_awaited(HandlerRun(awaiting_sleep(None), timeout(5))))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    loop.run_until_complete(main())
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


async def _awaited(run):
    return await run


def test_one_that_swallows_it_goes_on(loop):
    """Whoever ends it does that from outside."""

    async def swallow(app):
        with suppress(BaseException):
            await asyncio.sleep(5)
        return "went on"

    assert perform(loop, swallow, LIMIT)[0] == "went on"


def test_the_longest_step_is_measured(loop):
    async def steps(app):
        await asyncio.sleep(0.15)
        time.sleep(0.06)
        await asyncio.sleep(0)
        time.sleep(0.02)

    _, run = perform(loop, steps)
    assert 0.05 < run.longest_step < 0.14


def test_where_it_awaits(loop):
    async def inner():
        await asyncio.sleep(0.2)

    async def outer(app):
        await inner()

    async def main():
        run = HandlerRun(outer(None))
        task = asyncio.ensure_future(_awaited(run))
        await asyncio.sleep(0.05)
        frames = run.awaited_frames()
        await task
        return frames

    names = [name for _, _, name in loop.run_until_complete(main())]
    assert names[-1] == "outer"
    assert "inner" in names
    assert names.index("inner") < names.index("outer"), "innermost first"


def test_a_handler_in_another_thread_has_no_limit():
    """There is no signal for it; main's limit holds."""
    results = []

    async def main():
        results.append(
            await HandlerRun(
                call_with(lambda app: time.sleep(0.2) or "went on", None), timeout(0.05)
            )
        )

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    thread.join(5)
    assert results == ["went on"]


def test_a_handler_that_is_abandoned_cleans_up(loop):
    """As when its task is destroyed while it waits."""
    ended = []

    async def handler():
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(1)

    async def main():
        steps = HandlerRun(handler(), timeout(60)).__await__()
        next(steps)
        assert ended == []
        steps.close()

    loop.run_until_complete(main())
    assert ended == [1]
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_limit_that_is_over_before_it_is_told_of_cancels_nothing(loop):
    """The handler has raised something else meanwhile, or the timeout has reached it already."""

    async def main():
        run = HandlerRun(call_with(lambda app: asyncio.sleep(0.05), None), timeout(5))
        task = asyncio.ensure_future(_awaited(run))
        await asyncio.sleep(0)
        run._wake()
        await task
        return task.cancelled()

    assert loop.run_until_complete(main()) is False


def test_a_cancellation_becomes_the_limit_once():
    """Also before Python 3.11, whose tasks count no cancellations, and without a task."""
    limit, cancelled = timeout(), asyncio.CancelledError()
    coroutine = awaiting_sleep(None)
    run = HandlerRun(coroutine)
    assert run._translated(cancelled) is cancelled
    run.expire(limit)
    error = OSError("no")
    assert run._translated(error) is error
    assert run._translated(cancelled) is limit
    assert run._translated(cancelled) is cancelled
    coroutine.close()


def test_of_a_handler_that_awaits_itself_again_and_again_a_hundred_lines_are_read(loop):
    async def nested(depth):
        await (nested(depth - 1) if depth else asyncio.sleep(5))

    async def main():
        run = HandlerRun(nested(150))
        task = asyncio.ensure_future(_awaited(run))
        await asyncio.sleep(0)
        frames = run.awaited_frames()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return frames

    frames = loop.run_until_complete(main())
    assert [name for _, _, name in frames] == ["nested"] * 100


def test_the_users_own_handler_of_sigalrm_is_kept():
    """A start handler may install one while its limit runs."""

    def own(signum, frame):
        raise AssertionError("no alarm was set")

    before = signal.getsignal(signal.SIGALRM)
    try:
        with Alarm(60.0, lambda: None):
            signal.setitimer(signal.ITIMER_REAL, 50.0)
            signal.signal(signal.SIGALRM, own)
        assert signal.getsignal(signal.SIGALRM) is own
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 40.0, "the user's clock"
        assert Alarm._pending == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


# -- a stop before the start is complete ----------------------------------------------------------


def test_listeners_that_a_stop_comes_before_are_not_run(loop):
    start, run = Startup(0.0, time.monotonic()), []

    async def listeners():
        run.append(1)

    loop.run_until_complete(start._run_until_stopped(listeners))
    assert run == [1]
    start.stop()
    loop.run_until_complete(start._run_until_stopped(listeners))
    assert run == [1]


@pytest.mark.parametrize("obeys", [True, False])
def test_listeners_that_are_cancelled_have_a_moment(loop, monkeypatch, obeys):
    """Those that end in it are waited for, and nobody waits any longer for the others."""
    monkeypatch.setattr(finishing, "CANCEL_GRACE", 0.1)

    async def listeners():
        with suppress(*([] if obeys else [asyncio.CancelledError])):
            await asyncio.sleep(30)
        await asyncio.sleep(30)

    async def main():
        found = finishing.FinishingStart(listeners())
        await asyncio.sleep(0)
        found.cancel()
        found.cancel()
        error = await found.wait()
        is_over = found.is_over
        await asyncio.sleep(0.2)  # nothing is left to do when the moment is over
        found._task.cancel()
        await asyncio.wait([found._task])
        return is_over, type(error), found._is_left.done()

    began = time.monotonic()
    error = asyncio.CancelledError if obeys else type(None)
    assert loop.run_until_complete(main()) == (obeys, error, not obeys)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, []),
        (asyncio.CancelledError(), ["cancelled: its after_server_start listeners"]),
        (OSError("no such model"), ["no such model"]),
    ],
    ids=["nothing", "what was cancelled", "why it has failed"],
)
def test_what_is_said_of_a_start_that_a_stop_has_ended(caplog, error, said):
    with caplog.at_level("INFO", logger="sanic.root"):
        summary.log_cancelled(Startup(0.0, time.monotonic()), True, error)
    assert len(caplog.messages) == len(said)
    assert all(part in line for part, line in zip(said, caplog.messages, strict=True))


# -- text -----------------------------------------------------------------------------------------


def raised(function):
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError


def test_a_timeout_in_words():
    def handler():
        error = timeout(2)
        error.blocked = True
        raise error

    place = Place("load", __file__, handler.__code__.co_firstlineno)
    text = explain(raised(handler), "its handler load", place, 2.004)
    lines = text.splitlines()
    assert lines[0] == "its handler load took longer than 2 s"
    assert f"load ({__file__}:{place.line}), for 2.00 s, blocking the event loop" in lines[1]
    assert f"{__file__}:{place.line + 3} in handler:  raise error" in lines[2]
    assert "@startup_timeout" in lines[3]
    assert "asyncio.to_thread" in lines[3]
    assert "@background" in lines[3]


@pytest.mark.parametrize("cause", [True, False])
def test_a_client_library_that_makes_another_error_of_it(cause):
    """The limit is still the reason, and the line that it came to is still known."""

    def handler():
        try:
            raise timeout(2)
        except TimeoutError as error:
            if cause:
                raise ConnectionError("no reply") from error
            raise ConnectionError("no reply")  # noqa: B904

    text = explain(raised(handler), "its handler load", PLACE, 2)
    assert text.startswith("its handler load took longer than 2 s\n")
    assert "in handler:  raise timeout(2)" in text
    assert text.endswith("it raised ConnectionError('no reply') then")


def test_an_error_in_words_begins_in_the_users_code():
    def handler():
        raise RuntimeError("no such host")

    text = explain(raised(handler), "its handler load", Place("load", __file__, 7), 0.5)
    assert text.startswith(f"its handler load ({__file__}:7) failed after 0.50 s\nTraceback")
    assert text.endswith("RuntimeError: no such host")


def test_sys_exit_in_words():
    text = explain(SystemExit(3), "its handler load", Place("load", "app.py", 7), 0.5)
    assert text == "its handler load (app.py:7) called sys.exit(3)"


def test_an_error_without_a_line_of_the_users_keeps_all_of_its_own():
    def handler():
        exec(compile("def broken(): raise OSError('no disk')\nbroken()", asyncio.__file__, "exec"))

    error = raised(handler)
    for _ in range(2):
        error.__traceback__ = error.__traceback__.tb_next
    text = explain(error, "its handler load", PLACE, 0.5)
    assert text.count(asyncio.__file__) == 2


def test_errors_that_are_each_others_cause():
    error, other = OSError("one"), OSError("other")
    error.__cause__, other.__cause__ = other, error
    assert "OSError: one" in explain(error, "its handler load", PLACE, 0.5)


def test_an_error_that_comes_of_no_handler():
    assert explain_start(OSError("no disk"), []).startswith("the start of the app failed")


# -- where it waits -------------------------------------------------------------------------------


async def in_the_loop():
    await asyncio.sleep(60)


async def in_a_task():
    await asyncio.create_task(in_the_loop())


async def in_a_task_of_a_task():
    await asyncio.create_task(in_a_task())


async def of_several():
    await asyncio.gather(in_the_loop(), in_the_loop())


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (in_the_loop, ["sleep", "in_the_loop"]),
        (in_a_task, ["sleep", "in_the_loop", "in_a_task"]),
        (in_a_task_of_a_task, ["sleep", "in_the_loop", "in_a_task", "in_a_task_of_a_task"]),
        (of_several, ["of_several"]),
    ],
)
@pytest.mark.parametrize("policy", ["asyncio", "uvloop"])
def test_the_lines_in_which_a_handler_waits(policy, handler, names):
    """Through the tasks that it waits for; a group of them says nothing of its members."""

    async def look():
        run = HandlerRun(handler())
        task = asyncio.ensure_future(call_with(lambda: run))
        for _ in range(10):  # each task needs its turn: time proves nothing of that
            await asyncio.sleep(0)
        found = run.awaited_frames()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return found

    loop = pytest.importorskip(policy).new_event_loop()
    found = loop.run_until_complete(look())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert [name for _, _, name in found] == names


USER = ("/srv/app.py", 3, "load")
LIBRARY = (asyncio.__file__, 7, "run")
OURS = (HandlerRun.__init__.__code__.co_filename, 9, "step")


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        ([LIBRARY, USER, OURS], USER),
        ([OURS, LIBRARY], LIBRARY),
        ([OURS], None),
        ([], None),
        ([LIBRARY, ("/srv/lib.py", 1, "f"), USER], ("/srv/lib.py", 1, "f")),
    ],
)
def test_the_line_that_it_sits_in(frames, expected):
    assert innermost(frames, None) == expected


def test_a_handler_of_a_librarys_sits_in_its_own_file():
    assert innermost([OURS, LIBRARY], Place("run", asyncio.__file__, 1)) == LIBRARY


# -- what is told ---------------------------------------------------------------------------------


def test_without_main_nobody_is_told():
    assert not Startup(0, 0).is_supervised
    assert Startup(0, 0).send("anything") is False


def test_two_handlers_of_one_name_are_told_apart(caplog):
    """By their places, and only they."""
    start = Startup(0.0, time.monotonic())
    start.on_imported()
    for name, line in (("setup", 3), ("connect", 7), ("setup", 12)):
        start.records.append(Record(name, "app.py", line, 1.0, 0.0, None, app="App"))
    with caplog.at_level("DEBUG", logger="sanic.root"):
        summary.log_up(start, time.monotonic(), 0.0)
    assert "setup (app.py:3) 1.00 s (of App), connect 1.00 s (of App), " in caplog.text
    assert "setup (app.py:12) 1.00 s" in caplog.text
