"""Where a task waits, whatever it waits for. Each line that waits has a comment."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import types
from collections.abc import Coroutine
from pathlib import Path
from typing import ClassVar

import pytest

from sanic_reaper.worker.awaits import MOST, chain, is_running, tasks
from sanic_reaper.worker.stepping import HandlerRun

LINES = Path(__file__).read_text().splitlines()


def line_of(name: str) -> int:
    return next(at for at, line in enumerate(LINES, 1) if line.endswith(f"# in {name}"))


async def forever() -> None:
    await asyncio.get_running_loop().create_future()  # in forever


async def by_a_coroutine() -> None:
    await forever()  # in a coroutine


async def by_a_task() -> None:
    await asyncio.create_task(forever())  # in a task


async def by_a_limit() -> None:
    await asyncio.wait_for(forever(), 600)  # in a limit


async def by_gather() -> None:
    await asyncio.gather(asyncio.sleep(0), forever())  # in gather


async def by_wait() -> None:
    await asyncio.wait([asyncio.create_task(forever())])  # in wait


async def by_a_group() -> None:
    async with asyncio.TaskGroup() as group:  # in a group
        group.create_task(forever())


async def generated():
    yield 1
    await forever()  # in an asynchronous generator


async def by_a_generator() -> None:
    async for _ in generated():  # in a loop over it
        pass


@types.coroutine
def old():
    yield from forever()  # in a generator-based one


async def by_an_old_one() -> None:
    await old()  # in its caller


class Awaitable:
    def __await__(self):
        return forever().__await__()


async def by_an_object() -> None:
    await Awaitable()  # in an object


async def by_steps() -> None:
    await HandlerRun(forever())  # in steps


async def by_a_shield() -> None:
    await asyncio.shield(forever())  # in a shield


async def by_a_future() -> None:
    await asyncio.get_running_loop().create_future()  # in a future


CASES = {
    by_a_coroutine: ["forever", "a coroutine"],
    by_a_task: ["forever", "a task"],
    by_a_limit: ["forever", "a limit"],
    by_gather: ["forever", "gather"],
    by_wait: ["forever", "wait"],
    by_a_generator: ["forever", "an asynchronous generator", "a loop over it"],
    by_an_old_one: ["forever", "a generator-based one", "its caller"],
    by_an_object: ["forever", "an object"],
    by_steps: ["forever", "steps"],
    by_a_shield: ["a shield"],
    by_a_future: ["a future"],
}
if sys.version_info >= (3, 11):
    CASES[by_a_group] = ["forever", "a group"]


def own(frames) -> list[int]:
    return [line for file, line, _ in frames if file == __file__]


async def shown(function):
    task = asyncio.create_task(function())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not task.done()
    try:
        return chain(task), is_running(task)
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("function", CASES, ids=lambda function: function.__name__)
def test_the_lines_in_which_a_task_waits(function):
    (frames, runs), is_run = asyncio.run(shown(function))
    assert own(frames) == [line_of(name) for name in CASES[function]]
    assert not runs
    assert not is_run


def test_one_that_has_not_begun_and_one_that_has_ended():
    async def both():
        task = asyncio.create_task(forever())
        before = chain(task)
        task.cancel()
        await asyncio.wait([task])
        return before, chain(task)

    (before, runs), after = asyncio.run(both())
    assert [name for _, _, name in before] == ["forever"]
    assert not runs
    assert after == ([], False)


def test_the_innermost_lines_of_one_that_is_very_deep():
    async def deeper(left: int) -> None:
        if left:
            await deeper(left - 1)
        else:
            await forever()

    async def deep():
        return await shown(lambda: deeper(400))

    (frames, _), _ = asyncio.run(deep())
    assert len(frames) == MOST
    assert frames[0][1] == line_of("forever")


def test_what_waits_for_itself_has_an_end():
    async def circle():
        tasks = []

        async def wait_for(other: int) -> None:
            await asyncio.sleep(0)
            await tasks[other]

        tasks += [asyncio.create_task(wait_for(1)), asyncio.create_task(wait_for(0))]
        for _ in range(5):
            await asyncio.sleep(0)
        for task in tasks:
            task._log_destroy_pending = False
        return chain(tasks[0])

    loop = asyncio.new_event_loop()  # `run` would cancel them, in a recursion without an end
    frames, runs = loop.run_until_complete(circle())
    loop.close()
    assert {name for _, _, name in frames} == {"wait_for"}
    assert len(frames) == MOST
    assert not runs


# -- in a signal handler --------------------------------------------------------------------------


def in_a_handler(function):
    """Run a coroutine function that sends SIGUSR2 to this process: what the handler found."""
    found = []

    def handler(signum, frame):
        everything = [*asyncio.all_tasks()] if asyncio._get_running_loop() else []
        found.append([(task.get_name(), *chain(task, frame)) for task in everything])
        found.append([*tasks(frame)])

    before = signal.signal(signal.SIGUSR2, handler)
    try:
        asyncio.run(function())
    finally:
        signal.signal(signal.SIGUSR2, before)
    chains, fields = found
    return {name: (frames, runs) for name, frames, runs in chains}, fields


def interrupted() -> None:
    os.kill(os.getpid(), signal.SIGUSR2)  # in a signal
    for _ in range(10):
        pass


async def calls() -> None:
    interrupted()  # in a task that runs


async def runs_beside_one_that_waits():
    waiting = asyncio.create_task(by_a_coroutine(), name="waits")
    await asyncio.sleep(0)
    await asyncio.create_task(calls(), name="runs")
    waiting.cancel()


def test_the_task_that_runs_shows_its_stack():
    found, _ = in_a_handler(runs_beside_one_that_waits)
    frames, runs = found["runs"]
    assert runs
    assert own(frames)[-1] == line_of("a task that runs")
    assert [name for _, _, name in frames][-1] == "calls", "nothing below it"
    frames, runs = found["waits"]
    assert not runs
    assert own(frames) == [line_of("forever"), line_of("a coroutine")]


async def gathers() -> None:
    await asyncio.gather(forever(), calls(), forever())  # in a gathering


async def waits_for_one_that_runs():
    task = asyncio.create_task(gathers(), name="gathers")
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()


def test_of_several_the_one_that_runs_is_shown():
    """It blocks the event loop, and its request is the one that is reported."""
    found, _ = in_a_handler(waits_for_one_that_runs)
    frames, runs = found["gathers"]
    assert runs
    assert own(frames)[-2:] == [line_of("a task that runs"), line_of("a gathering")]


class Lazy:
    """What it awaits has attributes of its own, of every name."""

    def __await__(self):
        return LazyIterator()


class LazyIterator:
    looked_up: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.future = asyncio.get_running_loop().create_future()

    def __iter__(self):
        return self

    def __next__(self):
        self.future._asyncio_future_blocking = True
        return self.future

    def __getattr__(self, name):
        LazyIterator.looked_up.append(name)
        return self


async def by_a_lazy_object() -> None:
    await Lazy()  # in a lazy object


def test_no_code_of_an_object_is_run():
    """It could wait for a lock that the interrupted code holds."""

    async def looked():
        task = asyncio.create_task(by_a_lazy_object())
        await asyncio.sleep(0)
        LazyIterator.looked_up.clear()
        try:
            return chain(task), [*LazyIterator.looked_up]
        finally:
            task.cancel()

    (frames, runs), looked_up = asyncio.run(looked())
    assert own(frames) == [line_of("a lazy object")]
    assert not runs
    assert looked_up == []


def test_every_task_with_its_name():
    _, fields = in_a_handler(runs_beside_one_that_waits)
    found = {name: (coroutine, runs) for name, coroutine, runs, _ in fields}
    assert found["waits"] == ("by_a_coroutine", False)
    assert found["runs"] == ("calls", True)
    names = [name for name, *_ in fields]
    assert names == sorted(names, key=lambda name: (len(name), name))


class Job(Coroutine):
    """A coroutine of the user's own, which has no function, and an attribute that fails."""

    def __init__(self) -> None:
        self._waits = forever()

    def __repr__(self) -> str:
        return "Job(password)"

    @property
    def cr_frame(self):
        raise RuntimeError

    def send(self, value):
        return self._waits.send(value)

    def throw(self, *error):
        return self._waits.throw(*error)

    def close(self):
        self._waits.close()

    def __await__(self):
        return self._waits.__await__()


def test_a_coroutine_of_the_users_own_is_named_by_its_class_and_hides_no_other_task():
    async def found():
        jobs = [asyncio.create_task(Job()), asyncio.create_task(forever())]
        await asyncio.sleep(0)
        try:
            return [coroutine for _, coroutine, _, _ in tasks(None)]
        finally:
            for job in jobs:
                job.cancel()

    assert {"Job", "forever"} <= {*asyncio.run(found())}


def test_where_no_loop_runs_there_are_no_tasks():
    assert [*tasks(None)] == []
